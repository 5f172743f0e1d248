"""Rank correlation against its definition, and verdicts on data whose trend is known."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.analysis.tables import plain
from lift_harness.analysis.trend import Estimate, estimate, find_trend, spearman

NUMBERS = st.lists(st.integers(-4, 4), min_size=3, max_size=12)


def slow_spearman(x, y):
    """Pearson's correlation of ranks; the rank of a value is 1 + those below + half of its other equals."""

    def ranks(values):
        return [1 + sum(v < u for v in values) + (sum(v == u for v in values) - 1) / 2 for u in values]

    a, b = ranks(x), ranks(y)
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    top = sum((p - ma) * (q - mb) for p, q in zip(a, b, strict=True))
    bottom = math.sqrt(sum((p - ma) ** 2 for p in a) * sum((q - mb) ** 2 for q in b))
    return top / bottom if bottom else float("nan")


@settings(max_examples=200, deadline=None)
@given(NUMBERS, st.randoms())
def test_spearman_is_pearson_of_ranks(x, random):
    y = [random.randint(-3, 3) for _ in x]
    np.testing.assert_allclose(spearman(np.array(x), np.array(y)), slow_spearman(x, y), atol=1e-12)


def test_spearman_by_hand():
    assert spearman(np.array([1, 2, 3, 4]), np.array([1, 3, 2, 4])) == pytest.approx(0.8)  # 1 - 6 * 2 / 60
    assert math.isnan(spearman(np.array([1, 2]), np.array([1, 2])))
    assert math.isnan(spearman(np.array([1, 2, 3]), np.array([5, 5, 5])))


def grouped(confidence, groups=40, each=20, noise=0.02, seed=0):
    """Sums [G, T, K] for mean confidences [T, K]."""
    rng = np.random.default_rng(seed)
    mean = np.array(confidence, dtype=float)
    n = np.full((groups, *mean.shape), float(each))
    return n, n * (mean + rng.normal(0, noise, n.shape))


FREQUENCY = np.array([2, 3, 5, 8, 13, 21, 34, 55])
RISING, FLAT = np.linspace(0.1, 0.8, 8), np.full(8, 0.5)


def trend(*confidence, **changes):
    times = tuple(np.linspace(0.2, 0.8, len(confidence)))
    options = {"min_count": 1, "replicates": 200, "seed": 0, **changes}
    return find_trend(times, FREQUENCY, *grouped(confidence), **options)


def test_the_papers_trend():
    found = trend(RISING, RISING)
    assert found.verdict == "shows" and found.overall.spearman[0].value == pytest.approx(1)
    assert [rho.value for rho in found.by_time.spearman] == pytest.approx([1, 1])
    quarters = found.by_time  # two tokens each: 0.1 and 0.2, 0.7 and 0.8
    assert quarters.gap[0].value == pytest.approx(0.6, abs=0.02) and quarters.gap[0].low > 0.5
    assert quarters.rare[0] == pytest.approx(0.15, abs=0.02)
    assert quarters.frequent[1] == pytest.approx(0.75, abs=0.02)
    assert (quarters.rare_to, quarters.frequent_from) == (3, 34)
    text = " ".join(found.sentences())
    assert "shows in this data" in text and "no clear change" in text and "never masked" not in text


def test_its_reverse_and_its_absence():
    assert trend(RISING[::-1]).verdict == "is reversed"
    absent = trend(FLAT)
    assert absent.verdict == "does not show"
    assert absent.overall.spearman[0].low < 0 < absent.overall.spearman[0].high
    assert "does not show in this data" in absent.sentences()[0] and len(absent.sentences()) == 2


def test_a_trend_that_grows_with_t():
    found = trend(RISING[::-1], RISING)
    assert [rho.value for rho in found.by_time.spearman] == pytest.approx([-1, 1])
    assert found.by_time.spearman_change.value == pytest.approx(2)
    assert found.by_time.spearman_change.low > 0
    assert found.by_time.gap_change.value == pytest.approx(1.2, abs=0.03)
    assert "from -1.000 to 1.000 over 8 tokens" in found.sentences()[2]
    assert "larger the more is masked" in found.sentences()[2]
    assert "smaller the more is masked" in trend(RISING, RISING[::-1]).sentences()[2]


