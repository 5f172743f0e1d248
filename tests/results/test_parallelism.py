"""AUP against the formula in numpy and the published points; the Pareto front against brute force."""

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.errors import LiftError
from lift_harness.results.parallelism import aup, leaderboard_yaml, pareto

# The leaderboard's table (hao-ai-lab.github.io, static/blogs/text-diffusion/dLLM_Results.csv) of LLaDA:
# task -> (highest accuracy of all methods, [(accuracy at one token a pass, tokens a pass, accuracy, AUP)]).
# On Long-GSM8K the highest is the autoregressive model's that is listed beside them.
PUBLISHED = {
    "GSM8K-CoT": (
        74.98,
        [
            (74.79, 2.77, 74.68, 205.7811),
            (74.98, 2.88, 74.39, 213.7564),
            (74.00, 5.14, 72.63, 358.1422),
            (74.02, 9.08, 73.10, 635.7170),
        ],
    ),
    "Long-GSM8K": (
        82.56,
        [(78.45, 2.45, 78.01, 175.3744), (79.15, 4.49, 76.65, 309.0756), (78.32, 7.18, 74.86, 460.6344)],
    ),
}
SHARES = st.floats(0, 100).map(lambda y: round(y, 2))
POINTS = st.lists(st.tuples(st.floats(0.1, 20), SHARES), min_size=1, max_size=8, unique_by=lambda p: p[0])


@pytest.mark.parametrize("task", PUBLISHED)
def test_the_published_scores_come_out(task):
    best, rows = PUBLISHED[task]
    for slow, rho, fast, expected in rows:
        assert aup([(rho, fast), (1.0, slow)], best=best) == pytest.approx(expected, abs=5e-3)


def formula(points, alpha, best):
    """AUP in numpy, as the definition is written: a product of vectors."""
    table = np.array(sorted(points))
    table = table[table[:, 1] >= table[0, 1] - 5]
    rho, y = table.T
    weight = np.minimum(np.exp(-alpha * (1 - y / best)), 1)
    heights = y * weight
    return rho[0] * y[0] + np.dot(np.diff(rho), heights[1:] + heights[:-1]) / 2


@settings(deadline=None, max_examples=200)
@given(POINTS, st.floats(0, 10), st.randoms(use_true_random=False))
def test_aup_is_the_formula(points, alpha, random):
    best = max(y for _, y in points)
    shuffled = random.sample(points, len(points))
    expected = formula(points, alpha, best or 1.0)
    assert aup(shuffled, alpha) == pytest.approx(expected)
    assert aup(points, alpha, best=100.0) == pytest.approx(formula(points, alpha, 100.0))
    assert aup(points, alpha, best=100.0) <= aup(points, 0.0) + 1e-6  # a weight never adds


def test_aup_by_hand():
    assert aup([(1, 80)]) == 80
    assert aup([(1, 80), (3, 80)]) == 240  # nothing lost: the area below the curve
    assert aup([(1, 80), (3, 74.9)]) == 80  # more than 5 points below the first
    assert aup([(1, 80), (3, 75), (5, 75)], alpha=0) == 80 + 155 + 150
    assert aup([(1, 70), (1, 80), (3, 80)]) == 240  # of one rho the most accurate
    assert aup([(1, 0), (2, 0)]) == 0


@pytest.mark.parametrize("points", [[], [(0.0, 50.0)], [(1.0, 50.0), (-1.0, 50.0)]])
def test_aup_needs_positive_points(points):
    with pytest.raises(LiftError, match="above 0"):
        aup(points)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_the_front_is_what_no_other_point_beats(points):
    """A point is beaten where another lies in the quadrant above and right of it, elsewhere than on it."""
    table = np.array(points, dtype=float).reshape(-1, 2)
    at_least = (table[:, None] >= table[None]).all(axis=2)  # [other, point]
    on_it = (table[:, None] == table[None]).all(axis=2)
    assert pareto(points) == (~(at_least & ~on_it).any(axis=0)).tolist()


def test_ties_stand_or_fall_together():
    assert pareto([(1, 2), (1, 2), (2, 1), (2, 1), (1, 1)]) == [True, True, True, True, False]


def test_the_leaderboards_form():
    text = leaderboard_yaml({"GSM8K-CoT": {"Fast-dLLM-LLaDA": [(2.77, 74.68), (1.0, 74.79)]}})
    assert yaml.safe_load(text) == {"GSM8K-CoT": {"Fast-dLLM-LLaDA": [[1.0, 74.79], [2.77, 74.68]]}}
