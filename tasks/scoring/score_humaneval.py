"""The verdict on a HumanEval answer: does its program pass the tests?"""

from __future__ import annotations

from functools import partial

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring import programs

BENCHMARK = Benchmark(
    instruction=prompts.INSTRUCTIONS["humaneval"],
    question=lambda doc: doc["prompt"],
    target=lambda doc: doc["canonical_solution"],
    score=partial(programs.score, fields=programs.HUMANEVAL),
    metrics={"acc": "mean", "format": "mean"},
    correct="acc",
    ready=programs.ready,
    prepare=programs.score_many,
)
