"""The verdict on an answer that is a program: its first ```python block, run with its tests in the sandbox.

Imports neither torch nor lm_eval.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from lift_harness.errors import LiftError
from lift_harness.tasks import sandbox
from lift_harness.tasks.benchmarks import Benchmark, Doc
from lift_harness.tasks.sandbox import Program
from lift_harness.tasks.scoring.tags import END_OF_TEXT, before, is_well_formed

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


@dataclass(frozen=True)
class Programs:
    """How the answers to a benchmark become programs.

    Attributes:
        check: refuses, with a LiftError, a dataset row that is not of this benchmark.
        program: what is run, from a row and the answer's code.
    """

    check: Callable[[Doc], None]
    program: Callable[[Doc, str], Program]

    def of(self, doc: Doc, text: str) -> Program | None:
        """What is run for an answer, None when it holds no code."""
        self.check(doc)
        code = code_block(text)
        return None if code is None else self.program(doc, code)


def code_benchmark(
    *, instruction: str, question: Callable[[Doc], str], target: Callable[[Doc], str], programs: Programs
) -> Benchmark:
    """A benchmark whose answers are run."""
    return Benchmark(
        instruction=instruction,
        question=question,
        target=target,
        score=partial(score, programs),
        metrics={"acc": "mean", "format": "mean"},
        correct="acc",
        ready=ready,
        prepare=partial(score_many, programs),
    )


def require_fields(doc: Doc, *fields: str) -> None:
    """Refuse a row that lacks one of a benchmark's fields."""
    missing = [field for field in fields if field not in doc]
    if missing:
        raise LiftError(f"doc: no field {missing[0]!r}; is this a log of another task?")


def score_many(
    programs: Programs, answers: Iterable[tuple[Doc, str]], workers: int | None = None
) -> list[dict[str, float]]:
    """Metrics of many answers [(row, all that the assistant said), ...], run side by side.

    Verdicts are kept: after this, `score` of the same answers takes no time.
    """
    pairs = list(answers)
    made = [programs.of(doc, text) for doc, text in pairs]
    with _lock:
        new = [program for program in dict.fromkeys(made) if program is not None and program not in _passed]
    if new:
        verdicts = sandbox.run(new, workers=workers, allow_unisolated=_unisolated)
        with _lock:
            _passed.update((program, verdict.passed) for program, verdict in zip(new, verdicts, strict=True))
    return [
        {"acc": float(program is not None and _passed[program]), "format": float(is_well_formed(text))}
        for program, (_, text) in zip(made, pairs, strict=True)
    ]


def score(programs: Programs, doc: Doc, text: str) -> dict[str, float]:
    """Metrics of one answer.

    Args:
        programs: how an answer of the benchmark becomes a program.
        doc: a row of it.
        text: all that the assistant said, the `<reasoning>` it was given included.

    Raises:
        LiftError: a row of another benchmark.
    """
    return score_many(programs, [(doc, text)])[0]
