"""Losses and entropies of tokens against dense log-softmax in float64, and what they keep in memory."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from support.llada_reference import MASK, VOCAB
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForMaskedLM, BertConfig

from lift_harness.models.base import columns, plain_matrix
from lift_harness.models.configuration_dream import DreamConfig
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.models.masked_lm import MaskedLM
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_llada import LLaDAModelLM
from lift_harness.training import vocabulary
from lift_harness.training.objectives import Batch, NoiseKey, get_objective
from lift_harness.training.vocabulary import LinearNLL, entropy_of_logits

B, N = 3, 14
HEAD = "ff_out"  # of LLaDA; the feed-forward layers have one of that name too


def batch_of(inputs, at, targets=None):
    """The batch whose clean text has `targets` at the positions `at`."""
    x0 = inputs if targets is None else inputs.masked_scatter(at, targets)
    return Batch(x0, at, torch.arange(len(x0)), MASK)


def token_nll(model, inputs, at, targets):
    return vocabulary.token_nll(model, batch_of(inputs, at, targets), inputs, at)


def token_entropy(model, inputs, at):
    return vocabulary.token_entropy(model, batch_of(inputs, at), inputs, at)


@pytest.fixture
def pieces(monkeypatch):
    """pieces(n): the logits of at most n positions at a time."""

    def at_most(n, vocab=VOCAB):
        monkeypatch.setattr(vocabulary, "LOGITS_AT_ONCE", {"cpu": n * vocab})

    return at_most


def dream(tied=False):
    torch.manual_seed(1)
    shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    ids = dict(vocab_size=VOCAB, mask_token_id=MASK, eos_token_id=1, pad_token_id=1, bos_token_id=1)
    model = DreamModel(DreamConfig(**shape, **ids, num_key_value_heads=2, tie_word_embeddings=tied))
    for parameter in model.parameters():  # as initialised, all logits are nearly equal
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def bert():
    torch.manual_seed(2)
    shape = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40)
    config = BertConfig(**shape, vocab_size=VOCAB, max_position_embeddings=64, pad_token_id=1)
    inner = AutoModelForMaskedLM.from_config(config)
    for parameter in inner.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return MaskedLM(inner)


@pytest.fixture(scope="session")
def make(llada):
    """make(kind): a new small model in eval mode, all weights trained."""

    def model(kind):
        if kind.startswith("dream"):
            return dream(kind == "dream tied").eval()
        if kind == "bert":
            return bert().eval()
        if kind == "frozen":
            found = llada("biased", 3)
            found.get_output_embeddings().requires_grad_(False)
            return found
        return llada(kind)

    return model


KINDS = ["mha", "frozen", "tied", "biased", "wide", "scaled", "dream", "dream tied", "bert"]


def example(seed=0, share=0.5, shape=(B, N)):
    """Inputs, positions, targets, and a weight for each target, some of them 0."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, MASK, shape, generator=draw)
    at = torch.rand(shape, generator=draw) < share
    at[:, 0] = False
    targets = torch.randint(0, VOCAB, (int(at.sum()),), generator=draw)
    weight = torch.rand(len(targets), generator=draw)
    weight[1::5] = 0
    return inputs.masked_fill(at, MASK), at, targets, weight


def dense_logits(model, inputs, at):
    """Float64 logits of all positions, and of them those that predict the tokens at `at`."""
    hidden = model.hidden_states(inputs).double()
    if isinstance(model, MaskedLM):
        logits = model.inner(input_ids=inputs).logits.double()
    else:
        head = model.get_output_embeddings() or model.get_input_embeddings()
        logits = hidden @ head.weight.double().T
        if getattr(head, "bias", None) is not None:
            logits = logits + head.bias.double()
    if getattr(model.config, "scale_logits", False):
        logits = logits / math.sqrt(model.config.d_model)
    if model.logit_shift:
        logits = torch.cat((logits[:, :1], logits[:, :-1]), 1)
    return logits[at]


