"""GIFT's own: entropies, importances, the change of variables, the initial model behind adapters."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.llada_reference import MASK, ReferenceLLaDA, softmax
from support.objectives_reference import AtTimes, assert_equals_slow, make_batch

from lift_harness.errors import LiftError
from lift_harness.training.objectives import NoiseKey, get_objective
from lift_harness.training.objectives.base import EPS
from lift_harness.training.objectives.gift import importance, uncertainties

LENGTHS = [(5, 12), (3, 20), (8, 9), (2, 16)]


def test_entropies_are_those_of_a_wholly_masked_response(model, reference):
    batch = make_batch(LENGTHS)
    found = uncertainties(model, batch, None, False)
    for b in range(len(LENGTHS)):
        logits = reference(batch.x0[b].masked_fill(batch.response[b], MASK).tolist())
        expected = [-sum(q * math.log(q) for q in softmax(row) if q > 0) for row in logits]
        np.testing.assert_allclose(found[b] ** 2, np.where(batch.response[b], expected, 0), rtol=1e-4)


def test_importance_is_one_on_average_over_the_response():
    response = torch.tensor([[False, True, True, True], [False, False, True, True]])
    entropy = torch.tensor([[0.0, 1.0, 4.0, 9.0], [0.0, 0.0, 0.25, 0.25]])
    r = importance(entropy.double().sqrt(), response)
    assert r[0, 1:].tolist() == pytest.approx([0.5, 1.0, 1.5])
    assert r[1, 2:].tolist() == [1.0, 1.0]
    assert r.dtype == torch.float64


def test_importance_is_one_where_the_model_is_certain_of_everything():
    response = torch.tensor([[False, True, True], [True, True, True], [False, False, False]])
    assert (importance(torch.zeros(3, 3), response) == 1).all()
    r = importance(torch.tensor([[0.0, 0.0, 2.0]] * 3), response)
    assert r[0].tolist() == [0.0, 0.0, 2.0] and r[1].tolist() == pytest.approx([0, 0, 3])


class Certain(torch.nn.Module):
    """Gives each token a loss of its own parameter, and the entropies that it is told."""

    def __init__(self, entropy):
        super().__init__()
        self.scale, self.entropy = torch.nn.Parameter(torch.ones(())), entropy

    def forward(self, input_ids, logits_mask, reduce):
        count = int(logits_mask.sum())
        gradient = torch.is_grad_enabled()
        return SimpleNamespace(loss=self.scale.expand(count) if gradient else self.entropy[logits_mask])


@pytest.mark.parametrize("metric", ["sqrt_entropy", "entropy", "nll"])
def test_an_entropy_of_0_that_rounding_made_negative_is_0(metric):
    batch = make_batch(LENGTHS)
    rounded = Certain(torch.full_like(batch.x0, -1e-7, dtype=torch.float32))
    assert (uncertainties(rounded, batch, None, False, metric) == 0).all()


@pytest.mark.parametrize("weight", ["published", "nelbo"])
@pytest.mark.parametrize("t", [EPS, 0.5, 0.9999, 1.0])
def test_entropies_of_zero_give_vanilla_masks_and_finite_weights(weight, t):
    batch, key = make_batch(LENGTHS), AtTimes(0, 0, (t,) * 4)
    certain = Certain(torch.zeros_like(batch.x0, dtype=torch.float32))
    found = get_objective("gift", weight=weight)(certain, batch, key)
    assert torch.equal(found.supervised, key.mask_below(found.t, batch))
    np.testing.assert_allclose(found.weight[found.supervised], np.float32(1 / t), rtol=1e-6)
    # One token is certain, so never masked; at t = 1 the others always are.
    uncertain = Certain(batch.response.float().index_fill(1, torch.tensor([15]), 0.0))
    found = get_objective("gift", weight=weight)(uncertain, batch, key)
    assert not found.supervised[:, 15].any()
    assert found.weight.isfinite().all() and found.loss.isfinite()
    if t == 1.0:
        others = batch.response.clone()
        others[:, 15] = False
        assert torch.equal(found.supervised, others)
    found.loss.backward()
    assert uncertain.scale.grad.isfinite()


def test_a_model_of_nan_gives_a_loss_of_nan():
    """The trainer's guard must see it: masks that come out empty would look like a loss of 0."""
    batch = make_batch(LENGTHS)
    broken = Certain(torch.full_like(batch.x0, math.nan, dtype=torch.float32))
    broken.scale.data.fill_(math.nan)
    assert get_objective("gift")(broken, batch, AtTimes(0, 0, (0.5,) * 4)).loss.isnan()


