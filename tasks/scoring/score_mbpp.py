"""The verdict on an MBPP answer: does its program pass the tests?"""

from __future__ import annotations

from functools import partial

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring import programs

BENCHMARK = Benchmark(
    instruction=prompts.INSTRUCTIONS["mbpp"],
    question=lambda doc: prompts.mbpp_question(doc["prompt"], doc["test_list"]),
    target=lambda doc: doc["code"],
    score=partial(programs.score, fields=programs.MBPP),
    metrics={"acc": "mean", "format": "mean"},
    correct="acc",
    ready=programs.ready,
    prepare=programs.score_many,
)
