"""From a HumanEval or MBPP answer to a program: its first ```python block, run with its tests in the sandbox.

Imports neither torch nor lm_eval.
"""

from __future__ import annotations

import re
import textwrap
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.tasks import sandbox
from lift_harness.tasks.sandbox import Program
from lift_harness.tasks.scoring.tags import END_OF_TEXT, before, is_well_formed

Doc = Mapping[str, Any]
HUMANEVAL = ("prompt", "test", "entry_point")
MBPP = ("code", "test_imports", "test_list")

_unisolated = False
_passed: dict[Program, bool] = {}  # verdicts by program: each distinct answer is run once
_lock = threading.Lock()


def ready(allow_unisolated: bool | None = None) -> str:
    """Which isolation answers will be scored with; True allows none, as `--confirm_run_unsafe_code` does.

    Raises:
        LiftError: there is none, and it is not allowed to go without.
    """
    global _unisolated
    if allow_unisolated is not None:
        _unisolated = allow_unisolated
    return sandbox.require_isolation(_unisolated)


def code_block(text: str) -> str | None:
    """The content of the first ```python block, None without one; one that never closes goes to the end."""
    opened = re.search(r"```python[^\n`]*\n", text)
    if opened is None:
        return None
    rest = text[opened.end() :]
    closed = before(rf"```|{END_OF_TEXT}", rest)
    if closed is None:
        closed = before("</answer>", rest)
    return rest if closed is None else closed


def defines(name: str, code: str) -> bool:
    """Whether a line of the code defines, assigns or imports the name at the top level."""
    n = re.escape(name)
    return bool(re.search(rf"^(?:(?:async\s+def|def|class)\s+{n}\b|{n}\s*[:=]|from\s.*\b{n}\b)", code, re.M))


def humaneval_program(doc: Doc, code: str) -> Program:
    """A function, or only its body: what stands above the function in the prompt holds for both.

    (Imports and helpers: the tests of some problems call a helper too.)
    """
    prompt, name = str(doc["prompt"]), str(doc["entry_point"])
    start = re.search(rf"^def\s+{re.escape(name)}\b", prompt, re.M)
    above = prompt[: start.start()] if start else ""
    code = textwrap.dedent(code)
    if not defines(name, code):
        code = prompt[len(above) :] + textwrap.indent(code, "    ")
    return Program(code, f"{doc['test']}\n\ncheck({name})\n", (name,), above)


def mbpp_program(doc: Doc, code: str) -> Program:
    """A function, whose name is the one in the reference that the tests call."""
    tests = "\n".join(doc["test_list"])
    defined = re.findall(r"^(?:def|class)\s+(\w+)", str(doc["code"]), re.M)
    names = tuple(dict.fromkeys(name for name in defined if re.search(rf"\b{name}\b", tests)))
    return Program(textwrap.dedent(code), tests, names, "\n".join(doc["test_imports"]))


def program(doc: Doc, text: str) -> Program | None:
    """What is run for an answer, None when it holds no code.

    Raises:
        LiftError: the row is of neither benchmark, or has no tests.
    """
    kinds = {HUMANEVAL: humaneval_program, MBPP: mbpp_program}
    made = next((kinds[fields] for fields in kinds if all(field in doc for field in fields)), None)
    if made is None:
        fields = ", ".join(map(repr, doc))[:80] or "nothing"
        raise LiftError(
            f"not a row of HumanEval ({', '.join(HUMANEVAL)}) or MBPP ({', '.join(MBPP)}): it has {fields}"
        )
    if made is mbpp_program:
        tests = doc["test_list"]
        if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
            raise LiftError("not a row of MBPP: test_list must be a list of tests")
    code = code_block(text)
    return None if code is None else made(doc, code)


def score_many(answers: Iterable[tuple[Doc, str]], workers: int | None = None) -> list[dict[str, float]]:
    """Metrics of many answers [(row, all that the assistant said), ...], run side by side.

    Verdicts are kept: after this, `score` of the same answers takes no time.
    """
    pairs = list(answers)
    programs = [program(doc, text) for doc, text in pairs]
    with _lock:
        new = [one for one in dict.fromkeys(programs) if one is not None and one not in _passed]
    if new:
        verdicts = sandbox.run(new, workers=workers, allow_unisolated=_unisolated)
        with _lock:
            _passed.update((one, verdict.passed) for one, verdict in zip(new, verdicts, strict=True))
    return [
        {"acc": float(one is not None and _passed[one]), "format": float(is_well_formed(text))}
        for one, (_, text) in zip(programs, pairs, strict=True)
    ]


def score(doc: Doc, text: str, fields: tuple[str, ...] = ()) -> dict[str, float]:
    """Metrics of one answer.

    Args:
        doc: a row of HumanEval or MBPP.
        text: all that the assistant said, the `<reasoning>` it was given included.
        fields: those of the benchmark that it must be of, HUMANEVAL or MBPP; (): either.

    Raises:
        LiftError: a row of another benchmark.
    """
    if missing := [field for field in fields if field not in doc]:
        raise LiftError(f"doc: no field {missing[0]!r}; is this a log of another task?")
    return score_many([(doc, text)])[0]
