r"""Countdown: reach a target with given numbers, each used once, by + - * /.

Seeded solvable puzzles in d1's format ({"input": "30,100,93", "output": "23"}), a solver, and worked
traces. Train and test are kept apart by puzzle (the sorted numbers and the target) through a hash,
whatever the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

TEST_SHARE = 8  # one puzzle in eight is a test puzzle


class Expression(NamedTuple):
    """A value with the text that computes it, how tightly the text binds, and the steps behind it."""

    value: int
    text: str
    binds: int = 3  # 1: sum or difference, 2: product or quotient, 3: a number
    steps: tuple[str, ...] = ()


def combine(a: Expression, b: Expression, largest: int) -> Iterator[Expression]:
    """All results of one operation on a and b with a value from 1 to `largest`, the larger first."""
    if (a.value, a.text) < (b.value, b.text):
        a, b = b, a
    results = [("+", 1, a.value + b.value), ("-", 1, a.value - b.value), ("*", 2, a.value * b.value)]
    if a.value % b.value == 0:
        results.append(("/", 2, a.value // b.value))
    for sign, binds, value in results:
        if 1 <= value <= largest:
            left = a.text if a.binds >= binds else f"({a.text})"
            right = b.text if b.binds > binds or (b.binds == binds and sign in "+*") else f"({b.text})"
            step = f"{a.value}{sign}{b.value}={value}"
            yield Expression(value, f"{left}{sign}{right}", binds, (*a.steps, *b.steps, step))


def reachable(numbers: tuple[int, ...], largest: int = 99) -> Iterator[Expression]:
    """Every expression over all of `numbers` whose steps stay whole and within 1 to `largest`."""

    def search(parts: tuple[Expression, ...]) -> Iterator[Expression]:
        if len(parts) == 1:
            yield parts[0]
        for i in range(len(parts)):
            for j in range(i + 1, len(parts)):
                rest = tuple(p for k, p in enumerate(parts) if k not in (i, j))
                for made in combine(parts[i], parts[j], largest):
                    yield from search((*rest, made))

    yield from search(tuple(Expression(n, str(n)) for n in numbers))


def simplicity(expression: Expression) -> tuple[int, int, str]:
    """Sort key of solutions: fewest products and quotients, then shortest, then alphabetical."""
    hard = sum(sign in expression.text for sign in "*/")
    return hard, len(expression.text), expression.text


@lru_cache(maxsize=4096)
def solutions(numbers: tuple[int, ...], largest: int) -> dict[int, Expression]:
    """The simplest expression over all of `numbers` (sorted) for every value that can be reached."""
    simplest: dict[int, Expression] = {}
    for expression in sorted(reachable(numbers, largest), key=simplicity):
        simplest.setdefault(expression.value, expression)
    return simplest


def solve(numbers: tuple[int, ...], target: int, largest: int = 99) -> Expression | None:
    """The simplest expression over all of `numbers` with value `target`, None if there is none."""
    return solutions(tuple(sorted(numbers)), largest).get(target)


def is_test_puzzle(numbers: tuple[int, ...], target: int) -> bool:
    """Whether the puzzle belongs to the test split."""
    key = ",".join(map(str, sorted(numbers))) + f"->{target}"
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % TEST_SHARE == 0


def generate(
    split: str, seed: int, count: int = 3, largest_number: int = 20, largest: int = 99
) -> Iterator[dict[str, str]]:
    """Distinct solvable puzzles {"input", "output"}, until almost none is left that was not drawn.

    With the defaults there are 14,840 puzzles, 12,900 of them for training.

    Args:
        split: "train" or "test"; they share no puzzle.
        seed: of the sequence; the same seed gives the same puzzles.
        count: how many numbers (3 or 4).
        largest_number: numbers are drawn uniformly from 1 to this.
        largest: bound on the target and on every intermediate result.
    """
    rng = np.random.default_rng([seed, split == "test", count])
    seen: set[tuple[int, ...]] = set()
    misses = 0
    while misses < 2000:
        misses += 1
        numbers = tuple(int(n) for n in rng.integers(1, largest_number + 1, size=count))
        targets = sorted(solutions(tuple(sorted(numbers)), largest).keys() - set(numbers))
        if not targets:
            continue
        target = targets[rng.integers(len(targets))]
        key = (*sorted(numbers), target)
        if key not in seen and is_test_puzzle(numbers, target) == (split == "test"):
            seen.add(key)
            misses = 0
            yield {"input": ",".join(map(str, numbers)), "output": str(target)}


def reasoning(expression: Expression) -> str:
    """A worked trace: each operation with its result, " 7*8=56 56+3=59"."""
    return "".join(f" {step}" for step in expression.steps)
