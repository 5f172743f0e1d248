"""The verdict on a list or square of `lift_parallel_mini`: it follows its rule or it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lift_harness.tasks import parallel, prompts
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.tags import END_OF_TEXT, after, before


def extract(text: str) -> list[str]:
    """The items in the answer tag; one that never closes goes to the end of the text."""
    tagged = after("<answer>", text)
    answer = text if tagged is None else tagged
    ended = before(rf"</answer>|{END_OF_TEXT}", answer)
    return parallel.read(answer if ended is None else ended)


def score(doc: Mapping[str, Any], text: str) -> dict[str, float]:
    """The metric of one answer."""
    right = parallel.is_right(doc["kind"], parallel.read(doc["list"]), extract(text))
    return {"acc": float(right)}


BENCHMARK = Benchmark(
    instruction=prompts.INSTRUCTIONS["parallel"],
    question=parallel.question,
    target=lambda doc: doc["answer"],
    score=score,
    metrics={"acc": "mean"},
    correct="acc",
)