def test_all_times_together_are_weighted_by_what_is_masked():
    n, s = grouped([FLAT, RISING], noise=0)
    n[:, 0], s[:, 0] = n[:, 0] * 3, s[:, 0] * 3
    found = find_trend((0.2, 0.8), FREQUENCY, n, s, min_count=1, replicates=10, seed=0)
    assert found.overall.rare[0] == pytest.approx((3 * 0.5 + 0.15) / 4)


def test_which_tokens_count():
    n, s = grouped([RISING, RISING])
    n[:, 0, 3], s[:, 0, 3] = 0, 0  # never masked at the first time
    n[1:, :, 5], s[1:, :, 5] = 0, 0  # masked 40 times in all
    n[:, :, 7], s[:, :, 7] = 0, 0  # never masked
    found = find_trend((0.2, 0.8), FREQUENCY, n, s, min_count=41, replicates=20, seed=0)
    assert (found.by_time.tokens, found.overall.tokens, found.every.tokens, found.kinds) == (5, 6, 7, 8)
    assert "1 of the data's 8 tokens were never masked" in " ".join(found.sentences())
    json.dumps(plain(found.as_json()), allow_nan=False)
    none = find_trend((0.2, 0.8), FREQUENCY, n, s, min_count=10**6, replicates=20, seed=0)
    assert none.verdict == "cannot be judged" and none.overall.tokens == 0
    assert "cannot be judged: 0 of 8" in none.sentences()[0]


def test_rare_tokens_that_change_the_verdict_are_reported():
    """The frequent tokens follow the trend; the three rarest, masked a few times each, are surest."""
    mean = [0.99, 0.98, 0.97, 0.2, 0.3, 0.4, 0.5, 0.6]
    n, s = grouped([mean], noise=0.005)
    n[:, :, :3], s[:, :, :3] = n[:, :, :3] / 20, s[:, :, :3] / 20  # 40 times each
    found = find_trend((0.5,), FREQUENCY, n, s, min_count=100, replicates=100, seed=0)
    assert found.overall.spearman[0].value == pytest.approx(1)
    assert found.every.spearman[0].value == pytest.approx(1 - 6 * 128 / (8 * 63))  # ranks 8 7 6 1 2 ...
    assert found.verdict == "depends on which tokens count"
    assert "depends on which tokens count in this data" in found.sentences()[0]


def test_the_interval_is_reflected_about_the_estimate():
    """Replicates below the estimate, as those of a rank correlation are, stand for a truth above it."""
    replicates = np.linspace(0.2, 0.4, 1001)
    found = estimate(0.4, replicates)
    assert (found.low, found.high) == pytest.approx((0.8 - 0.395, 0.8 - 0.205))
    assert estimate(0.4, np.array([np.nan])).sign is None
    assert [Estimate(0, *ends).sign for ends in ((0.1, 0.2), (-0.1, 0.2), (-0.2, -0.1))] == [1, 0, -1]


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Simulated data with noise in the means: at least 70 % of the intervals (percentile intervals: 15 %)."""
    rng = np.random.default_rng(5)
    kinds, groups = 60, 40
    frequency = np.arange(1, kinds + 1)
    truth = 0.5 + 0.003 * frequency + rng.normal(0, 0.05, kinds)
    wanted, held = slow_spearman(list(frequency), list(truth)), 0
    for run in range(60):
        n, s = grouped([truth], groups, each=1, noise=0.2, seed=run)
        found = find_trend((0.5,), frequency, n, s, min_count=1, replicates=60, seed=run)
        held += found.overall.spearman[0].low <= wanted <= found.overall.spearman[0].high
    assert held >= 42
