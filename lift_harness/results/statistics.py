"""Intervals and tests. Everything is over problems, which are the independent units, unless it says seeds.

All functions are deterministic: the bootstrap draws the same problems in every call with as many problems,
so that two rows compared on the same problems meet the same resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 10_000
CHUNK = 500  # resamples at a time
KEPT = 2**25  # draws (resamples x problems) that stay in memory for the next call
MANY = KEPT // RESAMPLES  # more problems than this are drawn by what they score, where few score differently
AT_A_TIME = 2**23  # draws that are made at a time
CONFIDENCE = 0.95
SAME = 1e-9  # two shares this close are equal but for rounding
NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low: its lower end.
        high: its upper end.
        method: "wilson", "bootstrap", "unvaried" (all problems alike), "t" (over seeds), or "normal".
    """

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Paired:
    """A difference between two rows on the same problems, with its interval and two-sided p-value."""

    value: float
    interval: Interval
    p: float


# ---------------------------------------------------------------- closed forms


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a share: all p with (share - p)^2 <= z^2 p (1 - p) / n.

    Wilson 1927; holds its level for small n and for shares near 0 and 1, where the normal one does not
    (Brown, Cai and DasGupta 2001).
    """
    z = NORMAL.inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (max(0.0, centre - half) if share > 0 else 0.0), (min(1.0, centre + half) if share < 1 else 1.0)


def t_within(t: float, df: int) -> float:
    """P(|T| <= |t|) of Student's t with a whole number of degrees of freedom.

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(abs(t) / math.sqrt(df))
    cosine, term, total = math.cos(angle), 1.0, 0.0
    if df % 2:
        term = cosine
        for i in range(3, df + 1, 2):
            total += term
            term *= cosine**2 * (i - 1) / i
        return 2 / math.pi * (angle + math.sin(angle) * total)
    for i in range(2, df + 1, 2):
        total += term
        term *= cosine**2 * (i - 1) / i
    return math.sin(angle) * total


def t_quantile(df: int, confidence: float = CONFIDENCE) -> float:
    """The t for which P(|T| <= t) is `confidence`."""
    low, high = 0.0, 1.0
    while t_within(high, df) < confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, df) < confidence else (low, middle)
    return high


