"""Losses and gradients of the published trainings of block diffusion, each by a named setting."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file

from lift_harness.models.checkpoint import read_headers
from lift_harness.models.families import family_of
from lift_harness.models.loading import check_weights, empty_model
from lift_harness.training.objectives import Batch, NoiseKey, get_objective
from lift_harness.training.objectives.base import blocks
from lift_harness.training.vocabulary import token_nll

MASK = 500
DFACTORY = {"weight": "none", "normalise": "masked"}
FAST_DLLM = {"noise": "block", "weight": "none", "complementary": True, "normalise": "masked"}


@dataclass(frozen=True)
class Given(NoiseKey):
    """Noise that is given: times and masks [B, N], of rows or of their blocks."""

    times: torch.Tensor | None = None
    masked: torch.Tensor | None = None

    def t(self, batch):
        return self.times.flatten().double()

    def mask_below(self, rate, batch):
        return self.masked if batch.width is None else blocks(self.masked, batch.x0.shape[1])


@pytest.fixture(scope="module")
def official(shared):
    """official(folder, block_size): (model, its training's tensors, and values), made once a folder."""
    made = {}

    def load(folder, block_size):
        if folder not in made:
            where = shared / "golden" / folder
            written, empty = empty_model(where, folder)
            check_weights(folder, empty, read_headers(where))
            model = family_of(written).from_pretrained(where, attn_implementation="sdpa", config=empty.config)
            tensors = load_file(where / "train.safetensors")
            made[folder] = model, tensors, json.loads((where / "train.json").read_text())
        model, tensors, values = made[folder]
        model.config.block_size = block_size
        model.zero_grad()
        return model.train(), tensors, values

    return load


def assert_same_gradients(model, tensors, case):
    names = [name for name in tensors if name.startswith(f"{case}.grad.")]
    assert names
    for name in names:
        stored = tensors[name]
        parameter = model.get_parameter(name.removeprefix(f"{case}.grad.").removesuffix("_first64"))
        torch.testing.assert_close(parameter.grad[: len(stored)], stored, rtol=1e-3, atol=1e-5)


def learn(model, x0, response, masked, times, options):
    """The loss by the objective of these options, after its backward pass."""
    batch = Batch(x0, response, torch.arange(len(x0)), MASK)
    key = Given(0, 0, times=times, masked=masked)
    loss = get_objective("vanilla", **options)(model, batch, key)
    loss.loss.backward()
    return loss


@pytest.mark.parametrize(("case", "size"), [("df_b8", 8), ("df_b32", 32)])
def test_dfactory(official, case, size):
    """The mean over masked tokens, no 1/t."""
    model, stored, values = official("llada2-tiny", size)
    x0, masked = stored[f"{case}.input_ids"], stored[f"{case}.labels"] != -100
    response = torch.arange(x0.shape[1]) >= torch.tensor(values[case]["prompt_lengths"])[:, None]
    assert not (masked & ~response).any()
    found = learn(model, x0, response, masked, torch.tensor(values[case]["t"]), DFACTORY)
    assert found.loss.item() == pytest.approx(values[case]["loss"], rel=1e-5)
    assert torch.equal(found.inputs, stored[f"{case}.noisy_input_ids"])
    assert_same_gradients(model, stored, case)


NORMALISED = {
    "": {},
    "_sequence_scheduler": {"normalise": "sequence"},
    "_batch_scheduler": {"normalise": "batch"},
    "_token_uniform": {"weight": "none"},
}


@pytest.mark.parametrize(
    ("folder", "case", "size", "suffix"),
    [
        *(("llada2-tiny", "dllm_b8", 8, suffix) for suffix in NORMALISED),
        *(("a2d-qwen3-tiny", "bd3lm_b8", 8, suffix) for suffix in NORMALISED),
        ("a2d-qwen3-tiny", "bd3lm_b32", 32, ""),
    ],
)
def test_bd3lm_of_dllm(official, folder, case, size, suffix):
    model, stored, values = official(folder, size)
    options = NORMALISED[suffix]
    response, masked = stored[f"{case}.labels"] != -100, stored[f"{case}.masked"]
    times = stored[f"{case}.t"] + 1e-6  # its weight is 1 / (t + 1e-6)
    found = learn(model, stored[f"{case}.input_ids"], response, masked, times, options)
    assert found.loss.item() == pytest.approx(values[f"{case}{suffix}"]["loss"], rel=1e-5)
    if not suffix:
        assert_same_gradients(model, stored, case)


def test_mdlm_of_dllm(official):
    """The same network, bidirectional."""
    model, stored, values = official("a2d-qwen3-tiny", None)
    response, times = stored["mdlm.labels"] != -100, stored["mdlm.t"] + 1e-6
    found = learn(model, stored["mdlm.input_ids"], response, stored["mdlm.masked"], times, {})
    assert found.loss.item() == pytest.approx(values["mdlm"]["loss"], rel=1e-5)
    assert_same_gradients(model, stored, "mdlm")


def test_sdar(official):
    model, stored, values = official("sdar-tiny", 8)
    response, masked = stored["b8.labels"] != -100, stored["b8.masked"]
    times = stored["b8.p_mask_of_masked"][[0, -1]]  # of the first row's tokens and of the last's
    found = learn(model, stored["b8.input_ids"], response, masked, times, {})
    assert found.loss.item() == pytest.approx(values["b8"]["loss"], rel=1e-5)
    assert_same_gradients(model, stored, "b8")


def test_packed_samples_of_sdar(official):
    """Samples of a row do not see each other; each has a t of its own."""
    model, stored, values = official("sdar-tiny", 4)
    x0, masked = stored["b4_packed.input_ids"], stored["b4_packed.masked"]
    segment = (stored["b4_packed.position_ids"] == 0).cumsum(-1)
    assert segment.max() == 2
    batch = Batch(x0, stored["b4_packed.labels"] != -100, torch.arange(2), MASK, segment=segment)
    nll = token_nll(model, batch, x0.masked_fill(masked, MASK), masked)
    loss = (nll / stored["b4_packed.p_mask_of_masked"]).sum() / batch.response.sum()
    loss.backward()
    assert loss.item() == pytest.approx(values["b4_packed"]["loss"], rel=1e-5)
    assert_same_gradients(model, stored, "b4_packed")


def test_fast_dllm(official):
    """Times of blocks, both views of each, the mean over what they mask, logits shifted."""
    model, stored, values = official("fastdllm-v2-tiny", 32)
    x0, response = stored["b32.input_ids"], stored["b32.labels"] != -100
    masked = stored["b32.model_input_ids"][:2, : x0.shape[1]] == MASK
    found = learn(model, x0, response, masked, stored["b32.p_mask_per_block"], FAST_DLLM)
    assert found.loss.item() == pytest.approx(values["b32"]["loss"], rel=1e-5)
    assert torch.equal(found.inputs.view(4, -1), stored["b32.model_input_ids"][:, : x0.shape[1]])
    assert_same_gradients(model, stored, "b32")
