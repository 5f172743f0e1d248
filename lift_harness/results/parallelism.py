"""Accuracy against speed: which settings are not beaten in both, and one number for a whole curve (AUP)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import yaml

from lift_harness.errors import LiftError

ALPHA = 3.0
TOLERATED = 5.0  # percentage points below the first point's accuracy; what lies lower is dropped

Point = tuple[float, float]  # speed (tokens a pass, tokens a second), accuracy


def pareto(points: Sequence[Point]) -> list[bool]:
    """Which points are not dominated: no other is at least as good in both and better in one.

    Points that are equal in both stand or fall together.
    """
    return [not any(dominates(other, point) for other in points) for point in points]


def dominates(a: Point, b: Point) -> bool:
    """Whether a point is at least as good as another in both, and better in one."""
    return a[0] >= b[0] and a[1] >= b[1] and a != b


def aup(points: Sequence[Point], alpha: float = ALPHA, best: float | None = None) -> float:
    """Accuracy under parallelism of one model's settings (d3LLM, ICML 2026, arXiv 2601.07568).

    AUP = rho_1 y_1 + sum_i (rho_i - rho_(i-1)) (y_i W(y_i) + y_(i-1) W(y_(i-1))) / 2 over the points by rho,
    with W(y) = min(exp(-alpha (1 - y / y_max)), 1); points with y_i < y_1 - 5 are dropped. Of points with the
    same rho, which the definition excludes, the most accurate counts.

    Args:
        points: (tokens per forward pass, accuracy in percent) of each setting, in any order.
        alpha: how much an accuracy below the best counts against a point.
        best: y_max, the highest accuracy that any model reaches on the task, in percent; None: that of
            `points`. The authors' leaderboard takes it over all methods that it lists.

    Raises:
        LiftError: no points, or tokens per pass that are not positive.
    """
    if not points or min(points)[0] <= 0:
        raise LiftError(f"AUP needs points with tokens per pass above 0; got {list(points)}")
    most_accurate = dict(sorted(points))  # of one rho the last, which is the highest
    curve = list(most_accurate.items())
    first_rho, first = curve[0]
    curve = [(rho, y) for rho, y in curve if y >= first - TOLERATED]
    highest = max(most_accurate.values()) if best is None else best

    def weighted(y: float) -> float:
        return y * min(math.exp(-alpha * (1 - y / highest)), 1.0) if highest > 0 else 0.0

    area = first_rho * first
    for (rho_before, before), (rho, y) in pairwise(curve):
        area += (rho - rho_before) * (weighted(y) + weighted(before)) / 2
    return area


def leaderboard_yaml(curves: dict[str, dict[str, list[Point]]]) -> str:
    """Curves in the form of the data of d3LLM's leaderboard: task -> model -> [[rho, accuracy], ...]."""
    plain: dict[str, dict[str, list[list[float]]]] = {}
    for task, of_models in curves.items():
        for model, points in of_models.items():
            pairs = [[round(rho, 4), round(y, 4)] for rho, y in sorted(points)]
            plain.setdefault(task, {})[model] = pairs
    return yaml.safe_dump(plain, sort_keys=False)  # escaped: a name may hold signs that turn text around
