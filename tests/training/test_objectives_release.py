"""`variant: release`: what the code released with the LIFT paper does (divelab/LIFT, SFT/sft_trainer.py).

The literal values are that code's own, run on these batches with the same random numbers.
"""

import pytest
import torch
from support.llada_reference import MASK, ReferenceLLaDA
from support.objectives_reference import AtTimes, assert_equals_slow, make_batch, rows_of

from lift_harness.training.objectives import NoiseKey, get_objective
from lift_harness.training.objectives.base import EPS
from lift_harness.training.objectives.gift import importance
from lift_harness.training.objectives.lift import draw_release
from lift_harness.training.objectives.lookahead import EASIEST, HARDEST, RANDOM

LENGTHS = [(5, 12), (3, 20), (8, 9), (2, 16), (6, 14), (1, 22)]


@pytest.fixture(scope="module")
def model(llada):
    return llada("mha")


@pytest.fixture(scope="module")
def reference(llada_folder):
    return ReferenceLLaDA(llada_folder("mha"))


# Columns that are hidden, columns that are learnt, and the loss, of rows of 2 + 8 and 3 + 6 tokens that are
# padded to 12.
RELEASED = {
    ("lift_a", 2, (0.3, 0.4)): (
        [[3, 5, 8, 9, 10], [3, 4, 5, 7, 8, 9, 10, 11]],
        *([[5, 8, 10], [3, 5, 9, 10]], 9.719704),
    ),
    ("lift_a", 2, (0.6, 0.7)): (
        [[3, 5, 6, 8, 9, 10, 11], [3, 4, 5, 7, 8, 9, 10, 11]],
        *([[3, 5, 8, 9, 11], [3, 4, 5, 7, 8, 11]], 6.866387),
    ),
    ("lift_a", 3, (0.2, 0.3)): (
        [[3, 5, 8, 9, 10], [3, 4, 5, 7, 8, 9, 10, 11]],
        *([[5, 10], [5, 9, 10]], 9.948238),
    ),
    ("lift_a", 3, (0.4, 0.6)): (  # the random regime: what is not learnt is shown again
        [[5, 9, 10], [3, 4, 8, 10, 11]],
        *([[5, 9, 10], [3, 4, 8, 10, 11]], 6.167873),
    ),
    ("lift_a", 3, (0.8, 0.7)): (
        [[3, 4, 5, 6, 7, 8, 9, 10, 11], [3, 4, 5, 7, 8, 9, 10, 11]],
        *([[3, 4, 5, 6, 8, 9, 10, 11], [3, 4, 5, 7, 8, 11]], 7.214544),
    ),
    ("lift_a", 5, (0.3, 0.7)): (
        [[5, 9, 10], [3, 4, 8, 9, 10, 11]],
        *([[5, 9, 10], [3, 4, 8, 9, 10, 11]], 7.382411),
    ),
    ("lift", 3, (0.4, 0.6)): (
        [[5, 9, 10], [3, 4, 8, 10, 11]],
        *([[5, 9, 10], [3, 4, 8, 10, 11]], 6.167873),
    ),
    ("lift", 3, (0.001, 1.0)): (  # one is learnt where 0.008 of a token would be
        [[9], [3, 4, 5, 6, 7, 8, 9, 10, 11]],
        *([[9], [3, 4, 5, 6, 7, 8, 9, 10, 11]], 245.898),
    ),
    ("gift", None, (0.3, 0.6)): ([[3, 9], [3, 4, 5, 8]], [[3, 9], [3, 4, 5, 8]], 15.74791),
    ("gift", None, (0.9, 0.2)): (
        [[3, 4, 5, 6, 7, 8, 9], [3, 4]],
        *([[3, 4, 5, 6, 7, 8, 9], [3, 4]], 14.466088),
    ),
}


@pytest.mark.parametrize("name, H, times", RELEASED)
def test_equals_the_released_code(model, name, H, times):
    hidden, learnt, loss = RELEASED[name, H, times]
    batch = make_batch([(2, 8), (3, 6)], pad_to=12)
    options = {"H": H} if H else {}
    found = get_objective(name, variant="release", **options)(model, batch, AtTimes(0, 0, times))
    assert [row.nonzero()[:, 0].tolist() for row in found.inputs == MASK] == hidden
    assert [row.nonzero()[:, 0].tolist() for row in found.supervised] == learnt
    assert found.loss.item() == pytest.approx(loss, rel=1e-5)


# ---- lift and lift_a


@pytest.mark.parametrize("name", ["lift", "lift_a"])
@pytest.mark.parametrize(
    "times, regime",
    [
        ((0.05, 0.1, 0.3, 0.9, 0.2, 0.1), HARDEST),  # 0.275 on average
        ((0.4, 0.6, 0.1, 0.95, 0.5, 0.5), RANDOM),
        ((0.95, 0.99, 1.0, 0.3, 0.92, 0.91), EASIEST),  # 1 - t <= 0.1 in most
    ],
)
def test_the_released_code_has_one_regime_for_the_batch(model, reference, name, times, regime):
    batch, key = make_batch(LENGTHS), AtTimes(1, 0, times)
    found = get_objective(name, variant="release")(model, batch, key)
    assert found.regime.tolist() == [regime] * 6
    assert_equals_slow(found, name, {"variant": "release"}, reference, batch, key)
    own = get_objective(name)(model, batch, key)
    assert len(set(own.regime.tolist())) > 1


