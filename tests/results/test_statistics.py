"""Intervals and tests against formulas, enumeration, simulation and, where it is installed, scipy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.results import statistics

Z = 1.959963984540054  # 97.5 % of the normal distribution, from tables


# ---------------------------------------------------------------- Wilson


def roots_of_the_score_equation(successes, n):
    """Where (share - p)^2 = z^2 p (1 - p) / n, by bisection on both sides of the share."""
    share = successes / n

    def excess(p):
        return (share - p) ** 2 - Z**2 * p * (1 - p) / n

    def root(inside, outside):
        if excess(outside) <= 0:
            return outside
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if excess(middle) <= 0 else (inside, middle)
        return inside

    return root(share, 0.0), root(share, 1.0)


@pytest.mark.parametrize("n", [1, 2, 7, 30, 1319])
def test_wilson_solves_the_score_equation(n):
    for successes in {0, 1, n // 3, n - 1, n}:
        low, high = statistics.wilson(successes, n)
        expected = roots_of_the_score_equation(successes, n)
        assert (low, high) == pytest.approx(expected, abs=1e-9)


def test_wilson_covers_the_truth_as_often_as_it_says():
    for n, p in ((20, 0.1), (50, 0.03), (256, 0.5)):
        inside = 0.0
        for k in range(n + 1):
            low, high = statistics.wilson(k, n)
            inside += math.comb(n, k) * p**k * (1 - p) ** (n - k) * (low <= p <= high)
        assert 0.92 < inside < 0.99


# ---------------------------------------------------------------- Student's t


def t_by_integration(t, df):
    """P(|T| <= t): the density summed over small steps (midpoint rule)."""
    steps = 100_000
    middles = (np.arange(steps) + 0.5) * t / steps
    density = (1 + middles**2 / df) ** (-(df + 1) / 2)
    scale = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2))
    return 2 * scale * float(density.sum()) * t / steps


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 29])
def test_students_t_is_the_integral_of_its_density(df):
    for t in (0.1, 1.0, 2.5, 8.0):
        assert statistics.t_within(t, df) == pytest.approx(t_by_integration(t, df), abs=1e-8)
        assert statistics.t_within(-t, df) == statistics.t_within(t, df)


def test_quantiles_of_t_are_those_of_the_tables():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042}
    for df, expected in table.items():
        assert statistics.t_quantile(df) == pytest.approx(expected, abs=6e-4)


def test_the_interval_over_seeds_by_hand():
    # mean 0.5, standard deviation 0.1, three seeds: 0.5 +- 4.303 x 0.1 / sqrt(3)
    interval, p = statistics.over_seeds([0.4, 0.5, 0.6])
    half = 4.302652729749 * 0.1 / math.sqrt(3)
    assert (interval.low, interval.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert interval.method == "t"
    assert p == pytest.approx(1 - t_by_integration(0.5 / (0.1 / math.sqrt(3)), 2), abs=1e-7)


def test_the_spread_of_one_seed_or_of_equal_seeds_is_not_known():
    assert statistics.over_seeds([0.5]) is None
    assert statistics.over_seeds([0.1 + 0.2, 0.3, 0.3]) is None


# ---------------------------------------------------------------- McNemar, Holm


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (0, 5), (5, 0), (3, 3), (2, 9), (7, 4)])
def test_mcnemar_counts_the_outcomes_of_fair_coins(gained, lost):
    n = gained + lost
    distance = abs(gained - lost)
    as_far = sum(abs(2 * sum(coins) - n) >= distance for coins in itertools.product((0, 1), repeat=n))
    assert statistics.mcnemar(gained, lost) == pytest.approx(as_far / 2**n, abs=1e-12)
    assert statistics.mcnemar(gained, lost) == statistics.mcnemar(lost, gained)


def test_mcnemar_of_many_problems_is_the_normal_tail():
    expected = math.erfc((1600 - 1400 - 1) / math.sqrt(3000) / math.sqrt(2))  # with correction for continuity
    assert statistics.mcnemar(1600, 1400) == pytest.approx(expected, rel=0.01)
    assert statistics.mcnemar(2000, 2000) == 1.0


def holm_by_definition(p_values):
    """The largest adjusted value of those that are rejected no later: max over q <= p of (number >= q) q."""
    found = []
    order = sorted(p_values)
    for p in p_values:
        last = max(i for i, q in enumerate(order) if q == p)
        found.append(min(1.0, max((len(order) - i) * order[i] for i in range(last + 1))))
    return found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9, unique=True), st.randoms())
def test_holm_by_definition_in_any_order(p_values, random):
    adjusted = statistics.holm(p_values)
    assert adjusted == pytest.approx(holm_by_definition(p_values))
    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    order = random.sample(range(len(p_values)), len(p_values))
    assert statistics.holm([p_values[i] for i in order]) == [adjusted[i] for i in order]


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.2]) == [0.2]
    assert statistics.holm([]) == []


# ---------------------------------------------------------------- bootstrap of one share


def ones(n):
    return np.ones(n)


def test_resampled_sums_are_those_of_whole_samples():
    x = np.array([1.0, 10.0, 100.0])
    counts, sums = statistics.resampled(ones(3), x)
    assert len(sums) == statistics.RESAMPLES and np.all(counts == 3)
    # 3 draws of 3 problems: sums are a + 10 b + 100 c with a + b + c = 3, all equally often in position
    values, times = np.unique(sums, return_counts=True)
    exact = {
        a + 10 * b + 100 * c: math.factorial(3)
        / (math.factorial(a) * math.factorial(b) * math.factorial(c))
        / 27
        for a in range(4)
        for b in range(4 - a)
        for c in [3 - a - b]
    }
    assert set(values) == set(exact)
    for value, count in zip(values, times, strict=True):
        assert count / statistics.RESAMPLES == pytest.approx(exact[value], abs=0.015)


def test_the_same_resamples_come_every_time_kept_or_not(monkeypatch):
    x = np.random.default_rng(0).random(40)
    first = statistics.resampled(x)[0]
    monkeypatch.setattr(statistics, "KEPT", 0)
    assert np.array_equal(first, statistics.resampled(x)[0])


@pytest.fixture
def many(monkeypatch):
    """Any number of problems counts as many."""
    monkeypatch.setattr(statistics, "MANY", 0)


def test_the_sums_of_many_problems_have_the_distribution_of_the_bootstrap(many):
    """Right ones in a resample of n are binomial; two columns vary together as the problems do."""
    x = np.repeat([0.0, 0.0, 1.0, 1.0, 1.0], 80)
    y = np.tile([0.0, 1.0, 1.0, 1.0, 1.0], 80)
    n, rights = statistics.resampled(ones(400), x)
    assert len(rights) == statistics.RESAMPLES and np.all(n == 400)
    for most in (220, 230, 240, 250, 260):
        exact = math.fsum(math.comb(400, i) * 0.6**i * 0.4 ** (400 - i) for i in range(most + 1))
        assert np.mean(rights <= most) == pytest.approx(exact, abs=0.015)
    both = np.cov(*statistics.resampled(x, y))
    assert both == pytest.approx(400 * np.cov(x, y, bias=True), rel=0.05, abs=3)


def test_up_to_so_many_problems_are_drawn_one_by_one():
    """3,355, as docs/comparing.md says: what a change of the limit would change."""
    assert statistics.MANY == 3355

    def one_by_one(n):
        random, right = np.random.default_rng(n), np.arange(n) % 2 == 0
        return [right[random.integers(0, n, n)].sum() for _ in range(3)]

    for n, same in ((3355, True), (3356, False)):
        right = (np.arange(n) % 2 == 0).astype(float)
        assert (list(statistics.resampled(right)[0][:3]) == one_by_one(n)) == same


def test_many_problems_of_as_many_kinds_are_drawn_one_by_one(many):
    x = np.random.default_rng(0).random(40)
    assert statistics._resampled_together([x]) is None
    assert len(statistics.resampled(x)[0]) == statistics.RESAMPLES


def test_many_problems_give_the_intervals_of_few_whatever_comes_first(many, monkeypatch):
    random = np.random.default_rng(1)
    a, b = (random.integers(0, 2, 3000).astype(float) for _ in range(2))
    of = ones(3000)
    there, back = statistics.paired(a, of, b, of), statistics.paired(b, of, a, of)
    assert (there.value, there.p) == (-back.value, back.p)
    limits = there.interval.low, there.interval.high
    assert limits == pytest.approx((-back.interval.high, -back.interval.low), abs=1e-12)
    ours = statistics.share_interval(a, of)
    monkeypatch.undo()
    one_by_one = statistics.paired(a, of, b, of)
    assert limits == pytest.approx((one_by_one.interval.low, one_by_one.interval.high), abs=1e-3)
    assert there.p == pytest.approx(one_by_one.p, abs=0.02)
    known = statistics.share_interval(a, of)
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=1e-3)


def test_a_million_problems_need_no_more_than_their_own_space():
    right = np.arange(10**6) % 3 == 0
    interval = statistics.share_interval(right.astype(float), ones(10**6))
    error = math.sqrt(2 / 9 / 10**6)
    assert (interval.low, interval.high) == pytest.approx(
        (1 / 3 - 1.96 * error, 1 / 3 + 1.96 * error), abs=2e-5
    )


def test_bca_agrees_with_scipy():
    scipy = pytest.importorskip("scipy.stats", reason="scipy is not installed: no second bootstrap")
    x = np.random.default_rng(1).beta(0.3, 1.0, 60)
    theirs = scipy.bootstrap(
        (x,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    ours = statistics.share_interval(x, ones(60))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    percentile = np.quantile(statistics.resampled(x)[0] / 60, [0.025, 0.975])
    assert abs(percentile[0] - ours.low) > 0.001  # the correction is at work: x is skewed


def test_bca_without_skew_is_the_percentile_interval():
    x = np.concatenate([np.linspace(0, 1, 51)])  # symmetric: no acceleration, hardly a bias
    interval = statistics.share_interval(x, ones(51))
    low, high = np.quantile(statistics.resampled(x)[0] / 51, [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.003)


@pytest.mark.parametrize("below", [0.3, 0.5, 0.6])
def test_bca_moves_by_twice_the_bias(below):
    # Without acceleration the levels are Phi(2 z0 -+ z), z0 where the value stands among the resamples.
    draws = np.arange(100_001) / 100_000  # quantiles are their own levels
    low, high = statistics.bca(draws, below, np.array([-1.0, 0.0, 1.0]))
    z0 = {0.3: -0.5244005127, 0.5: 0.0, 0.6: 0.2533471031}[below]
    levels = [0.5 * math.erfc(-(2 * z0 + z) / math.sqrt(2)) for z in (-Z, Z)]
    assert (low, high) == pytest.approx(levels, abs=1e-4)


def test_the_interval_of_a_ratio_of_sums_agrees_with_the_delta_method():
    random = np.random.default_rng(3)
    of = random.integers(4, 12, 400).astype(float)
    points = random.binomial(of.astype(int), random.choice([0.1, 0.6], 400)).astype(float)
    ratio = points.sum() / of.sum()
    error = math.sqrt(400 / 399 * ((points - ratio * of) ** 2).sum()) / of.sum()
    interval = statistics.share_interval(points, of)
    assert interval.method == "bootstrap"
    assert (interval.low, interval.high) == pytest.approx((ratio - Z * error, ratio + Z * error), abs=0.004)


def test_bootstrap_intervals_cover_the_truth(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    draws = {n: list(statistics._draw(n)) for n in (30, 120)}
    random = np.random.default_rng(4)
    monkeypatch.setattr(statistics, "_drawn", draws.__getitem__)
    for n, truth in ((30, 0.25), (120, 0.25)):  # the mean of Beta(0.5, 1.5): many problems near 0
        inside = 0
        for _ in range(300):
            interval = statistics.share_interval(random.beta(0.5, 1.5, n), ones(n))
            inside += interval.low <= truth <= interval.high
        assert 0.89 <= inside / 300 <= 0.985


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_where_all_problems_are_alike_the_interval_is_not_empty(value):
    interval = statistics.share_interval(np.full(30, value), ones(30))
    # w is the p at which the normal score test of 0 in 30 is just not rejected: p / (1 - p) = z^2 / 30
    w = (Z**2 / 30) / (1 + Z**2 / 30)
    assert interval.method == "unvaried"
    assert (interval.low, interval.high) == pytest.approx((max(0, value - w), min(1, value + w)))


def test_nothing_to_resample_gives_no_interval():
    assert statistics.share_interval(np.zeros(3), np.zeros(3)) is None
    assert statistics.share_interval(np.full(5, 40.0), ones(5)) is None  # no share: a width is not known
    some_empty = statistics.share_interval(np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0, 2.0]))
    assert 0.0 <= some_empty.low < some_empty.high <= 1.0


# ---------------------------------------------------------------- paired differences


def sign_flips(differences):
    """The exact two-sided p-value of a mean difference: every difference with either sign."""
    total = abs(sum(differences))
    signs = itertools.product((1, -1), repeat=len(differences))
    found = [abs(sum(s * d for s, d in zip(one, differences, strict=True))) for one in signs]
    return sum(value >= total - 1e-9 for value in found) / len(found)


@pytest.mark.parametrize("seed", range(6))
def test_the_paired_p_value_is_near_the_exact_permutation_test(seed):
    random = np.random.default_rng(seed)
    a = random.random(14)
    b = np.clip(a + random.normal(0.08 * seed / 3, 0.15, 14), 0, 1)
    paired = statistics.paired(b, ones(14), a, ones(14))
    exact = sign_flips(list(b - a))
    assert paired.value == pytest.approx(float((b - a).mean()))
    # Resampling 14 problems has a standard error sqrt(13 / 14) as large as theirs: some below the exact one.
    assert abs(paired.p - exact) < max(0.06, 0.25 * exact)


@pytest.mark.parametrize(("gained", "lost"), [(12, 3), (8, 8), (20, 6), (6, 1)])
def test_the_paired_p_value_of_zeros_and_ones_is_near_mcnemars(gained, lost):
    a, b = np.zeros(100), np.zeros(100)
    b[:gained], a[gained : gained + lost] = 1, 1
    paired = statistics.paired(b, ones(100), a, ones(100))
    exact = statistics.mcnemar(gained, lost)
    assert paired.value == pytest.approx((gained - lost) / 100)
    assert exact / 3 <= paired.p <= exact * 1.5 + 0.01


@pytest.mark.parametrize("differ", [1, 2, 5, 6, 8])
def test_few_problems_that_differ_are_no_proof(differ):
    a, b = np.zeros(200), np.zeros(200)
    b[:differ] = 1
    paired = statistics.paired(b, ones(200), a, ones(200))
    assert paired.p >= min(1.0, 2 * 0.5**differ)  # all coins on the same side, in either direction
    assert (paired.interval.low <= 0) == (2 * 0.5**differ > 0.05)


def test_paired_intervals_cover_the_truth(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    draws = list(statistics._draw(150))
    monkeypatch.setattr(statistics, "_drawn", lambda n: draws)
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(300):
        change = random.choice([1, -1, 0], p=[0.12, 0.06, 0.82], size=150)
        a = np.where(change > 0, 0.0, np.where(change < 0, 1.0, random.integers(0, 2, 150)))
        b = np.where(change > 0, 1.0, np.where(change < 0, 0.0, a))
        interval = statistics.paired(b, ones(150), a, ones(150)).interval
        inside += interval.low <= 0.06 <= interval.high
    assert 0.91 <= inside / 300 <= 0.985


def test_p_values_under_no_difference_are_below_a_twentieth_as_often_as_they_should(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    draws = list(statistics._draw(100))
    monkeypatch.setattr(statistics, "_drawn", lambda n: draws)
    random = np.random.default_rng(6)
    below = 0
    for _ in range(400):
        skill = random.beta(0.5, 0.5, 100)
        a, b = (random.binomial(8, skill) / 8 for _ in range(2))
        below += statistics.paired(a, ones(100), b, ones(100)).p < 0.05
    assert 0.015 <= below / 400 <= 0.09


columns = st.integers(2, 25).flatmap(
    lambda n: st.tuples(
        *(st.lists(st.integers(0, 4), min_size=n, max_size=n) for _ in range(2)),
        st.lists(st.integers(4, 9), min_size=n, max_size=n),
    )
)


@settings(max_examples=40, deadline=None)
@given(columns)
def test_swapping_the_two_turns_the_sign_and_nothing_else(three):
    a, b, of = (np.array(column, dtype=float) for column in three)
    there, back = statistics.paired(a, of, b, of), statistics.paired(b, of, a, of)
    assert there.value == -back.value and there.p == back.p
    assert (there.interval.low, there.interval.high) == pytest.approx(
        (-back.interval.high, -back.interval.low)
    )
    assert 0 < there.p <= 1 and there.interval.low <= there.value <= there.interval.high


def test_the_two_may_have_other_maxima():
    random = np.random.default_rng(7)
    of, base_of = random.integers(2, 6, 300).astype(float), random.integers(8, 20, 300).astype(float)
    points, base_points = (random.binomial(n.astype(int), 0.5).astype(float) for n in (of, base_of))
    paired = statistics.paired(points, of, base_points, base_of)
    ratios = [points.sum() / of.sum(), base_points.sum() / base_of.sum()]
    influence = (points - ratios[0] * of) / of.mean() - (base_points - ratios[1] * base_of) / base_of.mean()
    half = Z * influence.std(ddof=1) / math.sqrt(300)
    middle = ratios[0] - ratios[1]
    assert paired.value == pytest.approx(middle)
    assert (paired.interval.low, paired.interval.high) == pytest.approx(
        (middle - half, middle + half), abs=0.004
    )


def test_differences_on_another_scale_have_no_made_up_width():
    a = np.full(6, 40.0)
    assert statistics.paired(a, ones(6), a, ones(6)) is None
    paired = statistics.paired(a + np.arange(6), ones(6), a, ones(6))
    assert paired.interval.low < 2.5 < paired.interval.high
