"""Every training objective: against loops in float64, its gradient, its passes, its noise, bad options."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml
from support.llada_reference import MASK, ReferenceLLaDA
from support.objectives_reference import AtTimes, assert_equals_slow, make_batch, rows_of

from lift_harness.training.objectives import OBJECTIVES, NoiseKey, get_objective
from lift_harness.training.objectives.base import EPS

CASES = {
    "vanilla": {},
    "lift, H=2": {"H": 2},
    "lift": {},
    "lift, H=5": {"H": 5},
    "lift, rho=fixed:0.2": {"rho": "fixed:0.2"},
    "lift, rho=truncated:0.3": {"rho": "truncated:0.3"},
    "lift, release": {"variant": "release"},
    "lift, release, H=2": {"variant": "release", "H": 2},
    "lift, release, H=5": {"variant": "release", "H": 5},
    "lift_a, H=2": {"H": 2},
    "lift_a": {},
    "lift_a, H=5": {"H": 5},
    "lift_a, rho=fixed:0.4": {"rho": "fixed:0.4"},
    "lift_a, release": {"variant": "release"},
    "lift_a, release, H=2": {"variant": "release", "H": 2},
    "lift_a, release, H=5": {"variant": "release", "H": 5},
    "topk": {},
    "bottomk": {},
    "random2": {},
    "random3": {},
    "random3, rho=truncated:0.1": {"rho": "truncated:0.1"},
    "gift": {},
    "gift, nelbo": {"weight": "nelbo"},
    "gift, entropy": {"metric": "entropy"},
    "gift, nll": {"metric": "nll"},
    "gift, SW": {"form": "weighting"},
    "gift, SW, nll": {"form": "weighting", "metric": "nll"},
    "gift, release": {"variant": "release"},
    "cart": {},
    "cart, p=0.6": {"p": 0.6},
    "dream": {},
    "dream, p=0.1": {"p": 0.1},
    "density": {},
    "density, one view": {"complementary": False, "w": 3.5},
    "density, w=0.5": {"w": 0.5},
    "density, w=0.1, one view": {"w": 0.1, "complementary": False},
    "density, w=10": {"w": 10},
    "density, hard": {"hard": True},
    "density, t_range": {"t_range": [0.3, 0.8]},
    "vanilla, t_range": {"t_range": [0.3, 0.8]},
    "lift, t_range": {"t_range": [0.2, 0.9]},
    "lift_a, release, t_range": {"t_range": [0.2, 0.9], "variant": "release"},
    "random3, t_range": {"t_range": (0.5, 1.0)},
    "gift, t_range": {"t_range": [0.0001, 0.5]},
}
CASES = {label: (label.split(",")[0], options) for label, options in CASES.items()}


@pytest.fixture(params=CASES)
def case(request):
    """(name, options)"""
    return CASES[request.param]


@pytest.fixture(scope="module")
def model(llada):
    """One for all tests that leave it as it is."""
    return llada("gqa")


@pytest.fixture(scope="module")
def reference(llada_folder):
    """The same in numpy."""
    return ReferenceLLaDA(llada_folder("gqa"))


@dataclass(frozen=True)
class NothingMasked(NoiseKey):
    """The draw in which no token falls below its rate."""

    def mask_below(self, rate, batch):
        return torch.zeros_like(batch.response)


LENGTHS = [(5, 12), (3, 20), (8, 9), (2, 16), (6, 14), (1, 22)]


def in_range(key, options):
    """The key whose times are those of the options."""
    return replace(key, t_range=tuple(options.get("t_range", key.t_range)))


def two_views(name, options):
    return name == "density" and options.get("complementary", True)


def cases(wanted):
    """Only the cases that are wanted: wanted(name, options)."""
    return pytest.mark.parametrize("case", [label for label in CASES if wanted(*CASES[label])], indirect=True)


# What the released code learns depends on the batch (test_objectives_release.py).
not_release = cases(lambda name, options: options.get("variant") != "release")


# ---- the formulas


def test_every_objective_is_among_the_cases():
    assert {name for name, _ in CASES.values()} == set(OBJECTIVES)


@pytest.mark.parametrize(
    "key",
    [
        NoiseKey(seed=3, epoch=1),
        AtTimes(0, 0, (EPS, EPS, 0.02, 0.05, 0.1, 0.19)),
        AtTimes(0, 0, (1.0, 1.0, 0.999, 0.98, 0.9, 0.81)),
        AtTimes(0, 0, (1 / 3, 1 - 1 / 3, 0.5, 0.2, 1 - 1 / 5, 1 / 2)),
    ],
    ids=["drawn", "near 0", "near 1", "borders"],
)
def test_equals_the_formulas_on_a_padded_batch_of_different_prompts(model, reference, case, key):
    name, options = case
    batch = make_batch(LENGTHS, pad_to=26)
    found = get_objective(name, **options)(model, batch, key)
    rel = 1e-4 if name == "gift" else 1e-6  # its weights follow from float32 entropies
    assert_equals_slow(found, name, options, reference, batch, in_range(key, options), rel=rel)


def test_equals_the_formulas_on_responses_of_one_token(model, reference, case):
    name, options = case
    batch, key = make_batch([(4, 1)] * 12), NoiseKey(1, 0)
    found = get_objective(name, **options)(model, batch, key)
    assert 0 < found.supervised[:12].sum() < 12
    assert_equals_slow(found, name, options, reference, batch, in_range(key, options), rel=1e-4)


def test_times_are_uniform_in_their_range_and_the_masks_are_keyed_as_ever(model):
    batch, key = make_batch([(1, 2)] * 400), NoiseKey(3, 1)
    drawn = (key.t(batch) - EPS) / (1 - EPS)
    for name in OBJECTIVES:
        found = get_objective(name, t_range=[0.3, 0.8])(model, batch, key)
        torch.testing.assert_close(found.t[:400], 0.3 + 0.5 * drawn, rtol=1e-12, atol=0)
        assert ((found.t + found.rho) <= 1).all()
    assert torch.equal(get_objective("vanilla", t_range=None)(model, batch, key).t, key.t(batch))


def test_the_random_regime_of_lift_is_all_of_a_middle_range(model):
    found = get_objective("lift", H=5, t_range=[0.3, 0.7])(model, make_batch(LENGTHS), NoiseKey(3, 1))
    assert (found.regime == 0).all() and found.confidence.isnan().all()


def test_prompts_are_never_masked_and_only_hidden_tokens_are_learnt(model, case):
    name, options = case
    batch = make_batch(LENGTHS * 4, ids=list(range(24)))
    found = get_objective(name, **options)(model, batch, NoiseKey(0, 0))
    copies = len(found.inputs) // 24
    hidden, x0 = found.inputs == MASK, batch.x0.repeat(copies, 1)
    assert copies == 1 + two_views(name, options)
    assert not (hidden & ~batch.response.repeat(copies, 1)).any()
    assert not (found.supervised & ~hidden).any()
    assert torch.equal(found.inputs[~hidden], x0[~hidden])
    if name != "lift_a":
        assert torch.equal(found.supervised, hidden)
    assert torch.equal(found.weight > 0, found.supervised)
    assert found.weight.dtype == torch.float32 and found.t.dtype == torch.float64


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


def test_the_gradient_is_that_of_the_weighted_loss_at_the_final_inputs(model, case):
    name, options = case
    batch = make_batch(LENGTHS)
    found = get_objective(name, **options)(model, batch, NoiseKey(3, 1))
    ours = gradients(model, found.loss)
    assert found.confidence is None or not found.confidence.requires_grad
    x0 = batch.x0.repeat(len(found.inputs) // len(batch.x0), 1)
    log_p = model(found.inputs).logits.log_softmax(-1).gather(-1, x0[..., None])[..., 0]
    plain = -(found.weight * log_p).sum() / batch.response.sum()
    assert found.loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert_equal_gradients(ours, gradients(model, plain))


def by_row(found, batch):
    """Inputs of each row: [B, views, N]."""
    return found.inputs.view(-1, *batch.x0.shape).transpose(0, 1)


@not_release
def test_micro_batches_with_the_items_of_all_sum_to_the_whole_batch(model, case):
    name, options = case
    objective = get_objective(name, **options)
    batch, key = make_batch(LENGTHS), NoiseKey(3, 1)
    whole = objective(model, batch, key)
    items = batch.response.sum()
    parts = [rows_of(batch, rows) for rows in ([0, 1], [2], [3, 4, 5])]
    losses = [objective(model, part, key, items) for part in parts]
    total = sum(part.loss for part in losses)
    assert total.item() == pytest.approx(whole.loss.item(), rel=1e-5)
    pieces = [by_row(found, part) for found, part in zip(losses, parts, strict=True)]
    assert torch.equal(torch.cat(pieces), by_row(whole, batch))
    assert_equal_gradients(gradients(model, whole.loss), gradients(model, total))
    assert objective(model, batch, key, 2 * int(items)).loss.item() == pytest.approx(whole.loss.item() / 2)


# The complementary view then masks everything (test_objectives_density.py).
@cases(lambda name, options: not two_views(name, options))
def test_where_nothing_is_masked_the_loss_is_zero_and_gradients_are_finite(model, case):
    name, options = case
    batch = make_batch(LENGTHS)
    found = get_objective(name, **options)(model, batch, NothingMasked(0, 0))
    assert found.loss.item() == 0
    assert not found.supervised.any()
    assert torch.equal(found.inputs, batch.x0)
    assert all((grad == 0).all() for grad in gradients(model, found.loss).values())


def test_rows_without_a_response_change_nothing(model, case):
    name, options = case
    objective = get_objective(name, **options)
    batch, key = make_batch(LENGTHS), NoiseKey(3, 1)
    some = rows_of(batch, [0, 1, 3])
    alone = objective(model, some, key)
    batch.response[[2, 4, 5]] = False
    mixed = objective(model, rows_of(batch, [2, 0, 1, 4, 3, 5]), key)
    assert mixed.loss.item() == pytest.approx(alone.loss.item(), rel=1e-5)
    assert torch.equal(by_row(mixed, batch)[[1, 2, 4]], by_row(alone, some))
    empty = objective(model, rows_of(batch, [2, 4]), key)
    assert empty.loss.item() == 0 and not empty.supervised.any() and empty.weight.isfinite().all()
    assert all((grad == 0).all() for grad in gradients(model, empty.loss).values())


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


MIDDLE = (0.35, 0.5, 0.4, 0.6, 0.65, 0.5)


@pytest.mark.parametrize(
    "name, options, times, rows",
    [
        ("vanilla", {}, TIMES, [6]),
        ("cart", {}, TIMES, [6]),
        ("dream", {}, TIMES, [6]),
        ("density", {}, TIMES, [12]),
        ("density", {"complementary": False}, TIMES, [6]),
        ("lift_a", {"H": 2}, TIMES, [6]),
        ("lift_a", {"H": 3}, TIMES, [6]),
        ("lift", {"H": 3}, MIDDLE, [6]),
        ("lift", {"H": 3}, TIMES, [3, 6]),
        ("lift", {"H": 2}, TIMES, [6, 6]),
        ("lift", {"variant": "release"}, TIMES, [6]),  # 0.425 on average: random for all
        ("lift", {"variant": "release"}, (0.3,) * 5 + (0.2,), [6, 6]),
        ("lift_a", {"variant": "release"}, TIMES, [6]),
        ("topk", {}, MIDDLE, [6, 6]),
        ("bottomk", {}, MIDDLE, [6, 6]),
        ("random2", {}, MIDDLE, [6, 6]),
        ("gift", {}, TIMES, [6, 6]),
        ("gift", {"variant": "release"}, TIMES, [6, 6]),
        ("gift", {"metric": "nll"}, TIMES, [6, 6]),
        ("gift", {"form": "weighting"}, TIMES, [6, 6]),
    ],
)
def test_passes_are_as_few_as_the_method_needs(llada, name, options, times, rows):
    model = llada("mha").train()
    passes = recorded(model)
    get_objective(name, **options)(model, make_batch(LENGTHS), AtTimes(0, 0, times))
    assert [len(entry[2]) for entry in passes] == rows
    assert [entry[:2] for entry in passes] == [(False, False)] * (len(rows) - 1) + [(True, True)]
    assert model.training


# ---- noise


@not_release
def test_a_row_is_masked_alike_alone_and_in_any_company(model, case):
    name, options = case
    objective, key = get_objective(name, **options), NoiseKey(4, 0)
    batch = make_batch(LENGTHS)
    whole = objective(model, batch, key)
    for rows in ([3], [5, 0, 2], [4, 4]):
        part = rows_of(batch, rows)
        found = objective(model, part, key)
        assert torch.equal(by_row(found, part), by_row(whole, batch)[rows])
        torch.testing.assert_close(found.weight[: len(rows)], whole.weight[rows], rtol=1e-4, atol=0)


# ---- documentation


def test_the_documentation_shows_every_method_with_options_that_exist():
    text = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    shown = {name: [] for name in OBJECTIVES}
    for title, section in sections.items():
        for block in re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            options = yaml.safe_load(block)["objective"]
            name = options.pop("name")
            get_objective(name, **options)
            assert name in title
            shown[name] += options
    for name, options in shown.items():
        assert set(OBJECTIVES[name].options) == {
            *options,
            "t_range",
            "noise",
        }  # which have their own sections
        row = next(line for line in text.splitlines() if line.startswith(f"| [`{name}`]"))
        assert all(f"`{option}`" in row for option in options)
