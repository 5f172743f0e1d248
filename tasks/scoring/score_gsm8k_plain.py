"""The verdict on a GSM8K answer without tags: those of lm-eval's task `gsm8k`, under both of its filters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.score_gsm8k import target
from lift_harness.tasks.scoring.tags import END_OF_TEXT, before

NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
MARKED = re.compile(r"#### (-?[0-9.,]+)")
NOTHING = "[invalid]"  # lm-eval's word for an answer in which its filter finds nothing


def last_number(text: str) -> str:
    """What the filter `flexible-extract` takes."""
    return (NUMBER.findall(text) or [NOTHING])[-1]


def marked_number(text: str) -> str:
    """What the filter `strict-match` takes: the first number after `####`."""
    return (MARKED.findall(text) or [NOTHING])[0]


def plain(number: str) -> str:
    """A number as lm-eval compares it: no commas or dollars, no full stop at its end."""
    return re.sub(r"[,$]", "", number.strip()).removesuffix(".")


def score(doc: Mapping[str, Any], text: str) -> dict[str, float]:
    """Metrics of one answer: `acc` by the last number in it, `strict` by the one after `####`."""
    ended = before(END_OF_TEXT, text)
    said, gold = text if ended is None else ended, plain(target(doc))
    return {
        "acc": float(plain(last_number(said)) == gold),
        "strict": float(plain(marked_number(said)) == gold),
    }


BENCHMARK = Benchmark(
    instruction="",
    question=lambda doc: doc["question"],
    target=target,
    score=score,
    metrics={"acc": "mean", "strict": "mean"},
    correct="acc",
)
