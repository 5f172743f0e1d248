"""Every objective on a model with blocks: its formula, the bidirectional limit, what its passes share."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.families_reference import CONFIGS, Reference, random_tensors, write_family
from support.llada_reference import EOS, MASK, VOCAB
from support.objectives_reference import (
    AtTimes,
    Blocks,
    assert_equals_slow,
    assert_rows_equal_slow,
    make_batch,
    rows_of_blocks,
)

from lift_harness.analysis.passes import probabilities
from lift_harness.errors import LiftError
from lift_harness.models.block_causal import noisy_and_clean
from lift_harness.models.modeling_backbone import Fast_dLLM_QwenForCausalLM, SDARForCausalLM
from lift_harness.training import vocabulary
from lift_harness.training.data import packed
from lift_harness.training.objectives import NoiseKey, get_objective
from lift_harness.training.vocabulary import token_nll

SIZE = 4
SHAPE = {"vocab_size": VOCAB, "block_size": SIZE, "mask_token_id": MASK, "eos_token_id": EOS}
CASES = {
    "vanilla": {},
    "vanilla, complementary": {"complementary": True, "t_range": [0.3, 0.8]},
    "lift": {},
    "lift, H=2": {"H": 2},
    "lift, release": {"variant": "release"},
    "lift_a": {},
    "topk": {},
    "bottomk": {"rho": "fixed:0.2"},
    "random2": {},
    "random3": {},
    "gift": {},
    "gift, entropy": {"metric": "entropy", "weight": "nelbo"},
    "gift, nll": {"metric": "nll"},
    "gift, SW": {"form": "weighting"},
    "gift, release": {"variant": "release"},
    "cart": {},
    "dream": {},
    "density": {},
    "density, hard": {"hard": True, "complementary": False},
}
CASES = {label: (label.split(",")[0], options) for label, options in CASES.items()}
LENGTHS = [(5, 9), (3, 8), (2, 11)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("sdar"), "sdar", **SHAPE)


@pytest.fixture
def block_model(folder):
    return SDARForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def blocks():
    """The same in numpy."""
    config = CONFIGS["sdar"] | SHAPE
    return Blocks(Reference(config, random_tensors(config)), SIZE)


@pytest.fixture(params=CASES)
def case(request):
    """(name, options)"""
    return CASES[request.param]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# ---- the formulas


def in_range(key, options):
    return replace(key, t_range=tuple(options.get("t_range", key.t_range)))


def slow_options(name, options):
    """Vanilla of two views is density's with w = 1."""
    return ("density", options | {"w": 1}) if name == "vanilla" and options else (name, options)


def test_equals_the_formulas(block_model, blocks, case):
    name, options = case
    batch, key = make_batch(LENGTHS), NoiseKey(3, 1)
    found = get_objective(name, **options)(block_model, batch, key)
    rel = 1e-4 if name == "gift" else 1e-6  # its weights follow from float32 entropies
    assert_equals_slow(found, *slow_options(name, options), blocks, batch, in_range(key, options), rel=rel)


# What the released code learns depends on the other rows.
@pytest.mark.parametrize("case", [c for c in CASES if "release" not in c], indirect=True)
def test_equals_the_formulas_with_noise_of_blocks(block_model, blocks, case):
    name, options = case
    batch, key = make_batch(LENGTHS), NoiseKey(3, 1)
    found = get_objective(name, noise="block", **options)(block_model, batch, key)
    each = rows_of_blocks(batch, in_range(key, options), blocks)
    rel = 1e-4 if name == "gift" else 1e-6
    assert_rows_equal_slow(found, *slow_options(name, options), each, batch, rel)


@pytest.mark.parametrize("noise", ["sequence", "block"])
def test_one_block_is_the_bidirectional_objective(block_model, case, noise):
    name, options = case
    batch, key, found = make_batch(LENGTHS), NoiseKey(3, 1), {}
    for size in (None, 13, 14, 64):
        block_model.config.block_size = size
        given = {} if size is None else {"noise": noise}
        loss = get_objective(name, **given, **options)(block_model, batch, key)
        found[size] = loss, gradients(block_model, loss.loss)
    for size in (14, 64):
        for part in ("loss", "inputs", "supervised", "weight", "t", "rho"):
            assert torch.equal(getattr(found[size][0], part), getattr(found[None][0], part))
        assert all(torch.equal(found[size][1][name], grad) for name, grad in found[None][1].items())
    assert not torch.equal(found[13][0].loss, found[None][0].loss)


# ---- the pass


