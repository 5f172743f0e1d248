"""What the protocol needs to know of a kind of problem: its question, its answer, its verdict.

Imports neither torch nor lm_eval, so that answers can be scored again without either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lift_harness.tasks import prompts
from lift_harness.tasks.scoring import score_code, score_countdown, score_gsm8k, score_math, score_sudoku

Doc = Mapping[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """One kind of problem.

    Attributes:
        question: the text of a dataset row below the instruction.
        target: the answer as the sample log shows it.
        score: metrics of one answer, from the row and all the assistant said (`<reasoning>` included).
        metrics: name -> aggregation over problems, "mean" or a function of the problems' values.
        correct: the 0/1 metric that pass@k counts.
        ready: for generated code, called before anything is generated: whether it may run without isolation
            -> what it will be isolated with. Raises if it cannot be run.
        prepare: called with all (row, text) before they are scored one by one: to work side by side.
    """

    question: Callable[[Doc], str]
    target: Callable[[Doc], str]
    score: Callable[[Doc, str], Mapping[str, Any]]
    metrics: Mapping[str, str | Callable[[list[Any]], float]]
    correct: str
    ready: Callable[[bool], str] | None = None
    prepare: Callable[[Iterable[tuple[Doc, str]]], Any] | None = None


LATEX = {"acc": "mean", "math_verify": "mean", "format": "mean"}
PROGRAM = {"acc": "mean", "format": "mean"}

BENCHMARKS: dict[str, Benchmark] = {
    "sudoku": Benchmark(
        question=lambda doc: prompts.sudoku_question(doc["Puzzle"]),
        target=lambda doc: doc["Solution"],
        score=score_sudoku.score,
        metrics={"acc": score_sudoku.CellShare(), "solved": "mean", "format": "mean"},
        correct="solved",
    ),
    "countdown": Benchmark(
        question=lambda doc: prompts.countdown_question(doc["input"], doc["output"]),
        target=lambda doc: doc["output"],
        score=score_countdown.score,
        metrics={"acc": "mean", "format": "mean"},
        correct="acc",
    ),
    "gsm8k": Benchmark(
        question=lambda doc: doc["question"],
        target=score_gsm8k.target,
        score=score_gsm8k.score,
        metrics=LATEX,
        correct="acc",
    ),
    "math": Benchmark(
        question=lambda doc: doc["problem"],
        target=lambda doc: str(doc["answer"]),
        score=score_math.score,
        metrics=LATEX,
        correct="acc",
    ),
    "humaneval": Benchmark(
        question=lambda doc: doc["prompt"],
        target=lambda doc: doc["canonical_solution"],
        score=partial(score_code.score, fields=score_code.HUMANEVAL),
        metrics=PROGRAM,
        correct="acc",
        ready=score_code.ready,
        prepare=score_code.score_many,
    ),
    "mbpp": Benchmark(
        question=lambda doc: prompts.mbpp_question(doc["prompt"], doc["test_list"]),
        target=lambda doc: doc["code"],
        score=partial(score_code.score, fields=score_code.MBPP),
        metrics=PROGRAM,
        correct="acc",
        ready=score_code.ready,
        prepare=score_code.score_many,
    ),
}
