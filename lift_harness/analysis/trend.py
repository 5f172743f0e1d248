"""What the numbers say about the paper's trend: rarer tokens have lower confidence, by how much, at which t.

Which tokens count decides. The mean of a token that was masked a few times is noisy, which weakens the
correlation; to leave such tokens out is to leave out the rarest. So the trend is measured over the tokens
that were masked `min_count` times, and once more over all, and where the two disagree the result says so.

A kind of token of the vocabulary is one point of the rank correlation. Its interval is a bootstrap over
examples: they are dealt into groups, and groups are drawn with replacement. Noise in the means weakens a rank
correlation, and resampling adds as much noise again, so that the replicates lie on one side of the estimate;
the basic interval (2 estimate - quantile) reflects them back. How often it holds the truth: docs/analysis.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift_harness.analysis.sums import Floats, ratio

LEVEL = 0.95
SHOWS, ABSENT, REVERSED, UNCLEAR, UNKNOWN = (
    "shows",
    "does not show",
    "is reversed",
    "depends on which tokens count",
    "cannot be judged",
)


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


@dataclass(frozen=True)
class Trend:
    """The paper's trend in some data.

    Attributes:
        times: T.
        kinds: kinds of token in the data.
        min_count: masked tokens that a kind needs, over all times, to count.
        by_time: at each time, over the kinds that count and were masked at every time.
        overall: all times together, over the kinds that count.
        every: all times together, over every kind that was masked.
    """

    times: tuple[float, ...]
    kinds: int
    min_count: int
    by_time: Measured
    overall: Measured
    every: Measured

    @property
    def verdict(self) -> str:
        """Whether rarer tokens have lower confidence, over all times."""
        counted, every = (says(measured.spearman[0]) for measured in (self.overall, self.every))
        return counted if counted in (every, UNKNOWN) else UNCLEAR

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"verdict": self.verdict, **asdict(self)}

    def sentences(self) -> list[str]:
        """The result in words."""
        if self.verdict == UNKNOWN:
            return [
                f"The trend cannot be judged: {self.overall.tokens} of {self.kinds} tokens were masked "
                f"{self.min_count} times or more; analyse more examples, or lower --min-count."
            ]
        counted, every = self.overall, self.every
        sentences = [
            f"The paper's trend, that rarer tokens have lower confidence, {self.verdict} in this data.",
            f"Spearman's rank correlation of frequency and mean confidence, all t together: "
            f"{counted.spearman[0]} over the {counted.tokens} tokens that were masked {self.min_count} times "
            f"or more, {every.spearman[0]} over all {every.tokens} that were masked.",
        ]
        if unseen := self.kinds - every.tokens:
            sentences.append(
                f"{unseen} of the data's {self.kinds} tokens were never masked: analyse more examples."
            )
        return sentences + self.sentences_by_time()

    def sentences_by_time(self) -> list[str]:
        """How the trend changes with t, in words."""
        here, first, last = self.by_time, self.times[0], self.times[-1]
        if len(self.times) < 2 or here.spearman[0].sign is None:
            return []
        rho = [f"{one.value:.3f}" for one in here.spearman]
        return [
            f"From t = {first:.3g} to t = {last:.3g} the correlation goes from {rho[0]} to {rho[-1]} over "
            f"{here.tokens} tokens, a change of {here.spearman_change}: {change(here.spearman_change)}.",
            f"The rarest quarter of these (up to {here.rare_to:,} occurrences) goes from {here.rare[0]:.3f} "
            f"to {here.rare[-1]:.3f}, the most frequent (from {here.frequent_from:,}) from "
            f"{here.frequent[0]:.3f} to {here.frequent[-1]:.3f}. Their gap changes by {here.gap_change}: "
            f"{change(here.gap_change)}.",
        ]


def says(rho: Estimate) -> str:
    """What a correlation says about "rarer tokens have lower confidence"."""
    return {1: SHOWS, 0: ABSENT, -1: REVERSED, None: UNKNOWN}[rho.sign]


def change(difference: Estimate) -> str:
    """What a difference between the largest and the smallest t says."""
    words = {1: "larger the more is masked", 0: "no clear change", -1: "smaller the more is masked"}
    return words.get(difference.sign or 0, "no clear change")


def find_trend(
    times: Sequence[float],
    frequency: NDArray[np.int64],
    group_n: Floats,
    group_s: Floats,
    *,
    min_count: int,
    replicates: int,
    seed: int,
) -> Trend:
    """The trend and its intervals.

    Args:
        times: T.
        frequency: int64 [K], of each kind of token in the data.
        group_n: [G, T, K], masked tokens by group of examples.
        group_s: [G, T, K], their summed confidence.
        min_count: masked tokens that a kind needs, over all times, to count.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """
    weights = draw_weights(len(group_n), replicates, seed)
    masked = group_n.sum(0)  # [T, K]
    enough = masked.sum(0) >= max(1, min_count)
    together = [part.sum(1, keepdims=True) for part in (group_n, group_s)]

    def measured(sums: Sequence[Floats], which: NDArray[np.bool_]) -> Measured:
        n, s = (np.ascontiguousarray(part[..., which]) for part in sums)
        return measure_kinds(frequency[which], n, s, weights)

    return Trend(
        times=tuple(times),
        kinds=len(frequency),
        min_count=min_count,
        by_time=measured((group_n, group_s), enough & (masked > 0).all(0)),
        overall=measured(together, enough),
        every=measured(together, masked.sum(0) > 0),
    )


# ---------------------------------------------------------------- correlation, with its interval


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
    at_times = range(both.shape[1])
    correlations = [estimate(both[0, t], boot[:, 0, t]) for t in at_times]
    gaps = [estimate(both[1, t], boot[:, 1, t]) for t in at_times]
    changes = [estimate(both[i, -1] - both[i, 0], boot[:, i, -1] - boot[:, i, 0]) for i in range(2)]
    return Measured(
        tokens=len(frequency),
        spearman=tuple(correlations),
        gap=tuple(gaps),
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
    rare = [average(values[ends[0]]) for values in mean]
    frequent = [average(values[ends[1]]) for values in mean]
    return np.array(rho), np.array(rare), np.array(frequent)


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