def dense_nll(model, batch, inputs, at):
    """By one pass of [noised; clean] under the dense mask."""
    length = inputs.shape[1]
    mask = noisy_and_clean(length, model.block_size)[None]
    positions = torch.arange(length).repeat(2)[None]
    logits = model(torch.cat((inputs, batch.x0), 1), mask, positions).logits[:, :length]
    return -logits[at].log_softmax(-1).gather(1, batch.x0[at][:, None])[:, 0]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("shares", [True, False])
def test_equals_the_dense_pass(block_model, shares, checkpointing, monkeypatch):
    """Values and gradients: with the clean text read once, or by each pass, and with checkpointed layers."""
    monkeypatch.setattr(vocabulary, "sharded", lambda model: not shares)
    batch = make_batch([(5, 9), (3, 14), (1, 7), (2, 11)])
    at = NoiseKey(0, 0).mask_below(torch.full((4,), 0.5), batch)
    inputs = batch.x0.masked_fill(at, MASK)
    expected = dense_nll(block_model.train(), batch, inputs, at)
    wanted = gradients(block_model, (expected * expected.detach()).sum())
    if checkpointing:
        block_model.gradient_checkpointing_enable({"use_reentrant": False})
    found = token_nll(block_model, vocabulary.with_clean_text(block_model, batch), inputs, at)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for name, grad in gradients(block_model, (found * expected.detach()).sum()).items():
        torch.testing.assert_close(grad, wanted[name], rtol=1e-3, atol=1e-4, msg=name)


def test_the_analysis_sees_what_training_does(block_model):
    batch = make_batch([(5, 9), (3, 14)])
    at = NoiseKey(0, 0).mask_below(torch.full((2,), 0.5), batch)
    inputs = batch.x0.masked_fill(at, MASK)
    found = probabilities(block_model, batch, inputs, at)
    expected = dense_nll(block_model, batch, inputs, at).neg().exp().double()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)


def recorded(model):
    """(with gradient, rows, columns, whether it sees a text that was read before) of each pass."""
    passes = []

    def record(module, args, kwargs):
        clean = kwargs.get("clean")
        seen = clean is not None and clean.kept is not None
        passes.append((torch.is_grad_enabled(), *kwargs["input_ids"].shape, seen))

    model.register_forward_pre_hook(record, with_kwargs=True)
    return passes


@pytest.mark.parametrize("shares", [True, False])
def test_mixed_precision(block_model, shares, monkeypatch):
    monkeypatch.setattr(vocabulary, "sharded", lambda model: not shares)
    batch, key = make_batch(LENGTHS), NoiseKey(3, 1)
    whole = get_objective("lift")(block_model, batch, key)
    with torch.autocast("cpu", torch.bfloat16):
        half = get_objective("lift")(block_model.train(), batch, key)
    assert half.loss.dtype == torch.float32
    assert half.loss.item() == pytest.approx(whole.loss.item(), rel=0.1)
    assert all(grad.isfinite().all() for grad in gradients(block_model, half.loss).values())


TIMES = (0.1, 0.5, 0.9)


def test_a_look_ahead_is_a_pass_of_noised_columns_only(block_model):
    passes = recorded(block_model)
    get_objective("lift")(block_model, make_batch(LENGTHS), AtTimes(0, 0, TIMES))
    assert passes == [(True, 3, 12, False), (False, 2, 14, True), (True, 3, 14, True)]


def test_both_views_see_one_clean_text(block_model):
    passes = recorded(block_model)
    get_objective("vanilla", complementary=True)(block_model, make_batch(LENGTHS), AtTimes(0, 0, TIMES))
    assert passes == [(True, 3, 12, False), (True, 6, 14, True)]


@pytest.mark.parametrize("name", ["lift", "gift", "topk", "lift_a"])
def test_what_is_shared_changes_nothing(block_model, name, monkeypatch):
    batch, key = make_batch(LENGTHS), AtTimes(0, 0, TIMES)
    shared = get_objective(name)(block_model, batch, key)
    ours = gradients(block_model, shared.loss)
    monkeypatch.setattr(vocabulary, "sharded", lambda model: True)
    alone = get_objective(name)(block_model, batch, key)
    assert torch.equal(shared.inputs, alone.inputs)
    torch.testing.assert_close(shared.loss, alone.loss, rtol=1e-5, atol=0)
    for name, grad in gradients(block_model, alone.loss).items():
        torch.testing.assert_close(ours[name], grad, rtol=1e-3, atol=1e-4, msg=name)


def with_dropout(model):
    adapters = LoraConfig(r=4, lora_alpha=64, lora_dropout=0.5, target_modules=["q_proj", "k_proj", "v_proj"])
    model = get_peft_model(model, adapters)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("name", ["topk", "gift"])
