"""LIFT's own: which tokens it keeps, rho, the ablations, passes of sharded models."""

import numpy as np
import pytest
import torch
from support.llada_reference import MASK
from support.objectives_reference import AtTimes, assert_equals_slow, make_batch, rows_of, slow_rho

from lift_harness.training.objectives import NoiseKey, base, get_objective
from lift_harness.training.objectives.lookahead import EASIEST, HARDEST, RANDOM, draw_rho, regimes

LENGTHS = [(5, 12), (3, 20), (8, 9), (2, 16), (6, 14), (1, 22)]


# ---- what is kept


@pytest.mark.parametrize(
    "name, times, side",
    [("lift", 0.2, HARDEST), ("lift", 0.8, EASIEST), ("topk", 0.3, EASIEST), ("bottomk", 0.7, HARDEST)],
)
def test_the_hardest_or_the_easiest_are_kept(model, name, times, side):
    batch = make_batch([(4, 30)] * 8)
    found = get_objective(name)(model, batch, AtTimes(0, 0, (times,) * 8))
    assert (found.regime == side).all()
    others = ~found.supervised & ~found.confidence.isnan()
    rows = others.any(-1).nonzero()[:, 0].tolist()
    assert len(rows) >= 4
    for b in rows:
        kept, dropped = found.confidence[b, found.supervised[b]], found.confidence[b, others[b]]
        assert kept.max() <= dropped.min() if side == HARDEST else kept.min() >= dropped.max()


@pytest.mark.parametrize("name", ["lift", "lift_a", "topk", "bottomk", "random3"])
def test_equals_the_formulas_where_fewer_are_masked_than_wanted(model, reference, name):
    # At t = 0.5 of 8 tokens 4 are wanted: the rows in which chance masks fewer.
    batch = make_batch([(2, 8)] * 40)
    key = AtTimes(0, 0, (0.5,) * 40)
    few = key.mask_below(0.5 + key.rho(batch) * 0.5, batch).sum(-1) < 4
    assert few.sum() >= 3
    batch = rows_of(batch, few.nonzero()[:, 0])
    key = AtTimes(0, 0, (0.5,) * len(batch.x0))
    found = get_objective(name)(model, batch, key)
    assert_equals_slow(found, name, {}, reference, batch, key)
    assert torch.equal(found.supervised.sum(-1), key.mask_below(0.5 + found.rho, batch).sum(-1))


def test_lift_hides_more_at_first_and_trains_on_about_t_of_the_response(model):
    batch = make_batch([(2, 30)] * 64)
    found = get_objective("lift", H=3)(model, batch, NoiseKey(0, 0))
    assert ((found.rho >= 0) & (found.t + found.rho <= 1)).all()
    assert abs(found.supervised.sum() / (64 * 30) - found.t.mean()) < 0.03


def test_with_no_look_ahead_lift_is_vanilla_but_for_the_count(model):
    """fixed:0 ranks what vanilla masks; where that is no more than K, the two are the same."""
    batch, key = make_batch(LENGTHS * 4, ids=list(range(24))), NoiseKey(0, 0)
    lift, vanilla = (
        get_objective(name, **options)(model, batch, key)
        for name, options in (("lift", {"rho": "fixed:0"}), ("vanilla", {}))
    )
    assert not (lift.supervised & ~vanilla.supervised).any()
    same = vanilla.supervised.sum(-1) <= (lift.t * batch.lengths).floor().clamp(min=1)
    assert 3 <= same.sum() < 24
    assert torch.equal(lift.inputs[same], vanilla.inputs[same])
    torch.testing.assert_close(lift.weight[same], vanilla.weight[same])


# ---- regimes


def test_regimes_at_the_borders():
    t = torch.tensor([1e-3, 0.4999, 0.5, 1.0], dtype=torch.float64)
    assert regimes(t, 2).tolist() == [HARDEST, HARDEST, EASIEST, EASIEST]
    t = torch.tensor([1e-3, 0.33, 1 / 3, 0.5, 0.66, 1 - 1 / 3, 1.0], dtype=torch.float64)
    assert regimes(t, 3).tolist() == [HARDEST] * 2 + [RANDOM] * 3 + [EASIEST] * 2
    t = torch.tensor([0.19, 0.2, 0.79, 0.8], dtype=torch.float64)
    assert regimes(t, 5).tolist() == [HARDEST, RANDOM, RANDOM, EASIEST]