def dense_nll(model, inputs, at, targets):
    log_p = dense_logits(model, inputs, at).log_softmax(-1)
    return -log_p[torch.arange(len(targets)), targets]


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_equal_gradients(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    scale = max(float(grad.abs().max()) for grad in expected.values())
    assert scale > 1e-3
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], atol=tolerance * scale, rtol=tolerance * 10, msg=name
        )


# ---- values and gradients


@pytest.mark.parametrize("at_once", [1, 4, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_dense_autograd(make, kind, at_once, pieces):
    pieces(at_once)
    model, (inputs, at, targets, weight) = make(kind), example()
    assert 15 < len(targets) < 30
    nll = token_nll(model, inputs, at, targets)
    expected = dense_nll(model, inputs, at, targets)
    assert nll.dtype == torch.float32 and nll.shape == targets.shape
    torch.testing.assert_close(nll.double(), expected, atol=2e-5, rtol=1e-5)
    found = gradients(model, (nll * weight).sum())
    assert_equal_gradients(found, gradients(model, (expected * weight).sum()))
    with torch.no_grad():
        values = token_nll(model, inputs, at, targets)
    assert values.grad_fn is None
    torch.testing.assert_close(values.double(), expected.detach(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mha", "frozen"])
@pytest.mark.parametrize("short", [-1, 0, 1])
def test_pieces_end_where_positions_do(make, kind, short, pieces):
    model, (inputs, at, targets, weight) = make(kind), example(1)
    pieces(max(1, len(targets) + short))
    nll = token_nll(model, inputs, at, targets)
    expected = dense_nll(model, inputs, at, targets)
    torch.testing.assert_close(nll.double(), expected, atol=2e-5, rtol=1e-5)
    found = gradients(model, (nll * weight).sum())
    assert_equal_gradients(found, gradients(model, (expected * weight).sum()))


@pytest.mark.parametrize("at_once", [3, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_entropies_are_those_of_dense_softmax(make, kind, at_once, pieces):
    pieces(at_once)
    model, (inputs, at, _, _) = make(kind), example(2)
    found = token_entropy(model, inputs, at)
    with torch.no_grad():
        logits = dense_logits(model, inputs, at).numpy()
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    expected = [-sum(q * math.log(q) for q in row if q > 0) for row in p]
    assert found.dtype == torch.float32 and found.grad_fn is None
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_entropy_at_its_ends():
    logits = torch.zeros(3, 50)
    logits[1, 10:] = -torch.inf  # ruled out
    logits[2, 7] = 300.0
    assert entropy_of_logits(logits).tolist() == pytest.approx([math.log(50), math.log(10), 0], abs=1e-6)


@given(st.integers(0, 20), st.integers(1, 40), st.sampled_from([0.1, 3.0, 60.0]), st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_any_projection_equals_dense_autograd(positions, vocab, scale, seed):
    draw = torch.Generator().manual_seed(seed)
    number = lambda *shape: torch.randn(shape, generator=draw)  # noqa: E731
    hidden, weight, bias = number(positions, 6) * scale, number(vocab, 6), number(vocab)
    trained = torch.rand(3, generator=draw) < 0.6
    parts = [part.requires_grad_(bool(on)) for part, on in zip((hidden, weight, bias), trained, strict=True)]
    targets = torch.randint(0, vocab, (positions,), generator=draw)
    upstream = number(positions)
    exact = [part.detach().double().requires_grad_(part.requires_grad) for part in parts]
    expected = F.cross_entropy(exact[0] @ exact[1].T + exact[2], targets, reduction="none")
    before = vocabulary.LOGITS_AT_ONCE
    vocabulary.LOGITS_AT_ONCE = {"cpu": vocab * int(torch.randint(1, 25, (), generator=draw))}
    try:
        found = LinearNLL.apply(*parts, targets)
        if trained.any():
            (found * upstream).sum().backward()
            (expected * upstream).sum().backward()
    finally:
        vocabulary.LOGITS_AT_ONCE = before
    torch.testing.assert_close(found.double(), expected, atol=1e-5 * scale, rtol=1e-5)
    for part, other in zip(parts, exact, strict=True):
        assert (part.grad is None) == (not part.requires_grad)
        if part.requires_grad:
            torch.testing.assert_close(part.grad.double(), other.grad, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_position_the_result_is_empty_and_gradients_are_zero(make, kind):
    model, (inputs, at, targets, _) = make(kind), example()
    nothing = torch.zeros_like(at)
    nll = token_nll(model, inputs, nothing, targets[:0])
    assert nll.shape == (0,) and nll.dtype == torch.float32
    found = gradients(model, nll.sum())  # fails where a parameter has none: DDP would wait for it
    assert all((grad == 0).all() for name, grad in found.items() if "pooler" not in name)
    with torch.no_grad():
        assert token_nll(model, inputs, nothing, targets[:0]).shape == (0,)
    assert token_entropy(model, inputs, nothing).shape == (0,)


@pytest.mark.parametrize("at_once", [4, 1000])
def test_the_first_token_of_a_shifted_model_is_predicted_where_it_stands(make, at_once, pieces):
    pieces(at_once)
    model, (inputs, at, _, _) = make("dream"), example()
    at[:, 0] = torch.tensor([True, False, True])
    at[:, 1] = torch.tensor([True, True, False])
    at[:, -1] = True
    targets = torch.randint(0, VOCAB, (int(at.sum()),))
    nll, expected = token_nll(model, inputs, at, targets), dense_nll(model, inputs, at, targets)
    torch.testing.assert_close(nll.double(), expected, atol=2e-5, rtol=1e-5)
    assert_equal_gradients(gradients(model, nll.sum()), gradients(model, expected.sum()))


@pytest.mark.parametrize("at_once", [4, 1000])
def test_two_uses_in_one_step_add_up_and_backward_can_run_twice(make, at_once, pieces):
    pieces(at_once)
    model = make("mha")
    (inputs, at, targets, weight), (inputs_2, at_2, targets_2, _) = example(0), example(5, 0.3)
    loss = (token_nll(model, inputs, at, targets) * weight).sum()
    loss = loss + token_nll(model, inputs_2, at_2, targets_2).sum()
    expected = (dense_nll(model, inputs, at, targets) * weight).sum()
    expected = expected + dense_nll(model, inputs_2, at_2, targets_2).sum()
    model.zero_grad()
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in model.named_parameters()}
    assert_equal_gradients(once, gradients(model, expected))
    assert_equal_gradients(once, gradients(model, loss))


# ---- precision


def rounding(found, exact):
    """Greatest error of any gradient, in units of the greatest gradient."""
    scale = max(float(grad.abs().max()) for grad in exact.values())
    return max(float((found[name].double() - exact[name]).abs().max()) for name in exact) / scale


@pytest.mark.parametrize("how", ["bfloat16 weights", "autocast"])
@pytest.mark.parametrize("kind", ["mha", "frozen", "tied", "scaled", "dream"])
@pytest.mark.parametrize("at_once", [2, 1000])
def test_bfloat16_is_no_worse_than_dense_bfloat16(make, kind, how, at_once, pieces):
    pieces(at_once)
    model, (inputs, at, targets, weight) = make(kind), example(3)
    where = at.roll(-1, 1) if kind == "dream" else at
    exact_nll = dense_nll(model, inputs, at, targets)
    exact = gradients(model, (exact_nll * weight).sum())
    if how == "bfloat16 weights":
        model = model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        nll = token_nll(model, inputs, at, targets)
        entropy = token_entropy(model, inputs, at)
        logits = model(inputs, logits_mask=where).logits
        dense = F.cross_entropy(logits.float(), targets, reduction="none")
    assert nll.dtype == entropy.dtype == torch.float32
    assert (nll - dense).abs().max() < 1e-4  # the same logits, log-sum-exp in float32
    p = logits.float().softmax(-1)
    assert (entropy + (p * p.log()).sum(-1)).abs().max() < 1e-4
    found = gradients(model, (nll * weight).sum())
    assert {grad.dtype for grad in found.values()} == {p.dtype for p in model.parameters()}
    worst = rounding(gradients(model, (dense * weight).sum()), exact)
    assert rounding(found, exact) < max(1.5 * worst, 0.02)


def test_the_gradient_of_a_nearly_certain_token_survives_bfloat16():
    weight = torch.tensor([[9.0, 0.0], [0.0, 9.0]], dtype=torch.bfloat16)
    hidden = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16).requires_grad_()
    LinearNLL.apply(hidden, weight, None, torch.tensor([0])).backward()  # 1 - p = 1.2e-4
    expected = 9 / (1 + math.exp(9))
    assert hidden.grad[0].tolist() == pytest.approx([-expected, expected], rel=0.01)


def test_a_weight_in_bfloat16_sums_its_pieces_in_float32(pieces):
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 8, generator=draw).bfloat16().abs()
    weight = torch.randn(3, 8, generator=draw).bfloat16().requires_grad_()
    targets = torch.zeros(600, dtype=torch.long)
    exact = weight.detach().double().requires_grad_()
    F.cross_entropy(hidden.double() @ exact.T, targets, reduction="sum").backward()
    pieces(1, vocab=3)
    LinearNLL.apply(hidden, weight, None, targets).sum().backward()
    assert weight.grad.dtype == torch.bfloat16
    # Each product and the result are rounded by 2^-9; 600 sums in bfloat16 would be off by several percent.
    assert ((weight.grad.double() - exact.grad).abs().max() / exact.grad.abs().max()) < 0.005


# ---- memory and work


class Tensors(TorchDispatchMode):
    """Notes the size of every tensor that is made, and the shapes of the matrix products."""

    def __init__(self):
        super().__init__()
        self.largest, self.products = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        if func in (torch.ops.aten.mm.default, torch.ops.aten.mm.out, torch.ops.aten.addmm_.default):
            a, b = args[-2:]
            self.products.append((a.shape[0], a.shape[1], b.shape[1]))
        return out


WIDE = 2000


def wide_model(trained):
    torch.manual_seed(0)
    shape = dict(d_model=16, n_heads=2, n_layers=1, mlp_hidden_size=16, vocab_size=WIDE)
    model = LLaDAModelLM(LLaDAConfig(**shape, mask_token_id=1, eos_token_id=0, pad_token_id=0))
    model.model.transformer["wte"].requires_grad_(False)
    model.get_output_embeddings().requires_grad_(trained)
    return model


def wide_example(positions=100):
    inputs = torch.randint(2, WIDE, (2, 80))
    at = torch.zeros(160, dtype=torch.bool)
    at[torch.randperm(160)[:positions]] = True
    return inputs, at.view(2, 80), torch.randint(0, WIDE, (positions,))


@pytest.mark.parametrize("trained", [False, True])
def test_no_more_logits_exist_at_a_time_than_allowed(trained, pieces):
    pieces(20, vocab=WIDE)  # more than the weight has numbers
    model, (inputs, at, targets) = wide_model(trained), wide_example()
    with Tensors() as seen:
        token_nll(model, inputs, at, targets).sum().backward()
        token_entropy(model, inputs, at)
    assert seen.largest == 20 * WIDE


@pytest.mark.parametrize("trained", [False, True])
def test_between_forward_and_backward_no_logits_are_kept(trained, pieces):
    pieces(20, vocab=WIDE)
    model, (inputs, at, targets), saved = wide_model(trained), wide_example(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.shape) or x, lambda x: x):
        token_nll(model, inputs, at, targets)
    assert not [shape for shape in saved if WIDE in shape and shape != (WIDE, 16)]


@pytest.mark.parametrize("trained, at_once, expected", [(False, 20, 1), (True, 20, 2), (True, 100, 1)])
def test_logits_are_computed_once_and_twice_only_where_the_weight_is_trained(
    trained, at_once, expected, pieces
):
    pieces(at_once, vocab=WIDE)
    model, (inputs, at, targets) = wide_model(trained), wide_example()
    with Tensors() as seen:
        token_nll(model, inputs, at, targets).sum().backward()
    assert sum(m for m, _, n in seen.products if n == WIDE) == 100 * expected


@pytest.mark.parametrize("at_once", [20, 100])
def test_positions_without_a_gradient_cost_nothing_in_the_backward_pass(at_once, pieces):
    pieces(at_once, vocab=WIDE)
    model, (inputs, at, targets) = wide_model(True), wide_example()
    weight = torch.zeros(100)
    weight[::4] = 1
    loss = (token_nll(model, inputs, at, targets) * weight).sum()
    with Tensors() as seen:
        loss.backward()
    assert sum(m for m, k, _ in seen.products if k == WIDE) == 25  # towards the hidden states
    assert sum(k for m, k, _ in seen.products if m == WIDE) == 25  # towards the weight


def test_the_last_layer_computes_only_what_is_asked_for(llada):
    model, (inputs, at, targets, _) = llada("mha"), example()
    seen = []
    for block in model.model.transformer["blocks"]:
        block.ff_out.register_forward_hook(lambda module, args, out: seen.append(out.shape[1]))
    token_nll(model, inputs, at, targets)
    assert seen == [N, int(at.sum(-1).max())]


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**20), st.sampled_from([0.0, 0.2, 0.7, 1.0]))
@settings(max_examples=40, deadline=None)
def test_columns_are_the_true_ones_in_order(rows, width, seed, share):
    where = torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)) < share
    at, real = columns(where)
    expected = [[i for i, wanted in enumerate(row) if wanted] for row in where.tolist()]
    assert [row[keep].tolist() for row, keep in zip(at, real, strict=True)] == expected
    assert at.shape[1] == max(1, *map(len, expected), 1)