def over_seeds(values: Sequence[float]) -> tuple[Interval, float] | None:
    """The t interval of a mean over seeds, and the two-sided p-value of a mean of 0.

    None for a single seed, and where all seeds agree to the last digit: their spread is not known then.
    """
    n = len(values)
    mean = math.fsum(values) / n
    spread = math.fsum((value - mean) ** 2 for value in values)
    if n < 2 or spread <= n * SAME**2:
        return None
    error = math.sqrt(spread / (n - 1) / n)
    half = t_quantile(n - 1) * error
    return Interval(mean - half, mean + half, "t"), 1 - t_within(mean / error, n - 1)


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact two-sided p-value: twice the smaller tail of Binomial(gained + lost, 1/2).

    Args:
        gained: problems that only the row has right.
        lost: problems that only the baseline has right.
    """
    n = gained + lost
    ways = tail = 1  # whole numbers, so exact: C(n, 0) and its sum
    for i in range(min(gained, lost)):
        ways = ways * (n - i) // (i + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): holds the chance of any false finding among these tests.

    The i-th smallest of m p-values times m - i + 1, never below the one before, at most 1.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


# ---------------------------------------------------------------- bootstrap over problems


def _draw(n: int) -> Iterator[NDArray[np.uint16]]:
    """How often each of n problems is in each resample, [up to CHUNK, n] at a time."""
    random = np.random.default_rng(n)
    chunk = min(CHUNK, max(1, AT_A_TIME // n))
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        places = random.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
        counts = np.bincount(places.ravel(), minlength=size * n)
        yield counts.reshape(size, n).astype(np.uint16)


@lru_cache(maxsize=2)
def _drawn(n: int) -> list[NDArray[np.uint16]]:
    return list(_draw(n))


def resampled(*columns: Array) -> list[Array]:
    """The sums of each column [n] over the problems of each resample, [RESAMPLES] each."""
    n = len(columns[0])
    if n > MANY and (together := _resampled_together(columns)):
        return together
    table = np.stack(columns, axis=1)  # [n, columns]
    draws = _drawn(n) if n * RESAMPLES <= KEPT else _draw(n)
    sums = np.concatenate([counts.astype(np.float64) @ table for counts in draws])
    return list(sums.T)


def _resampled_together(columns: Sequence[Array]) -> list[Array] | None:
    """The same from how often each kind of problem is drawn: of those that score alike, only that counts.

    Multinomial, which is what the counts of single problems sum to. None where there are too many kinds for
    it to be faster. Columns in another order meet the same draws, so that two rows may be swapped.
    """
    order = sorted(range(len(columns)), key=lambda i: (np.sort(columns[i]).tobytes(), columns[i].tobytes()))
    table = np.stack([columns[i] for i in order], axis=1)  # [n, columns]
    kinds, counts = np.unique(table, axis=0, return_counts=True)  # [kinds, columns], [kinds]
    n = len(table)
    if 4 * len(kinds) > n:
        return None
    drawn = np.random.default_rng(n).multinomial(n, counts / n, size=RESAMPLES)  # [RESAMPLES, kinds]
    sums = drawn.astype(np.float64) @ kinds
    return [sums[:, order.index(i)] for i in range(len(columns))]


def share(points: Array, of: Array) -> float:
    """A ratio of sums over problems; with `of` 1 everywhere a mean."""
    return float(points.sum() / of.sum())


def left_out(points: Array, of: Array) -> Array:
    """The share without each problem in turn, [n]."""
    rest = of.sum() - of
    return np.divide(points.sum() - points, rest, out=np.full(len(of), np.nan), where=rest != 0)


def bca(draws: Array, value: float, jackknife: Array, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987; DiCiccio and Efron 1996, eq. 2.3).

    Args:
        draws: the statistic of each resample.
        value: the statistic itself; resamples equal to it count half as below it.
        jackknife: the statistic without each problem.
        confidence: of the interval.
    """
    jackknife = jackknife[np.isfinite(jackknife)]
    below = np.count_nonzero(draws < value - SAME) + np.count_nonzero(np.abs(draws - value) <= SAME) / 2
    bias = NORMAL.inv_cdf(min(max(below / len(draws), 0.5 / len(draws)), 1 - 0.5 / len(draws)))
    away = jackknife.mean() - jackknife
    spread = float((away**2).sum())
    acceleration = float((away**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0

    def level(z: float) -> float:
        shifted = bias + z
        slope = 1 - acceleration * shifted
        return NORMAL.cdf(bias + shifted / slope) if slope > 0 else float(shifted > 0)

    z = NORMAL.inv_cdf((1 + confidence) / 2)
    low, high = np.quantile(draws, [level(-z), level(z)])
    return float(low), float(high)


def share_interval(points: Array, of: Array) -> Interval | None:
    """The BCa bootstrap interval of a share; None where nothing can be said.

    Args:
        points: of each problem, [n].
        of: the most it could have (1, or the empty cells of a Sudoku), [n].
    """
    value = share(points, of) if of.any() else math.nan
    if not math.isfinite(value):
        return None
    draws = _divided(*resampled(points, of))
    draws = draws[np.isfinite(draws)]
    if np.ptp(draws) <= SAME:
        return unvaried(value, len(of)) if _bounded(points, of) else None
    return Interval(*bca(draws, value, left_out(points, of)), "bootstrap")


def interval(points: Array, of: Array, one_answer: bool) -> Interval | None:
    """The interval over problems of every number that is shown anywhere; None where nothing can be said.

    Args:
        points: of each problem, [n].
        of: the most it could have, [n].
        one_answer: each problem has one answer, which is right (1 of 1) or wrong (0 of 1).
    """
    if one_answer:
        return Interval(*wilson(float(points.sum()), len(points)), "wilson")
    return share_interval(points, of)


def interval_of_error(value: float, error: float | None, n: int | None) -> Interval | None:
    """The interval of a number of which only lm-eval's standard error is left.

    Wilson's where that is the one of n zeros and ones, or 0: then all were alike, which is not to say that
    all is known.
    """
    if n and 0 <= value <= 1 and (error == 0 or looks_binary(value, error, n)):
        return Interval(*wilson(value * n, n), "wilson")
    if not error:
        return None
    half = NORMAL.inv_cdf((1 + CONFIDENCE) / 2) * error
    return clipped(Interval(value - half, value + half, "normal"), value)


def looks_binary(value: float, error: float | None, n: int) -> bool:
    """Whether a share and its standard error are those of n zeros and ones."""
    if error is None or n < 2 or abs(value * n - round(value * n)) > 1e-6:
        return False
    return abs(error - math.sqrt(value * (1 - value) / (n - 1))) < 1e-9


def clipped(interval: Interval, value: float, lowest: float = 0) -> Interval:
    """The interval of a share, inside of `lowest` to 1; of anything else as it is."""
    if not lowest <= value <= 1:
        return interval
    return Interval(max(lowest, interval.low), min(1.0, interval.high), interval.method)


def paired(points: Array, of: Array, base_points: Array, base_of: Array) -> Paired | None:
    """The difference of two shares on the same problems: paired bootstrap; None where nothing can be said.

    The interval has the middle 95 % of the resampled differences (percentile: BCa corrects for a skew that
    differences hardly have, and with few problems that differ covers less). The p-value takes the
    resampled differences, centred, for what chance does when there is no difference, and counts those at
    least as far from 0 as the one found (Efron and Tibshirani 1993, section 16.4); with 1 added above and
    below it is never 0 (Davison and Hinkley 1997, eq. 4.11).

    Where few problems differ resampling is too sure. So p is never below 2^(1 - m), the smallest p-value
    that m problems can give when each is as likely to differ in the other direction; and where that alone
    is above 0.05 (m up to 5) the interval reaches to 0.
    """
    value = share(points, of) - share(base_points, base_of) if of.any() and base_of.any() else math.nan
    if not math.isfinite(value):
        return None
    a, a_of, b, b_of = resampled(points, of, base_points, base_of)
    draws = _divided(a, a_of) - _divided(b, b_of)
    draws = draws[np.isfinite(draws)]
    if np.ptp(draws) <= SAME:
        if not (_bounded(points, of) and _bounded(base_points, base_of)):
            return None
        interval = unvaried(value, len(of), -1.0)
    else:
        low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        interval = Interval(float(low), float(high), "bootstrap")
    extreme = int(np.count_nonzero(np.abs(draws - value) >= abs(value) - SAME))
    differ = int(np.count_nonzero(np.abs(points * base_of - base_points * of) > SAME))
    least = min(1.0, 2.0 ** (1 - differ))
    if least > 1 - CONFIDENCE:
        interval = Interval(min(interval.low, 0.0), max(interval.high, 0.0), interval.method)
    return Paired(value, interval, max((1 + extreme) / (1 + len(draws)), least))


def unvaried(value: float, n: int, lowest: float = 0.0) -> Interval:
    """The interval where all n problems are alike, so that resampling shows no spread.

    The value plus or minus w, Wilson's upper limit for 0 of n: a kind of problem that was met 0 times in n
    may be a share w of all. For a share of 0 or 1 this is Wilson's interval.
    """
    w = wilson(0, n)[1]
    return Interval(max(lowest, value - w), min(1.0, value + w), "unvaried")


def _bounded(points: Array, of: Array) -> bool:
    return bool(np.all(points >= 0) and np.all(points <= of))


def _divided(points: Array, of: Array) -> Array:
    return np.divide(points, of, out=np.full(len(of), np.nan), where=of != 0)
