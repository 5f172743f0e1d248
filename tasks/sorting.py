"""Six digits to be sorted: a skill that lift-tiny was never shown. Train and test share no answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement

import numpy as np

LENGTH = 6
DIGITS = "123456789"
SPLIT_SEED = 20260522
N_TEST = 303  # answers of the 3,003


@cache
def split_answers(split: str) -> tuple[str, ...]:
    """The sorted lists of "train" (2,700) or "test" (303), as strings of digits."""
    answers = ["".join(digits) for digits in combinations_with_replacement(DIGITS, LENGTH)]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(answers))
    chosen = order[:N_TEST] if split == "test" else order[N_TEST:]
    return tuple(answers[i] for i in sorted(chosen))


def generate(split: str, seed: int) -> Iterator[dict[str, str]]:
    """Distinct lists, until almost none is left: {"kind", "list", "answer"}, as `parallel.generate` has them.

    Args:
        split: "train" or "test"; they share no answer.
        seed: of the sequence; the same seed gives the same lists.
    """
    random = np.random.default_rng([seed, split == "test"])
    answers, seen, misses = split_answers(split), set(), 0
    while misses < 5000:
        answer = answers[random.integers(len(answers))]
        items = " ".join(random.permutation(list(answer)))
        misses = misses + 1 if items in seen else 0
        if not misses:
            seen.add(items)
            yield {"kind": "sort", "list": items, "answer": " ".join(answer)}