# ---- other heads


def with_adapters(model, dropout=0.0, targets=("q_proj", f"model.transformer.{HEAD}")):
    torch.manual_seed(7)
    config = LoraConfig(r=2, lora_alpha=4, lora_dropout=dropout, target_modules=list(targets))
    found = get_peft_model(model, config)
    for name, parameter in found.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()
    return found


@pytest.mark.parametrize("at_once", [4, 1000])
def test_adapters_around_the_head(llada, at_once, pieces):
    pieces(at_once)
    model, (inputs, at, targets, weight) = with_adapters(llada("biased")), example()
    assert model.get_base_model().output_matrix() is None
    nll = token_nll(model, inputs, at, targets)
    expected = F.cross_entropy(model(inputs).logits.double()[at], targets, reduction="none")
    torch.testing.assert_close(nll.double(), expected, atol=2e-5, rtol=1e-5)
    found = gradients(model, (nll * weight).sum())
    assert len([name for name in found if HEAD in name]) == 2
    assert_equal_gradients(found, gradients(model, (expected * weight).sum()))


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", f"model.transformer.{HEAD}"]])
def test_dropout_is_the_same_in_the_backward_pass(llada, targets, pieces):
    pieces(1000)
    model = with_adapters(llada("mha"), 0.5, targets).train()
    inputs, at, labels, weight = example()
    torch.manual_seed(11)
    found = gradients(model, (token_nll(model, inputs, at, labels) * weight).sum())
    torch.manual_seed(11)
    dense = F.cross_entropy(model(inputs, logits_mask=at).logits, labels, reduction="none")
    assert_equal_gradients(found, gradients(model, (dense * weight).sum()))
    torch.manual_seed(12)
    other = gradients(model, (token_nll(model, inputs, at, labels) * weight).sum())
    assert any((other[name] - found[name]).abs().max() > 1e-3 for name in found)  # there is dropout


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", ["mha", "frozen"])
def test_gradient_checkpointing_changes_nothing(make, kind, reentrant):
    model, (inputs, at, targets, weight) = make(kind).train(), example()
    expected = gradients(model, (token_nll(model, inputs, at, targets) * weight).sum())
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    found = gradients(model, (token_nll(model, inputs, at, targets) * weight).sum())
    assert_equal_gradients(found, expected, 1e-6)


