"""Rank correlation of frequency and confidence, a token of the vocabulary one point, with an interval.

The interval is a bootstrap over examples: they are dealt into groups, and groups are drawn with replacement.
Noise in the means weakens a rank correlation, and resampling adds as much noise again, so that the replicates
lie on one side of the estimate; the basic interval (2 estimate - quantile) reflects them back. How often it
holds the truth: docs/analysis.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift_harness.analysis.sums import Floats, ratio

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number and its bootstrap interval at 95 %; NaN where it cannot be computed."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def sign(self) -> int | None:
        """1 or -1 where the whole interval is on that side of 0, else 0; None where there is none."""
        return None if np.isnan(self.value) else int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Measured:
    """Frequency against confidence, for T times.

    Attributes:
        tokens: kinds of token.
        spearman: T estimates of the rank correlation of frequency and mean confidence.
        gap: T estimates of the mean confidence of the most frequent quarter of the kinds less that of the
            rarest quarter.
        spearman_change, gap_change: the last time's less the first's.
        rare, frequent: T mean confidences of these quarters.
        rare_to: the highest frequency in the rarest quarter.
        frequent_from: the lowest in the most frequent one.
    """

    tokens: int
    spearman: tuple[Estimate, ...]
    gap: tuple[Estimate, ...]
    spearman_change: Estimate
    gap_change: Estimate
    rare: tuple[float, ...]
    frequent: tuple[float, ...]
    rare_to: int
    frequent_from: int


def draw_weights(groups: int, replicates: int, seed: int) -> Floats:
    """How often each group is drawn in each replicate of the bootstrap: [replicates, groups]."""
    share = np.full(groups, 1 / groups)
    return np.random.default_rng(seed).multinomial(groups, share, size=replicates).astype(np.float64)


def measure_kinds(frequency: NDArray[np.int64], n: Floats, s: Floats, weights: Floats) -> Measured:
    """Correlation and gap at each time, with intervals.

    Args:
        frequency: int64 [K], of each kind of token in the data.
        n: [G, T, K], masked tokens by group of examples.
        s: [G, T, K], their summed confidence.
        weights: [R, G], of the bootstrap.
    """
    order = frequency.argsort(kind="stable")
    quarter = max(1, len(order) // 4)
    ends = (order[:quarter], order[-quarter:])
    rho, rare, frequent = statistics(frequency, n.sum(0), s.sum(0), ends)
    both = np.stack([rho, frequent - rare])  # [2, T]
    boot = np.zeros((len(weights), *both.shape))
    for replicate, weight in zip(boot, weights, strict=True):
        drawn_n, drawn_s = (np.tensordot(weight, part, 1) for part in (n, s))
        replicate[0], low, high = statistics(frequency, drawn_n, drawn_s, ends)
        replicate[1] = high - low
    spread = [[estimate(both[i, t], boot[:, i, t]) for t in range(both.shape[1])] for i in range(2)]
    changes = [estimate(both[i, -1] - both[i, 0], boot[:, i, -1] - boot[:, i, 0]) for i in range(2)]
    return Measured(
        tokens=len(frequency),
        spearman=tuple(spread[0]),
        gap=tuple(spread[1]),
        spearman_change=changes[0],
        gap_change=changes[1],
        rare=tuple(rare.tolist()),
        frequent=tuple(frequent.tolist()),
        rare_to=int(frequency[ends[0]].max(initial=0)),
        frequent_from=int(frequency[ends[1]].min(initial=frequency.max(initial=0))),
    )


def statistics(
    frequency: NDArray[np.int64], n: Floats, s: Floats, ends: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> tuple[Floats, Floats, Floats]:
    """Spearman, and the mean confidence of the kinds at both ends: each [T], from sums [T, K]."""
    mean = ratio(s, n)
    rho = [spearman(frequency[row > 0], values[row > 0]) for row, values in zip(n, mean, strict=True)]
    rare, frequent = (np.array([average(values[end]) for values in mean]) for end in ends)
    return np.array(rho), rare, frequent


def average(values: Floats) -> float:
    """Mean of what is not NaN; NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def estimate(value: float, replicates: Floats) -> Estimate:
    """A number with the basic interval of its bootstrap replicates."""
    known = replicates[~np.isnan(replicates)]
    if not len(known) or np.isnan(value):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = 2 * value - np.quantile(known, [(1 + LEVEL) / 2, (1 - LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))


def spearman(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Spearman's rank correlation, ties at their average rank; NaN below 3 points or if one is constant."""
    if len(x) < 3:
        return float("nan")
    a, b = (ranks(values) - (len(x) + 1) / 2 for values in (x, y))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def ranks(values: NDArray[Any]) -> Floats:
    """Ranks from 1; equal values share the average of theirs."""
    _, where, size = np.unique(values, return_inverse=True, return_counts=True)
    last = size.cumsum()
    return (last - (size - 1) / 2)[where].astype(np.float64)
