"""The density objective's own: rates that are solved for, complementary views, and what they add up to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.llada_reference import MASK
from support.objectives_reference import AtTimes, make_batch

from lift_harness.errors import LiftError
from lift_harness.keyed_random import TRAINING_MASK
from lift_harness.training.objectives import Batch, NoiseKey, get_objective
from lift_harness.training.objectives.base import EPS
from lift_harness.training.objectives.density import rates

light = settings(max_examples=100, deadline=None, derandomize=True)
LENGTHS = [(5, 12), (3, 20), (8, 9), (2, 16)]


# ---- rates


@light
@given(
    flags=st.lists(st.booleans(), min_size=1, max_size=30),
    t=st.floats(EPS, 1),
    w=st.floats(0.02, 50) | st.just(1.0),
    hard=st.booleans(),
)
def test_the_mean_rate_is_t_and_priority_comes_first(flags, t, w, hard):
    # A row of an even mix goes along, and one with a prompt of priority tokens only.
    n = len(flags)
    priority = torch.tensor([flags, [i % 2 == 0 for i in range(n)]])
    response = torch.ones(2, n, dtype=torch.bool)
    found = rates(torch.tensor([t, t], dtype=torch.float64), priority, response, w, hard)
    assert found.isfinite().all() and (found >= 0).all() and (found <= 1 + 1e-12).all()
    for row, first in zip(found.numpy(), priority.numpy(), strict=True):
        assert row.mean() == pytest.approx(t, rel=1e-9)
        assert len(set(row[first])) <= 1 and len(set(row[~first])) <= 1
        if first.any() and not first.all():
            of_first, of_others = row[first][0], row[~first][0]
            if hard:
                assert of_first == pytest.approx(1) or of_others == 0
            elif w < 1:
                assert of_others == pytest.approx(min(of_first / w, 1))
            else:
                assert of_first == pytest.approx(min(w * of_others, 1))


def test_rates_by_hand():
    priority = torch.tensor([[True, False, False, False]])
    response = torch.ones_like(priority)
    for t, w, hard, expected in [
        (0.25, 2, False, [0.4, 0.2, 0.2, 0.2]),
        (0.85, 2, False, [1.0, 0.8, 0.8, 0.8]),
        (0.2, 1, False, [0.2] * 4),
        (0.1, 2, True, [0.4, 0.0, 0.0, 0.0]),
        (0.25, 2, True, [1.0, 0.0, 0.0, 0.0]),
        (0.5, 2, True, [1.0, 1 / 3, 1 / 3, 1 / 3]),
        (1.0, 9, False, [1.0] * 4),
        (0.35, 0.5, False, [0.2, 0.4, 0.4, 0.4]),
        (0.8, 0.1, False, [0.2, 1.0, 1.0, 1.0]),  # the others are capped, and the mean is kept
    ]:
        found = rates(torch.tensor([t], dtype=torch.float64), priority, response, w, hard)
        assert found[0].tolist() == pytest.approx(expected)


def test_only_response_tokens_count_among_the_priority():
    priority = torch.tensor([[True, True, True, False, False]])
    response = torch.tensor([[False, False, True, True, True]])
    found = rates(torch.tensor([0.5], dtype=torch.float64), priority, response, 2.0, False)
    assert found[0, 2:].tolist() == pytest.approx([0.75, 0.375, 0.375])


def test_priority_tokens_are_masked_more_often():
    n, length = 4000, 10
    x0 = torch.zeros(n, length, dtype=torch.long)
    priority = torch.arange(length).expand(n, length) < 3
    batch = Batch(x0, torch.ones_like(priority), torch.arange(n), MASK, priority)
    t = torch.full((n,), 0.4, dtype=torch.float64)
    for options, first in (
        ((2.0, False), 0.8 / 1.3),
        ((4.0, False), 1.6 / 1.9),
        ((9.0, False), 1.0),
        ((2.0, True), 1.0),
        ((0.5, False), 0.2 / 0.85),
        ((0.1, False), 0.04 / 0.73),
    ):
        masked = NoiseKey(0, 0).mask_below(rates(t, priority, batch.response, *options), batch)
        share = masked.double().mean(0)
        error = 4 * (0.25 / n) ** 0.5
        assert (share[:3] - first).abs().max() < error
        assert (share[3:] - (0.4 - 0.3 * first) / 0.7).abs().max() < error


# ---- views


def test_w_and_its_reciprocal_are_the_same_with_the_kinds_exchanged():
    priority = torch.tensor([[True, False, True, False, False]])
    for t in (0.1, 0.5, 0.9):
        time = torch.tensor([t], dtype=torch.float64)
        response = torch.ones_like(priority)
        one, other = rates(time, priority, response, 5.0, False), rates(time, ~priority, response, 0.2, False)
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


@pytest.mark.parametrize("options", [{}, {"w": 5.0}, {"w": 0.1}, {"hard": True}])
def test_the_complement_masks_exactly_the_rest_of_the_response(model, options):
    batch = make_batch(LENGTHS, pad_to=25)
    found = get_objective("density", **options)(model, batch, NoiseKey(1, 0))
    first, second = (found.inputs == MASK).chunk(2)
    assert not (first & second).any()
    assert torch.equal(first | second, batch.response)
    assert torch.equal(found.t[4:], 1 - found.t[:4])
    one = get_objective("density", complementary=False, **options)(model, batch, NoiseKey(1, 0))
    assert torch.equal(one.inputs, found.inputs[:4])
    torch.testing.assert_close(one.weight, 2 * found.weight[:4])


@pytest.mark.parametrize("t", [EPS, 0.9995, 1.0])
def test_weights_of_both_views_are_bounded(model, t):
    found = get_objective("density")(model, make_batch(LENGTHS), AtTimes(0, 0, (t,) * 4))
    assert found.weight.max() <= 0.5 / EPS * (1 + 1e-6)
    assert found.loss.isfinite()
    if t == 1.0:
        assert not found.supervised[4:].any()


def test_equal_weights_give_vanilla_at_two_antithetic_times(model):
    batch, times = make_batch(LENGTHS), (0.2, 0.5, 0.7, 0.9)
    found = get_objective("density", w=1)(model, batch, AtTimes(0, 0, times))
    vanilla = get_objective("vanilla")
    one = vanilla(model, batch, AtTimes(0, 0, times))

    class Mirrored(AtTimes):
        """The token is masked at 1 - t just where it is not at t."""

        def mask_below(self, rate, batch):
            return (1 - self.per_token(TRAINING_MASK, batch) <= rate[:, None]) & batch.response

    other = vanilla(model, batch, Mirrored(0, 0, tuple(1 - t for t in times)))
    assert torch.equal(found.inputs, torch.cat((one.inputs, other.inputs)))
    assert found.loss.item() == pytest.approx((one.loss + other.loss).item() / 2, rel=1e-5)


def test_weights_of_either_view_sum_to_the_length_on_average(model):
    batch = make_batch([(1, 12)] * 400)
    found = get_objective("density")(model, batch, AtTimes(0, 0, tuple(np.linspace(0.2, 0.8, 400))))
    for view in found.weight.double().chunk(2):
        sums = 2 * view.sum(-1)
        assert abs(sums.mean() - 12) < 4 * sums.std() / 400**0.5


def test_where_the_first_view_masks_nothing_the_other_masks_everything(model):
    class NothingMasked(AtTimes):
        def mask_below(self, rate, batch):
            return torch.zeros_like(batch.response)

    batch = make_batch(LENGTHS)
    found = get_objective("density")(model, batch, NothingMasked(0, 0, (0.1,) * 4))
    assert not found.supervised[:4].any()
    assert torch.equal(found.supervised[4:], batch.response)
    assert found.weight[4:][batch.response].tolist() == pytest.approx([0.5 / 0.9] * int(batch.response.sum()))
    found.loss.backward()


def test_a_batch_that_does_not_know_its_priority_is_refused(model):
    batch = make_batch(LENGTHS)
    unknown = Batch(batch.x0, batch.response, batch.example_id, batch.mask_id)
    with pytest.raises(LiftError, match="does not say which tokens are priority") as error:
        get_objective("density")(model, unknown, NoiseKey(0, 0))
    assert "\n" not in str(error.value)
    get_objective("vanilla")(model, unknown, NoiseKey(0, 0))  # others do not need it