class EightBit(nn.Module):
    """A head that only knows how to be called, like those of quantisation libraries."""

    def __init__(self, linear):
        super().__init__()
        self.scale = linear.weight.detach().abs().max() / 127
        self.weight = nn.Parameter((linear.weight.detach() / self.scale).round().char(), requires_grad=False)

    def forward(self, hidden):
        return F.linear(hidden, self.weight.float() * self.scale)


def test_a_quantised_head_is_called(llada, pieces):
    pieces(3)
    model, (inputs, at, targets, weight) = llada("mha"), example()
    model.model.transformer[HEAD] = EightBit(model.get_output_embeddings())
    assert model.output_matrix() is None
    nll = token_nll(model, inputs, at, targets)
    expected = F.cross_entropy(model(inputs).logits.double()[at], targets, reduction="none")
    torch.testing.assert_close(nll.double(), expected, atol=2e-5, rtol=1e-5)
    found = gradients(model, (nll * weight).sum())
    assert_equal_gradients(found, gradients(model, (expected * weight).sum()))


def test_hooks_of_a_head_are_honoured(llada):
    model, (inputs, at, targets, _) = llada("mha"), example()
    plain, calls = token_nll(model, inputs, at, targets), []
    head = model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    assert model.output_matrix() is None
    torch.testing.assert_close(token_nll(model, inputs, at, targets), plain)
    assert sum(calls) == len(targets)
    handle.remove()
    assert model.output_matrix()[0] is head.weight


