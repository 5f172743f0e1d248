r"""The verdict on a MATH answer without tags, in Minerva's form (arXiv 2206.14858, appendix D.1).

Its last sentence is "Final Answer: The final answer is $24$. I hope it is correct."
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.latex_equal import equal, math_verify
from lift_harness.tasks.scoring.tags import END_OF_TEXT, before

SENTENCE = re.compile(r"Final Answer: The final answer is(.*?)(?:. I hope it is correct|$)", re.M)


def final_answer(text: str) -> str | None:
    """What the first such sentence says, without the dollars around it; None without one."""
    ended = before(END_OF_TEXT, text)
    found = SENTENCE.search(text if ended is None else ended)
    return found[1].strip().removesuffix(".").strip("$") if found else None


def score(doc: Mapping[str, Any], text: str) -> dict[str, float]:
    """Metrics of one answer: `acc` by that sentence, `math_verify` by the library on the last box."""
    gold, answer = str(doc["answer"]), final_answer(text)
    return {
        "acc": float(answer is not None and equal(gold, answer)),
        "math_verify": float(math_verify(gold, text)),
    }


BENCHMARK = Benchmark(
    instruction="",
    question=lambda doc: doc["problem"],
    target=lambda doc: str(doc["answer"]),
    score=score,
    metrics={"acc": "mean", "math_verify": "mean"},
    correct="acc",
)
