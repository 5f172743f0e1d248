"""What there is to say of metrics: their order, what the page calls them, and which are shown unasked.

A new metric of ours is a line of KNOWN. One that is not there, of another task, is shown after ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SAMPLED = re.compile(r"(pass|avg)@(\d+)")  # pass@k and avg@n, of several answers a problem


@dataclass(frozen=True)
class Metric:
    """A kind of metric.

    Attributes:
        rank: where it stands; those of the same rank come as the results have them, pass@k by k.
        about: what it is; {} is the k of pass@k, the n of avg@n.
        shown: whether tables have it unless others are asked for.
    """

    rank: int
    about: str
    shown: bool = True


KNOWN = {
    "acc": Metric(0, "accuracy as published"),
    "solved": Metric(1, "whole grids"),
    "pass": Metric(2, "one of {} right"),
    "math_verify": Metric(3, "by the math-verify library", shown=False),
    "lenient": Metric(3, "the program found anywhere in the answer", shown=False),
    "format": Metric(3, "both tags well-formed", shown=False),
    "avg": Metric(4, "mean of {} answers", shown=False),
}
OTHER = Metric(3, "")


def kind_of(name: str) -> tuple[Metric, int]:
    """What is known of a metric, and its k or n; 0 for one without."""
    sampled = SAMPLED.fullmatch(name)
    if sampled:
        return KNOWN[sampled[1]], int(sampled[2])
    return KNOWN.get(name, OTHER), 0


def in_order(names: Iterable[str]) -> list[str]:
    """acc, solved, pass@k by k, the others, avg@n; each once."""

    def key(name: str) -> tuple[int, int]:
        kind, k = kind_of(name)
        return kind.rank, k

    return sorted(dict.fromkeys(names), key=key)


def is_shown(name: str) -> bool:
    """Whether tables have it unless others are asked for."""
    return kind_of(name)[0].shown


def is_pass(name: str) -> bool:
    """Whether it is pass@k for a k."""
    return kind_of(name)[0] is KNOWN["pass"]


def about(name: str) -> str:
    """The name with what it is, for a reader: "solved: whole grids"."""
    kind, k = kind_of(name)
    return f"{name}: {kind.about.format(k)}" if kind.about else name
