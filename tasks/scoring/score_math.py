r"""The verdict on a MATH500 or AIME answer: d1's published heuristics for `acc`, math-verify beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.latex_equal import equal, math_verify
from lift_harness.tasks.scoring.tags import boxed_or_tagged, is_well_formed


def score(doc: Mapping[str, Any], text: str) -> dict[str, float]:
    """Metrics of one answer.

    Args:
        doc: "answer", LaTeX.
        text: all that the assistant said, the `<reasoning>` it was given included.
    """
    gold = str(doc["answer"])
    return {
        "acc": float(equal(gold, boxed_or_tagged(text))),
        "math_verify": float(math_verify(gold, text)),
        "format": float(is_well_formed(text)),
    }


BENCHMARK = Benchmark(
    instruction=prompts.INSTRUCTIONS["math"],
    question=lambda doc: doc["problem"],
    target=lambda doc: str(doc["answer"]),
    score=score,
    metrics={"acc": "mean", "math_verify": "mean", "format": "mean"},
    correct="acc",
)
