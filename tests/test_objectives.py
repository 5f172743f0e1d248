"""Training objectives against loops in float64, and the noise they are a function of."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from llada_reference import EOS, MASK, ReferenceLLaDA, softmax

from lift_harness.errors import LiftError
from lift_harness.training.objectives import Batch, NoiseKey, get_objective
from lift_harness.training.objectives.base import _MASK, EPS
from lift_harness.training.vocabulary import shifted

OBJECTIVES = {
    "vanilla": ("vanilla", {}),
    "lift, H=2": ("lift", {"H": 2}),
    "lift, H=3": ("lift", {"H": 3}),
    "lift, H=5": ("lift", {"H": 5}),
    "lift_a, H=2": ("lift_a", {"H": 2}),
    "lift_a, H=3": ("lift_a", {"H": 3}),
    "lift_a, H=5": ("lift_a", {"H": 5}),
}


@pytest.fixture(params=OBJECTIVES)
def case(request):
    """(name, options)"""
    return OBJECTIVES[request.param]


@dataclass(frozen=True)
class AtTimes(NoiseKey):
    """Noise whose diffusion times are given."""

    times: tuple[float, ...] = ()

    def t(self, batch):
        return torch.tensor(self.times, dtype=torch.float64)


@dataclass(frozen=True)
class NothingMasked(NoiseKey):
    """The draw in which no token falls below its rate."""

    def mask_below(self, rate, batch):
        return torch.zeros_like(batch.response)


def make_batch(lengths, ids=None, pad_to=None, seed=0) -> Batch:
    """Rows of (prompt, response) lengths; the text is a function of the example id alone."""
    ids = list(range(len(lengths))) if ids is None else ids
    width = pad_to or max(map(sum, lengths))
    x0 = torch.full((len(lengths), width), EOS)
    response = torch.ones(len(lengths), width, dtype=torch.bool)
    for row, ((prompt, answer), example) in enumerate(zip(lengths, ids, strict=True)):
        text = np.random.default_rng([seed, example]).integers(0, MASK, prompt + answer)
        x0[row, : prompt + answer] = torch.from_numpy(text)
        response[row, :prompt] = False
    return Batch(x0, response, torch.tensor(ids), MASK)


def rows_of(batch: Batch, rows) -> Batch:
    return Batch(batch.x0[rows], batch.response[rows], batch.example_id[rows], batch.mask_id)


LENGTHS = [(5, 12), (3, 20), (8, 9), (2, 16), (6, 14), (1, 22)]


# ---- the formulas, slowly


def slow(name, H, logits_of, x0, response, t, rho_share, mask_noise, order_noise):
    """One example by DESIGN section 7: (summed loss, inputs, supervised positions, weight, rho)."""

    def nll(inputs, i):
        return -math.log(softmax(logits_of(inputs)[i])[x0[i]])

    places = [i for i in range(len(x0)) if response[i]]
    rho = 0.0 if name == "vanilla" else rho_share * (1 - t)
    masked = [i for i in places if mask_noise[i] < t + rho]
    hidden = [MASK if i in masked else x0[i] for i in range(len(x0))]
    if name == "vanilla":
        return sum(nll(hidden, i) for i in masked) / t, hidden, masked, 1 / t, 0.0
    k = min(max(math.floor(t * len(places)), 1), len(masked))
    if t < 1 / H:
        ranked = sorted(masked, key=lambda i: -nll(hidden, i))  # the lowest p(x0) first
    elif t >= 1 - 1 / H:
        ranked = sorted(masked, key=lambda i: nll(hidden, i))
    else:
        ranked = sorted(masked, key=lambda i: order_noise[i])
    kept = sorted(ranked[:k])
    if name == "lift_a":
        return sum(nll(hidden, i) for i in kept) / (t + rho), hidden, kept, 1 / (t + rho), rho
    shown = [MASK if i in kept else x0[i] for i in range(len(x0))]
    return sum(nll(shown, i) for i in kept) / t, shown, kept, 1 / t, rho


def assert_equals_slow(found, name, H, reference, batch, key):
    times, rho_shares = key.t(batch), key.rho(batch)
    mask_noise, order_noise = key.per_token(_MASK, batch), key.select(batch)
    total = 0.0
    for b in range(len(batch.x0)):
        loss, inputs, supervised, weight, rho = slow(
            name,
            H,
            reference,
            batch.x0[b].tolist(),
            batch.response[b].tolist(),
            times[b].item(),
            rho_shares[b].item(),
            mask_noise[b].tolist(),
            order_noise[b].tolist(),
        )
        total += loss
        assert found.inputs[b].tolist() == inputs
        assert found.supervised[b].nonzero()[:, 0].tolist() == supervised
        expected = [weight if i in supervised else 0.0 for i in range(len(inputs))]
        assert found.weight[b].tolist() == pytest.approx(expected, rel=1e-6)
        assert found.t[b].item() == times[b].item()
        assert found.rho[b].item() == pytest.approx(rho, abs=1e-12)
    assert found.loss.item() == pytest.approx(total / batch.response.sum().item(), rel=1e-4)


@pytest.mark.parametrize("shape", ["mha", "gqa"])
def test_equals_the_formulas_on_a_padded_batch_of_different_prompts(llada, llada_folder, case, shape):
    name, options = case
    batch, key = make_batch(LENGTHS), NoiseKey(seed=3, epoch=1)
    found = get_objective(name, **options)(llada(shape), batch, key)
    assert_equals_slow(found, name, options.get("H"), ReferenceLLaDA(llada_folder(shape)), batch, key)


@pytest.mark.parametrize(
    "times",
    [
        (EPS, EPS, 0.02, 0.05, 0.1, 0.19),
        (1.0, 1.0, 0.999, 0.98, 0.9, 0.81),
        (1 / 3, 1 - 1 / 3, 0.5, 0.2, 1 - 1 / 5, 1 / 2),
    ],
)
def test_equals_the_formulas_at_the_ends_and_borders_of_time(llada, llada_folder, case, times):
    name, options = case
    batch, key = make_batch(LENGTHS), AtTimes(0, 0, times)
    found = get_objective(name, **options)(llada("mha"), batch, key)
    assert_equals_slow(found, name, options.get("H"), ReferenceLLaDA(llada_folder("mha")), batch, key)


def test_equals_the_formulas_where_fewer_are_masked_than_wanted(llada, llada_folder):
    ids = list(range(40))
    batch = make_batch([(2, 8)] * 40, ids)
    key = AtTimes(0, 0, (0.5,) * 40)
    few = key.mask_below(0.5 + key.rho(batch) * 0.5, batch).sum(-1) < 4
    assert few.sum() >= 3
    batch = rows_of(batch, few.nonzero()[:, 0])
    key = AtTimes(0, 0, (0.5,) * len(batch.x0))
    for H in (2, 3):
        found = get_objective("lift", H=H)(llada("mha"), batch, key)
        assert_equals_slow(found, "lift", H, ReferenceLLaDA(llada_folder("mha")), batch, key)
        assert torch.equal(found.supervised.sum(-1), key.mask_below(0.5 + found.rho, batch).sum(-1))


def test_equals_the_formulas_on_responses_of_one_token(llada, llada_folder, case):
    name, options = case
    batch, key = make_batch([(4, 1)] * 12), NoiseKey(1, 0)
    found = get_objective(name, **options)(llada("mha"), batch, key)
    assert 0 < found.supervised.sum() < 12
    assert_equals_slow(found, name, options.get("H"), ReferenceLLaDA(llada_folder("mha")), batch, key)


def test_prompts_are_never_masked_and_lift_supervises_only_what_it_hides(llada, case):
    name, options = case
    batch = make_batch(LENGTHS * 4, ids=list(range(24)))
    found = get_objective(name, **options)(llada("mha"), batch, NoiseKey(0, 0))
    hidden = found.inputs == MASK
    assert not (hidden & ~batch.response).any()
    assert not (found.supervised & ~hidden).any()
    assert torch.equal(found.inputs[~hidden], batch.x0[~hidden])
    if name != "lift_a":
        assert torch.equal(found.supervised, hidden)
    assert torch.equal(found.weight > 0, found.supervised)


def test_lift_keeps_the_hardest_early_and_the_easiest_late(llada):
    batch = make_batch([(4, 30)] * 8)
    for t, sign in [(0.2, 1), (0.8, -1)]:
        found = get_objective("lift", H=3)(llada("mha"), batch, AtTimes(0, 0, (t,) * 8))
        confidence = sign * found.confidence
        others = ~found.supervised & ~confidence.isnan()
        rows = others.any(-1).nonzero()[:, 0].tolist()
        assert len(rows) >= 4
        for b in rows:
            assert confidence[b, found.supervised[b]].max() <= confidence[b, others[b]].min()


# ---- gradients


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_equal_gradients(a, b):
    assert a.keys() == b.keys()
    scale = max(grad.abs().max() for grad in a.values())
    assert scale > 1e-3
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-5 * float(scale), rtol=1e-4, msg=name)


def test_the_gradient_is_that_of_the_weighted_loss_at_the_final_inputs(llada, case):
    name, options = case
    batch, model = make_batch(LENGTHS), llada("gqa")
    found = get_objective(name, **options)(model, batch, NoiseKey(3, 1))
    ours = gradients(model, found.loss)
    assert found.confidence is None or not found.confidence.requires_grad
    log_p = model(found.inputs).logits.log_softmax(-1).gather(-1, batch.x0[..., None])[..., 0]
    plain = -(found.weight * log_p).sum() / batch.response.sum()
    assert found.loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert_equal_gradients(ours, gradients(model, plain))


def test_micro_batches_with_the_items_of_all_sum_to_the_whole_batch(llada, case):
    name, options = case
    objective, model = get_objective(name, **options), llada("mha")
    batch, key = make_batch(LENGTHS), NoiseKey(3, 1)
    whole = objective(model, batch, key)
    items = batch.response.sum()
    parts = [objective(model, rows_of(batch, rows), key, items) for rows in ([0, 1], [2], [3, 4, 5])]
    total = sum(part.loss for part in parts)
    assert total.item() == pytest.approx(whole.loss.item(), rel=1e-5)
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert_equal_gradients(gradients(model, whole.loss), gradients(model, total))
    assert objective(model, batch, key, 2 * int(items)).loss.item() == pytest.approx(whole.loss.item() / 2)


def test_where_nothing_is_masked_the_loss_is_zero_and_gradients_are_finite(llada, case):
    name, options = case
    model, batch = llada("mha"), make_batch(LENGTHS)
    found = get_objective(name, **options)(model, batch, NothingMasked(0, 0))
    assert found.loss.item() == 0
    assert not found.supervised.any()
    assert torch.equal(found.inputs, batch.x0)
    assert all((grad == 0).all() for grad in gradients(model, found.loss).values())


# ---- forward passes


def recorded(model):
    """The passes that the model makes from now on: (with gradient, training mode, inputs)."""
    passes = []

    def record(module, args, kwargs):
        passes.append((torch.is_grad_enabled(), module.training, kwargs["input_ids"].clone()))

    model.register_forward_pre_hook(record, with_kwargs=True)
    return passes


TIMES = (0.1, 0.5, 0.9, 0.4, 0.05, 0.6)


def test_only_rows_that_rank_by_confidence_enter_the_first_pass(llada):
    batch, model = make_batch(LENGTHS), llada("mha").train()
    passes = recorded(model)
    found = get_objective("lift", H=3)(model, batch, AtTimes(0, 0, TIMES))
    (first, second) = passes
    ranked = [0, 2, 4]
    assert first[:2] == (False, False) and second[:2] == (True, True)  # scored without dropout
    assert model.training
    masked = NoiseKey(0, 0).mask_below(found.t + found.rho, batch)
    assert torch.equal(first[2], batch.x0.masked_fill(masked, MASK)[ranked])
    assert torch.equal(second[2], found.inputs)
    scored = masked.clone()
    scored[[1, 3, 5]] = False
    assert torch.equal(~found.confidence.isnan(), scored)


@pytest.mark.parametrize(
    "name, options, times",
    [
        ("vanilla", {}, TIMES),
        ("lift_a", {"H": 2}, TIMES),
        ("lift_a", {"H": 3}, TIMES),
        ("lift", {"H": 3}, (0.35, 0.5, 0.4, 0.6, 0.65, 0.5)),
    ],
)
def test_methods_that_need_no_look_ahead_make_one_pass(llada, name, options, times):
    model = llada("mha").train()
    passes = recorded(model)
    get_objective(name, **options)(model, make_batch(LENGTHS), AtTimes(0, 0, times))
    assert [entry[:2] for entry in passes] == [(True, True)]
    assert len(passes[0][2]) == 6


def test_lift_2_has_no_random_regime(llada):
    model = llada("mha")
    passes = recorded(model)
    get_objective("lift", H=2)(model, make_batch(LENGTHS), AtTimes(0, 0, TIMES))
    assert [len(entry[2]) for entry in passes] == [6, 6]


# ---- noise


def test_noise_does_not_depend_on_row_company_or_padding():
    key = NoiseKey(5, 2)
    lengths = {10: (5, 12), 11: (3, 20), 12: (8, 9)}
    for other in ([11, 12, 10], [10], [12, 10]):
        for pad_to in (None, 40):
            batch = make_batch([lengths[i] for i in other], other, pad_to)
            for row, example in enumerate(other):
                alone = make_batch([lengths[example]], [example])
                assert key.t(batch)[row] == key.t(alone)[0]
                assert key.rho(batch)[row] == key.rho(alone)[0]
                n = alone.x0.shape[1]
                there, here = alone.response[0], batch.response[row, :n]
                assert torch.equal(there, here)
                for noise in (key.select, lambda batch: key.per_token(_MASK, batch)):
                    assert torch.equal(noise(batch)[row, :n][here], noise(alone)[0][there])
                rate = torch.full((len(other),), 0.6)
                assert torch.equal(key.mask_below(rate, batch)[row, :n], key.mask_below(rate[:1], alone)[0])


def test_masks_belong_to_the_response_and_not_to_the_prompt_before_it():
    key, rate = NoiseKey(5, 2), torch.tensor([0.5])
    short, long = make_batch([(1, 30)], [7]), make_batch([(9, 30)], [7])
    assert torch.equal(key.mask_below(rate, short)[0, 1:], key.mask_below(rate, long)[0, 9:])


def test_epochs_seeds_and_examples_have_different_noise():
    batch = make_batch([(2, 40)] * 3)
    draws = [NoiseKey(0, 0), NoiseKey(0, 1), NoiseKey(1, 0), NoiseKey(0, 2)]
    times = [t for key in draws for t in key.t(batch).tolist()]
    assert len(set(times)) == len(times)
    masks = [row for key in draws for row in key.mask_below(torch.full((3,), 0.5), batch)[:, 2:]]
    agreement = [(a == b).double().mean() for i, a in enumerate(masks) for b in masks[:i]]
    assert 0.45 < np.mean(agreement) < 0.55 and max(agreement) < 0.9


def test_time_is_uniform_and_the_mask_rate_is_the_time():
    n, length = 4000, 16
    x0 = torch.zeros(n, length, dtype=torch.long)
    batch = Batch(x0, torch.ones_like(x0, dtype=torch.bool), torch.arange(n), MASK)
    key = NoiseKey(0, 0)
    t, rho = key.t(batch), key.rho(batch)
    grid = (torch.arange(n) + 0.5) / n
    for u in ((t - EPS) / (1 - EPS), rho):
        assert (u.sort().values - grid).abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov, 99.9 %
    assert t.min() >= EPS and t.max() <= 1
    assert abs(torch.corrcoef(torch.stack((t, rho)))[0, 1]) < 0.05
    masked = key.mask_below(t, batch)
    excess = (masked.double() - t[:, None]).sum(0) / (t * (1 - t)).sum().sqrt()
    assert excess.abs().max() < 4  # standard normal at each position
    assert abs((masked.double().sum(-1) - t * length).sum() / (t * (1 - t) * length).sum().sqrt()) < 4


def test_lift_hides_more_at_first_and_trains_on_about_t_of_the_response(llada):
    batch = make_batch([(2, 30)] * 64)
    found = get_objective("lift", H=3)(llada("mha"), batch, NoiseKey(0, 0))
    assert ((found.rho >= 0) & (found.t + found.rho <= 1)).all()
    assert abs(found.supervised.sum() / (64 * 30) - found.t.mean()) < 0.03


# ---- bad input


@pytest.mark.parametrize("name", ["lift", "lift_a"])
@pytest.mark.parametrize("H", [1, 0, -3])
def test_fewer_than_two_regimes_are_refused(llada, name, H):
    with pytest.raises(LiftError, match=f"H={H}"):
        get_objective(name, H=H)(llada("mha"), make_batch(LENGTHS), NoiseKey(0, 0))


def test_unknown_objectives_and_options_are_refused_by_name():
    with pytest.raises(LiftError, match="unknown objective 'vanila'; did you mean vanilla"):
        get_objective("vanila")
    with pytest.raises(LiftError, match="objective 'vanilla' has no option 'H'"):
        get_objective("vanilla", H=3)
    with pytest.raises(LiftError, match="objective 'lift' has no option 'h'; it has: .*H"):
        get_objective("lift", h=3)


def test_the_shift_of_a_model_is_seen_through_a_parallel_wrapper(llada):
    model = llada("mha")
    model.logit_shift = 1
    wrapper = torch.nn.Module()
    wrapper.module = model
    assert (shifted(model), shifted(wrapper)) == (1, 1)
