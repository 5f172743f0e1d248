"""What the protocol needs to know of a kind of puzzle: its question, its answer, its verdict.

Imports neither torch nor lm_eval, so that answers can be scored again without either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lift_harness.tasks import prompts, score_countdown, score_sudoku

Doc = Mapping[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """One kind of puzzle.

    Attributes:
        question: the text of a dataset row below the instruction.
        target: the answer as the sample log shows it.
        score: metrics of one answer, from the row and all the assistant said (`<reasoning>` included).
        metrics: name -> aggregation over problems, "mean" or a function of the problems' values.
        correct: the 0/1 metric that pass@k counts.
    """

    question: Callable[[Doc], str]
    target: Callable[[Doc], str]
    score: Callable[[Doc, str], Mapping[str, Any]]
    metrics: Mapping[str, str | Callable[[list[Any]], float]]
    correct: str


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
}