def test_the_released_code_depends_on_the_company(model):
    batch, times = make_batch([(2, 20)] * 3), (0.2, 0.9, 0.95)
    objective = get_objective("lift", variant="release")
    together = objective(model, batch, AtTimes(0, 0, times))
    alone = objective(model, rows_of(batch, [0]), AtTimes(0, 0, times[:1]))
    assert together.regime[0] == EASIEST and alone.regime[0] == HARDEST
    assert together.supervised[0].sum() == alone.supervised[0].sum() > 0
    assert not torch.equal(together.inputs[0], alone.inputs[0])


def test_rows_without_a_response_have_no_part_in_the_mean_time():
    batch = make_batch([(2, 20)] * 3)
    batch.response[1] = False
    found = draw_release(batch, AtTimes(0, 0, (0.1, 1.0, 0.2)), 3)  # 0.43 with the filler, 0.15 without
    assert found.regime.tolist() == [HARDEST] * 3


def test_the_released_code_rounds_k_halves_to_even_and_may_learn_nothing():
    batch = make_batch([(1, 1), (1, 40)])
    found = draw_release(batch, AtTimes(0, 0, (0.01, 0.5)), 3)
    n, t, rho = found.masked.sum(-1).tolist(), found.t.tolist(), found.rho.tolist()
    assert found.k.tolist() == [round(a * b / (b + c)) for a, b, c in zip(n, t, rho, strict=True)]
    assert found.k[0] == 0 and rho[0] >= 0.1
    assert found.k.dtype == torch.int64


def test_in_the_random_regime_the_released_code_learns_at_least_one_token():
    batch = make_batch([(1, 30), (1, 40)])
    found = draw_release(batch, AtTimes(0, 0, (EPS, 0.99)), 3)  # 0.4955 on average
    assert found.regime.tolist() == [RANDOM] * 2 and found.masked[0].sum() > 1
    assert found.k[0] == 1


def test_rho_is_drawn_before_the_epsilon_enters_t():
    batch, key = make_batch([(1, 1)] * 2000), NoiseKey(0, 0)
    found = draw_release(batch, key, 3)
    t = (found.t - EPS) / (1 - EPS)  # before the epsilon
    wide = 1 - t > 0.1
    expected = torch.where(wide, 0.1 + key.rho(batch) * (0.9 - t), key.rho(batch) * (1 - t))
    torch.testing.assert_close(found.rho, expected, rtol=0, atol=1e-12)
    assert (found.t + found.rho > 1).any()


# ---- gift


def test_gift_of_the_released_code_shows_the_padding_and_never_masks_it(model):
    batch, key = make_batch(LENGTHS, pad_to=40), AtTimes(0, 0, (0.95,) * 6)
    found = get_objective("gift", variant="release")(model, batch, key)
    assert found.supervised.any() and not found.supervised[batch.padding].any()
    assert get_objective("gift")(model, batch, key).supervised[batch.padding].any()


def test_importance_of_the_released_code_is_one_on_average_over_the_batch():
    response = torch.tensor([[False, True, True], [False, False, True]])
    entropy = torch.tensor([[0.0, 1.0, 4.0], [9.0, 9.0, 9.0]])
    r = importance(entropy.sqrt(), response, together=True)
    assert r[0, 1:].tolist() == [0.5, 1.0] and r[1, 2].item() == 1.5
    assert importance(entropy.sqrt(), response)[1, 2].item() == 1.0


def test_gift_of_the_released_code_divides_by_the_masked_tokens(model):
    """A micro-batch has its share of the response tokens in a step, as any other."""
    batch, key = make_batch(LENGTHS, pad_to=30), NoiseKey(3, 1)
    objective = get_objective("gift", variant="release")
    found = objective(model, batch, key)
    count, items = int(found.supervised.sum()), int(batch.response.sum())
    assert 0 < count < items
    log_p = model(found.inputs).logits.log_softmax(-1).gather(-1, batch.x0[..., None])[..., 0]
    weight = found.weight.double() * count / items
    assert (weight[found.supervised] >= 1 - 1e-6).all()  # 1 / t_i
    assert found.loss.item() == pytest.approx(-(weight * log_p).sum().item() / count, rel=1e-5)
    half = objective(model, batch, key, 2 * items)
    assert half.loss.item() == pytest.approx(found.loss.item() / 2)


def test_gift_of_one_row_without_padding_differs_by_the_divisor_only(model):
    batch, key = make_batch([(4, 30)]), AtTimes(0, 0, (0.5,))
    release, paper = (get_objective("gift", variant=one)(model, batch, key) for one in ("release", "paper"))
    assert torch.equal(release.inputs, paper.inputs)
    masked = int(paper.supervised.sum())
    assert masked < 30 and release.loss.item() == pytest.approx(paper.loss.item() * 30 / masked, rel=1e-5)
