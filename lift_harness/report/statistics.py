"""Intervals. All are pointwise and 95 %; docs/report.md says which number has which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift_harness.results.statistics import t_quantile, wilson
from lift_harness.tasks.passk import ks_for, pass_at_k
from lift_harness.tasks.scoring.score_sudoku import CellShare

Z = 1.959963984540054  # 97.5 % of the normal distribution
RESAMPLES = 1000

Interval = tuple[float, float]


def interval(
    value: float, stderr: float | None, *, items: int | None = None, binary: bool = False
) -> Interval | None:
    """The interval of a share from its standard error; None where that is not known.

    Args:
        value: the share.
        stderr: its standard error.
        items: problems behind it.
        binary: each problem is right or wrong and there is one answer a problem: Wilson's interval.
    """
    if items and 0 <= value <= 1 and (binary or not stderr):
        return wilson(
            value * items, items
        )  # a standard error of 0 says that all were alike, not that all is known
    if not stderr:
        return None
    return clipped(value - Z * stderr, value + Z * stderr)


def over_seeds(
    value: float, stderr: float | None, seeds: int, of_problems: Interval | None
) -> Interval | None:
    """The interval of a mean over training seeds: for other seeds, and for other problems.

    The half widths add up in squares: Student's t times the standard error over seeds, and the interval over
    problems (each with its mean over seeds). Without the latter nothing is claimed.
    """
    if stderr is None or of_problems is None:
        return None
    half = t_quantile(seeds - 1) * stderr
    low, high = of_problems
    return clipped(value - math.hypot(value - low, half), value + math.hypot(high - value, half))


def clipped(low: float, high: float) -> Interval:
    """An interval inside of 0 to 1, where its middle is."""
    return (max(0.0, low), min(1.0, high)) if 0 <= (low + high) / 2 <= 1 else (low, high)


def best(intervals: Mapping[str, Interval | None], values: Mapping[str, float]) -> str | None:
    """The row whose interval lies above every other's; None where there is no such row."""
    if len(values) < 2 or any(intervals.get(row) is None for row in values):
        return None
    top = max(values, key=lambda row: values[row])
    low = intervals[top]
    others = [found[1] for row, found in intervals.items() if row != top and row in values and found]
    return top if low and low[0] > max(others) else None


def ratio(problems: Sequence[tuple[float, float]]) -> tuple[float, Interval | None]:
    """sum(right) / sum(of) over problems (right, of), e.g. cells of Sudokus, and its interval."""
    cells, n = CellShare(), len(problems)
    share, stderr = cells(problems), cells.stderr(problems) if n > 1 else 0.0
    return share, interval(share, 0.0 if stderr < 1e-12 else stderr, items=n)


@lru_cache(maxsize=100_000)
def chance(n: int, c: int, k: int) -> float:
    """Pass@k of one problem."""
    return pass_at_k(n, c, k)


def pass_curve(problems: Sequence[Sequence[tuple[int, int]]]) -> dict[str, list[Any]]:
    """Pass@k over k with a band.

    Args:
        problems: for each problem (samples, right ones), once per seed: a problem counts with its mean.

    Returns:
        {"k", "value", "low", "high"}: the band has 95 % of the means of resampled problems; where all
        problems have the same chance it is Wilson's.
    """
    n = min(samples for problem in problems for samples, _ in problem)
    ks = list(range(1, n + 1)) if n <= 32 else ks_for(n)
    table: NDArray[np.float64] = np.array(
        [[np.mean([chance(s, c, k) for s, c in problem]) for k in ks] for problem in problems]
    )
    value = table.mean(0)
    random = np.random.default_rng(0)
    items = len(problems)
    means = [
        random.multinomial(items, np.full(items, 1 / items), size=100) @ table / items
        for _ in range(RESAMPLES // 100)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975], axis=0)
    for i in np.flatnonzero(np.ptp(table, axis=0) == 0):
        low[i], high[i] = wilson(float(value[i]) * items, items)
    return {"k": ks, "value": value.tolist(), "low": low.tolist(), "high": high.tolist()}
