"""What the numbers say about the paper's trend: rarer tokens have lower confidence, by how much, at which t.

Which tokens count decides. The mean of a token that was masked a few times is noisy, which weakens the
correlation; to leave such tokens out is to leave out the rarest. So the trend is measured over the tokens
that were masked `min_count` times, and once more over all, and where the two disagree the result says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift_harness.analysis.correlation import Estimate, Measured, draw_weights, measure_kinds
from lift_harness.analysis.sums import Floats

SHOWS, ABSENT, REVERSED, UNCLEAR, UNKNOWN = (
    "shows",
    "does not show",
    "is reversed",
    "depends on which tokens count",
    "cannot be judged",
)


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
        counted, every = (says(found.spearman[0]) for found in (self.overall, self.every))
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
        found = [
            f"The paper's trend, that rarer tokens have lower confidence, {self.verdict} in this data.",
            f"Spearman's rank correlation of frequency and mean confidence, all t together: "
            f"{counted.spearman[0]} over the {counted.tokens} tokens that were masked {self.min_count} times "
            f"or more, {every.spearman[0]} over all {every.tokens} that were masked.",
        ]
        if unseen := self.kinds - every.tokens:
            found.append(
                f"{unseen} of the data's {self.kinds} tokens were never masked: analyse more examples."
            )
        return found + self.sentences_by_time()

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