class AllMasked(AtTimes):
    """The draw in which every token falls below its rate."""

    def mask_below(self, rate, batch):
        return batch.response


def test_the_nelbo_weight_is_the_slope_of_the_rate_over_the_rate():
    """w_i t_i = d t_i / d t by finite differences, and 1 as published."""
    r, h = np.array([0.4, 1.0, 1.6]), 1e-5
    times = np.linspace(0.01, 0.99, 50)
    batch, key = make_batch([(0, 3)] * 50), AllMasked(0, 0, tuple(times))
    certain = Certain(torch.tensor(r**2, dtype=torch.float32).expand(50, 3))

    def rate(t):
        return 1 - (1 - t[:, None]) ** r

    slope = (rate(times + h) - rate(times - h)) / (2 * h)
    for weight, expected in (("nelbo", slope), ("published", np.ones((50, 3)))):
        found = get_objective("gift", weight=weight)(certain, batch, key)
        np.testing.assert_allclose(found.weight.numpy() * rate(times), expected, rtol=1e-4)


# ---- the initial model


def test_gift_star_asks_the_frozen_model(llada, llada_folder, model, reference):
    batch, key = make_batch(LENGTHS), NoiseKey(3, 1)
    objective = get_objective("gift", reference=True)
    assert objective.needs_reference
    initial = ReferenceLLaDA(llada_folder("mha", 1))
    found = objective.with_reference(llada("mha", 1))(model, batch, key)
    assert_equals_slow(found, "gift", {"reference": True}, reference, batch, key, initial, rel=1e-4)
    own = get_objective("gift")(model, batch, key)
    assert not torch.equal(own.inputs, found.inputs)


def test_others_need_no_reference():
    assert not get_objective("gift").needs_reference
    assert not get_objective("gift", reference=False, weight="nelbo").needs_reference
    assert not get_objective("lift", H=2).needs_reference
    assert get_objective("gift", reference=True).with_reference(torch.nn.Module()).needs_reference


def adapted(model, seed=0):
    """A model with LoRA adapters that do something, and dropout."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    settings = LoraConfig(r=4, lora_alpha=32, lora_dropout=0.5, target_modules=["q_proj", "v_proj"])
    model = get_peft_model(model, settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


class Wrapper(torch.nn.Module):
    """As DistributedDataParallel wraps a model."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, **kwargs):
        return self.module(**kwargs)


@pytest.mark.parametrize("wrap", [lambda model: model, Wrapper], ids=["plain", "wrapped"])
def test_with_adapters_the_initial_model_is_the_one_without_them(llada, wrap):
    batch = make_batch(LENGTHS)
    initial = uncertainties(llada("mha"), batch, None, False)
    model = wrap(adapted(llada("mha"))).train()
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    found = uncertainties(model, batch, None, True)
    torch.testing.assert_close(found, initial, rtol=1e-6, atol=1e-6)
    assert (uncertainties(model, batch, None, False) - initial).abs().max() > 1e-3
    assert model.training
    assert {name: p.requires_grad for name, p in model.named_parameters()} == trained
    assert any(trained.values())
    objective = get_objective("gift", reference=True)
    loss = objective(model, batch, NoiseKey(0, 0)).loss
    loss.backward()
    grads = [p.grad for name, p in model.named_parameters() if "lora_B" in name]
    assert all(grad is not None for grad in grads) and any((grad != 0).any() for grad in grads)


def test_without_adapters_or_a_copy_the_initial_model_is_unknown(model):
    with pytest.raises(LiftError, match="reference=True: a model without adapters") as error:
        get_objective("gift", reference=True)(model, make_batch(LENGTHS), NoiseKey(0, 0))
    assert "\n" not in str(error.value)


def test_the_entropy_pass_has_no_dropout_and_no_gradient(llada):
    model = adapted(llada("mha")).train()
    batch = make_batch(LENGTHS)
    first, second = (uncertainties(model, batch, None, False) for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad
    frozen = copy.deepcopy(model).eval()
    uncertainties(model, batch, frozen, True)
    assert not frozen.training and model.training