@pytest.mark.parametrize("name, shares", [("random2", [1 / 2, 0, 1 / 2]), ("random3", [1 / 3, 1 / 3, 1 / 3])])
def test_random_regimes_have_the_shares_of_time_but_do_not_follow_it(model, name, shares):
    n = 900
    batch = make_batch([(1, 2)] * n)
    found = get_objective(name)(model, batch, NoiseKey(2, 0))
    share = torch.bincount(found.regime + 1, minlength=3) / n
    assert (share - torch.tensor(shares)).abs().max() < 4 * (0.25 / n) ** 0.5
    assert abs(np.corrcoef(found.regime.numpy(), found.t.numpy())[0, 1]) < 4 / n**0.5
    again = get_objective(name)(model, batch, NoiseKey(2, 1))
    assert 0.2 < (again.regime == found.regime).double().mean() < 0.6  # another epoch draws anew


# ---- rho


@pytest.mark.parametrize(
    "strategy",
    [
        "uniform",
        "fixed:0",
        "fixed:0.3",
        "fixed:1",
        "truncated:0",
        "truncated:0.1",
        "truncated:0.9",
        "fixed:1e-1",
    ],
)
def test_rho_of_every_strategy(strategy):
    rng = np.random.default_rng(0)
    t = np.concatenate((rng.random(200), [1e-3, 0.7, 0.9, 1.0]))
    u = rng.random(len(t))
    found = draw_rho(strategy, torch.from_numpy(t), torch.from_numpy(u))
    expected = [slow_rho(strategy, *pair) for pair in zip(t.tolist(), u.tolist(), strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-15)
    assert found.dtype == torch.float64
    assert (found >= 0).all() and (torch.from_numpy(t) + found <= 1).all()


def test_rho_by_hand():
    t, u = torch.tensor([0.2, 0.9], dtype=torch.float64), torch.tensor([0.5, 0.25], dtype=torch.float64)
    for strategy, expected in {
        "uniform": [0.4, 0.025],
        "fixed:0.3": [0.3, 0.1],
        "truncated:0.3": [0.55, 0.1],
        "truncated:0.06": [0.43, 0.07],
    }.items():
        assert draw_rho(strategy, t, u).tolist() == pytest.approx(expected, abs=1e-12)


# ---- confidences and passes


def test_confidence_is_the_probability_at_the_look_ahead(model, reference):
    batch, key = make_batch(LENGTHS[:2]), AtTimes(0, 0, (0.2, 0.9))
    for name in ("lift", "lift_a"):
        found = get_objective(name)(model, batch, key)
        masked = key.mask_below(found.t + found.rho, batch)
        assert torch.equal(found.confidence.isnan(), ~masked)
        for b in range(2):
            logits = reference(batch.x0[b].masked_fill(masked[b], MASK).tolist())
            p = np.exp(logits - logits.max(-1, keepdims=True))
            p = (p / p.sum(-1, keepdims=True))[np.arange(len(p)), batch.x0[b]]
            np.testing.assert_allclose(found.confidence[b, masked[b]], p[masked[b]], rtol=1e-4)


def test_a_sharded_model_makes_the_first_pass_even_if_no_row_needs_it(llada, monkeypatch):
    """FSDP gathers weights in every pass: a process that left one out would leave the others waiting."""
    batch, key = make_batch(LENGTHS[:3]), AtTimes(0, 0, (0.4, 0.5, 0.6))
    alone = get_objective("lift")(llada("mha"), batch, key)
    model, passes = llada("mha"), []
    model.register_forward_pre_hook(lambda *args: passes.append(len(args[2]["input_ids"])), with_kwargs=True)
    monkeypatch.setattr(base, "sharded", lambda model: True)
    found = get_objective("lift")(model, batch, key)
    assert passes == [1, 3]
    assert found.loss.item() == alone.loss.item()
    assert found.confidence.isnan().all()
    passes.clear()
    get_objective("lift")(model, batch, AtTimes(0, 0, (0.1, 0.5, 0.9)))
    assert passes == [2, 3]
