r"""The verdict on a GSM8K answer: d1's published heuristics for `acc`, the math-verify library beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.latex_equal import math_verify
from lift_harness.tasks.scoring.tags import answer_tag, is_well_formed

NUMBER = re.compile(r"-?\d+\.?\d*")


def boxes(text: str) -> Iterator[str]:
    r"""What stands in each `\boxed{...}`, up to the first `}` on the same line, as the published regex reads.

    One pass over the text: a regex would look for the missing `}` of every box anew.
    """
    opened = None
    for mark in re.finditer(r"\\boxed\{|\}|\n", text):
        if mark.group() == "}" and opened is not None:
            yield text[opened : mark.start()]
            opened = None
        elif mark.group() == "\n":
            opened = None
        elif mark.group() != "}" and opened is None:
            opened = mark.end()


def read_number(text: str, which: int) -> float | None:
    """The text as a float, else the first (`which` 0) or the last (-1) number in it, else None."""
    try:
        return float(text)
    except ValueError:
        numbers = NUMBER.findall(text)
        return float(numbers[which]) if numbers else None


def extract(text: str) -> float | None:
    r"""The number taken as the answer: of the first box that holds one, else the last of the answer tag.

    `\boxed{1,234}` is 1, as published; `math_verify` reads it as 1234.
    """
    for box in boxes(text):
        content = box.strip()
        if content.strip(".") and (number := read_number(content, 0)) is not None:
            return number
    return read_number(answer_tag(text) or "", -1)


def target(doc: Mapping[str, Any]) -> str:
    """The number after `####`, commas and dollar signs removed."""
    return doc["answer"].rsplit("####", 1)[-1].translate(str.maketrans("", "", ",$")).strip()


def score(doc: Mapping[str, Any], text: str) -> dict[str, float]:
    """Metrics of one answer.

    Args:
        doc: "answer", a worked solution that ends in "#### 18".
        text: all that the assistant said, the `<reasoning>` it was given included.
    """
    gold = target(doc)
    return {
        "acc": float(extract(text) == float(gold)),
        "math_verify": float(math_verify(gold, text)),
        "format": float(is_well_formed(text)),
    }


BENCHMARK = Benchmark(
    instruction=prompts.INSTRUCTIONS["gsm8k"],
    question=lambda doc: doc["question"],
    target=target,
    score=score,
    metrics={"acc": "mean", "math_verify": "mean", "format": "mean"},
    correct="acc",
)
