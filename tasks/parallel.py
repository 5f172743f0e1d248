"""Lists and squares that are easy a token at a time and break when many tokens are decoded at once.

After the idea of ParallelBench (arXiv 2510.04767). Copying, reversing and sorting have one answer; a shuffle
and a Latin square have many, and tokens that are drawn together without seeing each other mix them up.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import mean
from string import ascii_uppercase
from typing import Any

import numpy as np

LENGTH = 8  # of a list
SIDE = 4  # of a square
RULES: dict[str, str] = {
    "copy": "Repeat the list.",
    "reverse": "Repeat the list from its last item to its first.",
    "sort": "Repeat the list from its smallest number to its largest.",
    "shuffle": "Put the items of the list in another order, so that no item stands where it stood.",
    "latin": (
        f"Write a square of {SIDE} rows whose first row is the list, so that every row and every column "
        "holds each of its items once."
    ),
}


def generate(kind: str, seed: int) -> Iterator[dict[str, str]]:
    """Items without end, none twice: {"kind", "list", "answer"}, texts with single spaces.

    Args:
        kind: key of `RULES`.
        seed: of the draw.
    """
    random = np.random.default_rng([seed, list(RULES).index(kind)])
    seen = set()
    while True:
        items = draw(kind, random)
        answer = " ".join(solve(kind, items, random))
        if (text := " ".join(items)) not in seen:
            seen.add(text)
            yield {"kind": kind, "list": text, "answer": answer}


def draw(kind: str, random: np.random.Generator) -> list[str]:
    """A list of different items: capital letters for a square, else numbers of two digits."""
    if kind == "latin":
        return [ascii_uppercase[i] for i in random.choice(26, SIDE, replace=False)]
    return [str(10 + i) for i in random.choice(90, LENGTH, replace=False)]


def solve(kind: str, items: Sequence[str], random: np.random.Generator) -> list[str]:
    """A right answer; of several the one that is drawn."""
    if kind == "latin":
        shifts = [0, *(1 + random.permutation(SIDE - 1))]
        return [items[(column + shift) % SIDE] for shift in shifts for column in range(SIDE)]
    if kind == "shuffle":
        shift = int(random.integers(1, len(items)))
        return [*items[shift:], *items[:shift]]
    return {"copy": list(items), "reverse": list(items[::-1]), "sort": sorted(items, key=int)}[kind]


def is_right(kind: str, items: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether an answer follows the rule."""
    if kind == "latin":
        return is_latin(answer) and list(answer[:SIDE]) == list(items)
    if kind == "shuffle":
        moved = all(a != b for a, b in zip(items, answer, strict=False))
        return sorted(answer) == sorted(items) and moved
    return list(answer) == {"copy": items, "reverse": items[::-1], "sort": sorted(items, key=int)}[kind]


def is_latin(cells: Sequence[str]) -> bool:
    """Whether the cells, row by row, are a Latin square over the items of their first row."""
    if len(cells) != SIDE * SIDE or len(set(cells)) != SIDE:
        return False
    rows = [set(cells[i * SIDE : (i + 1) * SIDE]) for i in range(SIDE)]
    columns = [set(cells[i::SIDE]) for i in range(SIDE)]
    return all(len(line) == SIDE for line in (*rows, *columns))


def read(text: str) -> list[str]:
    """The items of an answer."""
    return re.findall(r"\w+", text)


def question(doc: Mapping[str, Any]) -> str:
    """The question of an item."""
    return f"{RULES[doc['kind']]}\nList: {doc['list']}"


def breaking_pace(points: Iterable[tuple[float, float]], kept: float = 0.9) -> float | None:
    """The pace at which accuracy breaks: where it falls below `kept` of that at the slowest pace.

    On the straight line between the last measured pace that holds and the first that does not.

    Args:
        points: (tokens per step, accuracy) of each setting, in any order; several at a pace are averaged.
        kept: the share of the accuracy that has to be left.

    Returns:
        Tokens per step; None where it never breaks, or nothing is right at the slowest pace.
    """
    at: dict[float, list[float]] = defaultdict(list)
    for pace, accuracy in points:
        at[pace].append(accuracy)
    curve = [(pace, mean(at[pace])) for pace in sorted(at)]
    if not curve or curve[0][1] <= 0:
        return None
    least = kept * curve[0][1]
    for (slow, held), (fast, fallen) in zip(curve, curve[1:], strict=False):
        if fallen < least:
            return slow + (fast - slow) * (held - least) / (held - fallen)
    return None