def test_a_confidence_is_no_matter_of_a_dropout_draw(block_model, name):
    model = with_dropout(block_model)
    batch, key = make_batch(LENGTHS), AtTimes(0, 0, TIMES)
    still = get_objective(name)(model.eval(), batch, key)
    torch.manual_seed(1)
    drawn = get_objective(name)(model.train(), batch, key)
    torch.testing.assert_close(drawn.inputs, still.inputs)
    torch.testing.assert_close(drawn.weight, still.weight)
    if name == "topk":
        torch.testing.assert_close(drawn.confidence, still.confidence, equal_nan=True)
    assert abs(drawn.loss.item() - still.loss.item()) > 1e-3


def test_the_initial_model_reads_the_text_itself(block_model):
    """GIFT*: importances of the model without its adapters, whose keys and values are others."""
    model = with_dropout(block_model).eval()
    batch, key = make_batch(LENGTHS), AtTimes(0, 0, TIMES)
    found = get_objective("gift", reference=True)(model, batch, key)
    with model.disable_adapter():
        expected = get_objective("gift")(model, batch, key)
    assert torch.equal(found.inputs, expected.inputs) and torch.equal(found.weight, expected.weight)
    assert not torch.equal(found.weight, get_objective("gift")(model, batch, key).weight)


# ---- rows that examples share


# The release's choices are by the micro-batch, and its GIFT divides by what that masks.
@pytest.mark.parametrize("case", [c for c in CASES if "release" not in c], indirect=True)
@pytest.mark.parametrize("noise", ["sequence", "block"])
def test_examples_that_share_rows_learn_as_in_rows_of_their_own(block_model, case, noise):
    """Loss and gradients, in float64; a row of 20 columns takes two of them, and one is 5 blocks long."""
    name, options = case
    lengths, key, model = [(5, 9), (1, 4), (2, 11), (3, 4), (7, 13)], NoiseKey(3, 1), block_model.double()
    objective, total = get_objective(name, noise=noise, **options), sum(answer for _, answer in lengths)
    together = make_batch(lengths)
    place, segment = packed(~together.padding, 20)
    assert segment.tolist() == [
        [1] * 14 + [2] * 5 + [0],
        [3] * 13 + [4] * 7,
        [5] * 20,
    ]
    response = together.response & ~together.padding
    shared = replace(together, response=response, place=place, segment=segment)
    found = objective(model, shared, key)
    ours, alone, loss = gradients(model, found.loss), {}, 0.0
    for i, one in enumerate(lengths):
        own = objective(model, make_batch([one], [i]), key, total)
        loss += own.loss.item()
        for parameter, grad in gradients(model, own.loss).items():
            alone[parameter] = alone.get(parameter, 0) + grad
    assert found.loss.item() == pytest.approx(loss, rel=1e-6)
    assert loss > 0 and ours.keys() == alone.keys()
    for parameter, grad in alone.items():
        torch.testing.assert_close(ours[parameter], grad, rtol=1e-5, atol=1e-7, msg=parameter)


def test_a_shifted_model_predicts_the_first_token_of_a_text_by_itself_in_shared_rows_too(tmp_path):
    """Fast-dLLM v2: the token at i at i - 1, but what is before a text is another one."""
    shape = {"vocab_size": VOCAB, "bd_size": SIZE, "mask_token_id": MASK}
    folder = write_family(tmp_path / "fast-dllm", "fast-dllm", **shape)
    model, key = Fast_dLLM_QwenForCausalLM.from_pretrained(folder).eval().double(), NoiseKey(3, 1)
    lengths, vanilla = [(2, 3), (0, 6), (0, 5)], get_objective("vanilla", complementary=True)
    batch = make_batch(lengths)
    place, segment = packed(~batch.padding, 11)
    shared = replace(batch, response=batch.response & ~batch.padding, place=place, segment=segment)
    alone = [vanilla(model, make_batch([one], [i]), key, 14).loss for i, one in enumerate(lengths)]
    assert vanilla(model, shared, key).loss.item() == pytest.approx(sum(alone).item(), rel=1e-6)


# ---- bad input


def test_noise_of_blocks_needs_blocks(block_model):
    block_model.config.block_size = None
    with pytest.raises(LiftError, match="objective.noise='block': the model has no blocks"):
        get_objective("vanilla", noise="block")(block_model, make_batch(LENGTHS), NoiseKey(0, 0))


@pytest.mark.parametrize("normalise", ["sequence", "batch"])
@pytest.mark.parametrize("name", ["vanilla", "density"])
def test_divisors_of_sequences_are_of_their_noise(name, normalise):
    with pytest.raises(LiftError, match=f"objective.normalise='{normalise}': noise: block"):
        get_objective(name, noise="block", normalise=normalise)
