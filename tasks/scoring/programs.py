"""The verdict on an answer that is a program, which runs with its tests in the sandbox.

`acc` is the published verdict: that of the first ```python block. `lenient` is also right where the program
stands elsewhere in the answer, so that a slip of format can be told from a wrong program.

Imports neither torch nor lm_eval.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

from lift_harness.errors import LiftError
from lift_harness.tasks import sandbox
from lift_harness.tasks.benchmarks import Benchmark, Doc
from lift_harness.tasks.sandbox import Program
from lift_harness.tasks.scoring.tags import END_OF_TEXT, after, before, is_well_formed

FENCE = re.compile(r"```[^\n`]*\n?")
TESTS_A_SECOND = 10_000  # characters of tests for which a program gets another second of processor time

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
    return None if opened is None else up_to_fence(text[opened.end() :])


def up_to_fence(text: str) -> str:
    """What stands before a closing fence, or before what ends an answer without one."""
    closed = before(rf"```|{END_OF_TEXT}", text)
    if closed is None:
        closed = before("</answer>", text)
    return text if closed is None else closed


def lenient_code(text: str, defines: Callable[[str], bool]) -> str | None:
    """The program that an answer most likely means, None where there is none.

    Looked for in the answer tag, without one behind the reasoning, else in all of the text. Of its fenced
    blocks, in any language or none, the first that defines what is asked for, else the last. Without a fence
    all of it, if it is the answer tag's or defines what is asked for.

    Args:
        text: all that the assistant said.
        defines: whether code defines what is asked for.
    """
    tagged = after("<answer>", text)
    answer = tagged or after("</reasoning>", text) or text
    ended = before(rf"</answer>|{END_OF_TEXT}", answer)
    answer = answer if ended is None else ended
    blocks = FENCE.split(answer)[1::2]
    if blocks:
        return next(filter(defines, blocks), blocks[-1])
    return answer if tagged or defines(answer) else None


def defines_one(names: Iterable[str], code: str) -> bool:
    """Whether a line of the code defines, assigns or imports one of the names at the top level."""
    n = f"(?:{'|'.join(map(re.escape, names))})"
    ways = (rf"(?:async\s+def|def|class)\s+{n}\b", rf"{n}\s*[:=]", rf"from\s.*\b{n}\b")
    return bool(re.search(rf"^(?:{'|'.join(ways)})", code, re.M))


@dataclass(frozen=True)
class Programs:
    """How the answers to a benchmark become programs.

    Attributes:
        check: refuses, with a LiftError, a dataset row that is not of this benchmark.
        program: what is run, from a row and the answer's code.
        names: what the code has to define for a row.
    """

    check: Callable[[Doc], None]
    program: Callable[[Doc, str], Program]
    names: Callable[[Doc], tuple[str, ...]]

    def of(self, doc: Doc, text: str) -> Candidates:
        """What is run for an answer."""
        self.check(doc)
        code = code_block(text)
        named = partial(defines_one, self.names(doc))
        lenient = lenient_code(text, named)
        return Candidates(
            published=None if code is None else self.program(doc, code),
            lenient=self.program(doc, lenient) if lenient and lenient.strip() else None,
        )


class Candidates(NamedTuple):
    """The programs that an answer may mean, often one and the same: by the published rule, and elsewhere."""

    published: Program | None
    lenient: Program | None


def code_benchmark(
    *,
    instruction: str,
    question: Callable[[Doc], str],
    target: Callable[[Doc], str],
    programs: Programs,
    parts: Mapping[str, Callable[[Doc], str]] | None = None,
) -> Benchmark:
    """A benchmark whose answers are run."""
    return Benchmark(
        instruction=instruction,
        question=question,
        target=target,
        score=partial(score, programs),
        metrics={"acc": "mean", "lenient": "mean", "format": "mean"},
        correct="acc",
        ready=ready,
        prepare=partial(score_many, programs),
        parts=parts or {},
    )


def cpu_seconds(tests: str) -> float:
    """Seconds of processor time for a program with these tests.

    The sandbox's limit and more where there are many: EvalPlus has up to a thousand for a function.
    """
    return sandbox.Limits.cpu_s + len(tests) // TESTS_A_SECOND


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
    distinct = dict.fromkeys(chain.from_iterable(made))
    with _lock:
        new = [program for program in distinct if program is not None and program not in _passed]
    if new:
        verdicts = sandbox.run(new, workers=workers, allow_unisolated=_unisolated)
        with _lock:
            _passed.update((program, verdict.passed) for program, verdict in zip(new, verdicts, strict=True))
    return [metrics_of(one, text) for one, (_, text) in zip(made, pairs, strict=True)]


def metrics_of(candidates: Candidates, text: str) -> dict[str, float]:
    """The metrics of an answer whose programs have run."""
    published, lenient = (program is not None and _passed[program] for program in candidates)
    return {
        "acc": float(published),
        "lenient": float(published or lenient),
        "format": float(is_well_formed(text)),
    }


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
