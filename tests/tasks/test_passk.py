"""pass@k against counting every subset, and its limits."""

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_harness.errors import LiftError
from lift_harness.tasks.passk import ks_for, pass_at, pass_at_k


@pytest.mark.parametrize("n", range(1, 9))
def test_equals_the_share_of_subsets_that_hold_a_right_sample(n):
    for c in range(n + 1):
        samples = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            subsets = list(combinations(samples, k))
            assert pass_at_k(n, c, k) == float(Fraction(sum(map(any, subsets)), len(subsets)))


def test_published_example():
    """HumanEval's product form, 1 - prod_{i=n-c+1..n} (1 - k / i), for n = 200, c = 12, k = 10."""
    product = 1.0
    for i in range(200 - 12 + 1, 200 + 1):
        product *= 1 - 10 / i
    assert pass_at_k(200, 12, 10) == pytest.approx(1 - product, rel=1e-12)


def test_thousands_of_samples_neither_overflow_nor_lose_precision():
    assert pass_at_k(5000, 1, 2500) == 0.5
    assert pass_at_k(5000, 0, 5000) == 0.0
    assert pass_at_k(5000, 2501, 2500) == 1.0
    assert pass_at_k(4096, 1, 1) == 1 / 4096
    assert 0 < 1 - pass_at_k(3000, 20, 1500) < 1e-6


@given(st.integers(1, 60), st.data())
def test_grows_with_k_and_with_right_samples(n, data):
    c = data.draw(st.integers(0, n - 1))
    values = [pass_at_k(n, c, k) for k in range(1, n + 1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(c / n)
    assert all(pass_at_k(n, c + 1, k) >= value for k, value in enumerate(values, start=1))


@pytest.mark.parametrize(
    ("n", "ks"),
    [
        (1, [1]),
        (2, [1, 2]),
        (6, [1, 2, 4, 6]),
        (8, [1, 2, 4, 8]),
        (9, [1, 2, 4, 8, 9]),
        (16, [1, 2, 4, 8, 16]),
    ],
)
def test_ks_for(n, ks):
    assert ks_for(n) == ks


def test_pass_at_names():
    found = pass_at(8, 2)
    assert list(found) == ["pass@1", "pass@2", "pass@4", "pass@8", "avg@8"]
    assert found["avg@8"] == found["pass@1"] == 0.25
    assert found["pass@2"] == pytest.approx(1 - (6 * 5) / (8 * 7))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_impossible_counts_are_refused(n, c, k):
    with pytest.raises(LiftError, match=f"pass@{k}"):
        pass_at_k(n, c, k)