def test_only_what_is_a_matrix_is_taken_for_one(llada):
    assert plain_matrix(nn.Linear(2, 3))[0].shape == (3, 2)
    assert plain_matrix(nn.Sequential(nn.Linear(2, 3))) is None
    assert llada("scaled").output_matrix() is None

    class Capped(DreamModel):
        def logits_at(self, hidden):
            return 5 * torch.tanh(super().logits_at(hidden) / 5)

    model, (inputs, at, targets, _) = copy.deepcopy(dream()), example()
    model.__class__ = Capped
    where = at.roll(-1, 1)
    expected = F.cross_entropy(model(inputs).logits[where], targets, reduction="none")
    torch.testing.assert_close(token_nll(model, inputs, at, targets), expected)


# ---- wrappers


@pytest.fixture
def one_process(tmp_path):
    """A process group of this process alone."""
    if not dist.is_available():
        pytest.skip("this torch has no torch.distributed")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def lift_loss(model, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x0 = torch.randint(0, MASK, (4, N), generator=draw)
    response = torch.arange(N).expand(4, -1) >= 3
    return get_objective("lift", H=2)(model, Batch(x0, response, torch.arange(4), MASK), NoiseKey(0, 0)).loss


@pytest.mark.parametrize("at_once", [3, 1000])
@pytest.mark.parametrize("kind", ["mha", "tied", "dream"])
def test_within_ddp_two_passes_of_a_step_give_the_same_gradients(make, kind, at_once, one_process, pieces):
    pieces(at_once)
    model = make(kind).train()
    expected = gradients(model, lift_loss(model))
    wrapped = nn.parallel.DistributedDataParallel(model)
    for _ in range(2):  # a parameter without gradient would make the second step fail
        found = gradients(wrapped, lift_loss(wrapped))
    assert_equal_gradients(
        {name.removeprefix("module."): grad for name, grad in found.items()}, expected, 1e-6
    )


@pytest.mark.parametrize("kind", ["mha", "frozen", "dream"])
@pytest.mark.parametrize("head_alone", [False, True])
def test_within_fsdp_parameters_are_gathered_where_they_are_used(make, kind, head_alone, one_process, pieces):
    pieces(3)
    model = make(kind).train()
    expected = gradients(model, lift_loss(model))
    for layer in model.layers:
        fully_shard(layer)
    if head_alone:
        fully_shard(model.get_output_embeddings())
    fully_shard(model)
    loss = lift_loss(model)
    found = {name: grad.full_tensor() for name, grad in gradients(model, loss).items()}
    assert_equal_gradients(found, expected, 1e-6)
