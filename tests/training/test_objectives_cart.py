"""CART's weights: the linear scan against the double loop over tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.objectives_reference import AtTimes, make_batch

from lift_harness.training.objectives import get_objective
from lift_harness.training.objectives.cart import context, geometric_sum

light = settings(max_examples=60, deadline=None, derandomize=True)


def double_loop(shown, p):
    """w_i = 1/2 sum over shown j != i of p (1-p)^(|i-j|-1)."""
    n = len(shown)
    return [
        sum(0.5 * p * (1 - p) ** (abs(i - j) - 1) for j in range(n) if shown[j] and j != i) for i in range(n)
    ]


@light
@given(
    shown=st.lists(st.booleans(), min_size=1, max_size=40),
    p=st.floats(1e-6, 1 - 1e-6) | st.sampled_from([1e-300, 0.1, 0.5, 1 - 2**-53]),
)
def test_context_is_the_double_loop(shown, p):
    found = context(torch.tensor([shown, shown[::-1]]), p)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[0], double_loop(shown, p), rtol=1e-12, atol=0)
    np.testing.assert_allclose(found[1], double_loop(shown[::-1], p), rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [0.1, 1e-4])
def test_context_is_exact_at_the_length_of_the_paper(p):
    n = 4096
    shown = torch.from_numpy(np.random.default_rng(0).random(n) < 0.3)
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    kernel = np.where(distance > 0, 0.5 * p * (1 - p) ** (distance - 1.0), 0.0)
    np.testing.assert_allclose(context(shown[None], p)[0], kernel @ shown.numpy(), rtol=1e-11)


def test_geometric_sum_by_hand():
    x = torch.tensor([[1.0, 0.0, 2.0, 0.0, 0.0]], dtype=torch.float64)
    assert geometric_sum(x, 0.5).tolist() == [[1.0, 0.5, 2.25, 1.125, 0.5625]]


def test_context_by_hand():
    # Shown, hidden, hidden, shown at p = 0.5: the neighbour counts 1/4, the one beyond it 1/8.
    weights = context(torch.tensor([[True, False, False, True]]), 0.5)[0]
    assert weights[1:3].tolist() == [0.375, 0.375]


def test_prompt_and_shown_padding_count_as_context(llada):
    batch, key = make_batch([(5, 6)], pad_to=20), AtTimes(0, 0, (0.5,))
    found = get_objective("cart")(llada("mha"), batch, key)
    hidden = found.supervised[0]
    expected = np.array(double_loop((~hidden).tolist(), 0.1)) / 0.5
    np.testing.assert_allclose(found.weight[0, hidden], expected[hidden], rtol=1e-6)
    assert (~hidden[:5]).all() and (~hidden[11:]).any()  # the prompt is there, and some padding is shown
    without_prompt = np.array(double_loop([False] * 5 + (~hidden[5:]).tolist(), 0.1)) / 0.5
    assert (found.weight[0, hidden].numpy() > without_prompt[hidden] + 1e-3).any()


def test_a_token_amid_nothing_shown_has_no_weight(llada):
    batch = make_batch([(0, 6)])
    found = get_objective("cart")(llada("mha"), batch, AtTimes(0, 0, (1.0,)))
    assert found.supervised.all() and (found.weight == 0).all() and found.loss.item() == 0
    found.loss.backward()
