"""What the protocol needs to know of a kind of problem: its question, its answer, its verdict.

Imports neither torch nor lm_eval, so that answers can be scored again without either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError, did_you_mean

Doc = Mapping[str, Any]
SCORING = Path(__file__).parent / "scoring"


@dataclass(frozen=True)
class Benchmark:
    """One kind of problem.

    Attributes:
        instruction: what the user's turn begins with.
        question: the text of a dataset row below the instruction.
        target: the answer as the sample log shows it.
        score: metrics of one answer, from the row and all the assistant said (`<reasoning>` included).
        metrics: name -> aggregation over problems, "mean" or a function of the problems' values.
        correct: the 0/1 metric that pass@k counts.
        ready: for generated code, called before anything is generated: whether it may run without isolation
            -> what it will be isolated with. Raises if it cannot be run.
        prepare: called with all (row, text) before they are scored one by one: to work side by side.
        parts: what a question worded otherwise may name of a row (`tasks/wording.py`), beside {question}.
    """

    instruction: str
    question: Callable[[Doc], str]
    target: Callable[[Doc], str]
    score: Callable[[Doc, str], Mapping[str, Any]]
    metrics: Mapping[str, str | Callable[[list[Any]], float]]
    correct: str
    ready: Callable[[bool], str] | None = None
    prepare: Callable[[Iterable[tuple[Doc, str]]], Any] | None = None
    parts: Mapping[str, Callable[[Doc], str]] = field(default_factory=dict)

    def parts_of(self, doc: Doc) -> dict[str, str]:
        """Name -> text of all that a question may name of a row."""
        named = {name: part(doc) for name, part in self.parts.items()}
        return {"question": self.question(doc), **named}


def benchmark_names() -> list[str]:
    """The kinds of problems: a file of `tasks/scoring/` for each."""
    return sorted(path.stem.removeprefix("score_") for path in SCORING.glob("score_*.py"))


def load_benchmark(name: str) -> Benchmark:
    """What `tasks/scoring/score_NAME.py` defines as `BENCHMARK`.

    Raises:
        LiftError: there is none of that name.
    """
    if name not in benchmark_names():
        raise LiftError(f"benchmark: {name!r}: {did_you_mean(str(name), benchmark_names())}")
    return import_module(f"lift_harness.tasks.scoring.score_{name}").BENCHMARK
