"""The report's intervals against scipy, brute force and resampling."""

import itertools
import random

import pytest
from scipy.stats import binomtest, t

from lift_harness.report.statistics import best, interval, over_seeds, pass_curve, ratio


def test_intervals_are_wilsons_and_students():
    for right, n in ((0, 5), (5, 5), (3, 8), (70, 100)):
        expected = binomtest(right, n).proportion_ci(method="wilson")
        assert interval(right / n, None, items=n, binary=True) == pytest.approx((expected.low, expected.high))
        assert interval(right / n, 0.0, items=n) == interval(right / n, None, items=n, binary=True)
    assert interval(0.5, 0.1) == pytest.approx((0.5 - 1.96 * 0.1, 0.5 + 1.96 * 0.1), abs=1e-4)
    assert interval(0.95, 0.1)[1] == 1.0
    assert interval(0.5, None) is None and interval(0.0, 0.0) is None  # nothing is known
    for seeds in (2, 3, 5, 21, 40):
        low, high = over_seeds(0.5, 0.01, seeds, (0.5, 0.5))
        wide = t.ppf(0.975, seeds - 1) * 0.01
        assert (low, high) == pytest.approx((0.5 - wide, 0.5 + wide), abs=1e-5)
    assert over_seeds(0.5, 0.0, 2, (0.4, 0.7)) == pytest.approx((0.4, 0.7))  # seeds alike, problems not
    low, high = over_seeds(0.5, 0.3 / t.ppf(0.975, 2), 3, (0.1, 0.9))
    assert (low, high) == pytest.approx((0.0, 1.0))  # sqrt(0.3^2 + 0.4^2) = 0.5
    assert over_seeds(0.5, 0.1, 3, None) is None


def test_ratio_has_the_error_of_a_ratio_of_sums():
    random.seed(1)
    problems = [(random.randint(0, of), of) for of in random.choices(range(3, 12), k=400)]
    share, (low, high) = ratio(problems)
    assert share == sum(r for r, _ in problems) / sum(of for _, of in problems)
    resampled = []
    for _ in range(2000):
        chosen = random.choices(problems, k=len(problems))
        resampled.append(sum(r for r, _ in chosen) / sum(of for _, of in chosen))
    resampled.sort()
    assert (low, high) == pytest.approx((resampled[50], resampled[1949]), abs=0.004)


def test_pass_at_k_counts_subsets_and_the_band_is_of_resampled_problems():
    random.seed(2)
    verdicts = [
        [int(random.random() < chance) for _ in range(6)] for chance in [random.random() for _ in range(60)]
    ]
    curve = pass_curve([[(6, sum(one))] for one in verdicts])
    assert curve["k"] == [1, 2, 3, 4, 5, 6]
    for k, value, low, high in zip(*(curve[name] for name in ("k", "value", "low", "high")), strict=True):
        chances = []
        for one in verdicts:
            subsets = list(itertools.combinations(one, k))
            chances.append(sum(map(max, subsets)) / len(subsets))
        assert value == pytest.approx(sum(chances) / 60)
        means = sorted(sum(random.choices(chances, k=60)) / 60 for _ in range(4000))
        assert (low, high) == pytest.approx((means[100], means[3899]), abs=0.02)


def test_pass_at_k_of_seeds_is_a_mean_of_each_problem_and_unanimity_is_not_certainty():
    curve = pass_curve([[(2, 2), (2, 0)], [(2, 1), (2, 1)]])
    assert curve["value"] == pytest.approx([0.5, 0.75])  # (1 + 0) / 2, 1/2; (1 + 0) / 2, 1
    wilson = binomtest(0, 7).proportion_ci(method="wilson")
    nothing = pass_curve([[(3, 0)]] * 7)
    assert nothing["low"] == [0, 0, 0] and nothing["high"] == pytest.approx([wilson.high] * 3)


def test_best_needs_an_interval_above_all_others():
    values = {"a": 0.3, "b": 0.6, "c": 0.5}
    assert best({"a": (0.2, 0.4), "b": (0.51, 0.7), "c": (0.4, 0.5)}, values) == "b"
    assert best({"a": (0.2, 0.4), "b": (0.49, 0.7), "c": (0.4, 0.5)}, values) is None
    assert best({"a": None, "b": (0.51, 0.7), "c": (0.4, 0.5)}, values) is None  # a is not known
    assert best({"b": (0.5, 0.7)}, {"b": 0.6}) is None  # of what?
