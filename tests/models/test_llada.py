"""LLaDA against the official logits, a numpy float64 reference, and what must not change a result."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.llada_reference import MASK, OFFICIAL_CONFIG, SHAPES, VOCAB, ReferenceLLaDA

from lift_harness.errors import LiftError
from lift_harness.models.configuration_llada import SUPPORTED, LLaDAConfig
from lift_harness.models.layers import default_positions
from lift_harness.models.modeling_llada import LLaDAModelLM

GOLDEN = ["llada-tiny", "llada-tiny-gqa"]


def random_ids(length: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    ids = torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))
    ids[:, length // 2 :: 2] = MASK
    return ids


def logits(model, ids, **kwargs) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, **kwargs).logits


def assert_near(a, b, atol=2e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.fixture(scope="module", params=GOLDEN)
def golden(request, shared):
    folder = shared / "golden" / request.param
    return LLaDAModelLM.from_pretrained(folder).eval(), load_file(folder / "logits.safetensors")


@pytest.mark.parametrize("case", ["len7", "len33", "len64", "leftpad", "rightpad"])
def test_logits_equal_those_of_the_official_model(golden, case):
    model, stored = golden
    mask = stored.get(f"{case}.attention_mask")
    found = logits(model, stored[f"{case}.input_ids"], attention_mask=mask)
    real = torch.ones(found.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
    assert_near(found[real], stored[f"{case}.logits"][real], atol=5e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", [1, 23])
def test_logits_equal_the_numpy_reference(llada, llada_folder, shape, length):
    ids = random_ids(length)
    expected = ReferenceLLaDA(llada_folder(shape))(ids[0].tolist())
    found = logits(llada(shape), ids)[0]
    assert np.abs(expected).max() > 3  # not vacuous
    assert_near(found.double(), torch.from_numpy(expected), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_saving_and_loading_keeps_names_bits_and_config(llada, llada_folder, tmp_path, shape):
    model = llada(shape)
    model.save_pretrained(tmp_path)
    before = load_file(llada_folder(shape) / "model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    config = json.loads((tmp_path / "config.json").read_text())
    official = OFFICIAL_CONFIG | SHAPES[shape]
    official["mlp_hidden_size"] = official["mlp_hidden_size"] or official["mlp_ratio"] * official["d_model"]
    assert config.keys() >= official.keys()
    assert {key for key in official if config[key] != official[key]} == {"transformers_version"}
    again = LLaDAModelLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(model, random_ids(9)), logits(again, random_ids(9)))


def test_tied_weights_are_one_tensor_on_disk_and_in_memory(llada, tmp_path):
    model = llada("tied")
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(2.0)
    model.save_pretrained(tmp_path)
    assert "model.transformer.ff_out.weight" not in load_file(tmp_path / "model.safetensors")
    again = LLaDAModelLM.from_pretrained(tmp_path).eval()
    assert again.get_output_embeddings() is None
    ids = random_ids(6)
    with torch.no_grad():
        expected = again.hidden_states(ids) @ again.get_input_embeddings().weight.T
    assert_near(logits(again, ids), expected)
    assert torch.equal(logits(again, ids), logits(model, ids))


@pytest.mark.parametrize("shape", ["mha", "gqa"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_row_in_a_padded_batch_equals_the_row_alone(llada, shape, side):
    model, lengths, widest = llada(shape), [17, 5, 11], 20
    rows = [random_ids(n, seed=n)[0] for n in lengths]
    ids = torch.full((3, widest), 7)
    mask = torch.zeros(3, widest, dtype=torch.long)
    spans = [slice(widest - n, widest) if side == "left" else slice(0, n) for n in lengths]
    for i, (row, span) in enumerate(zip(rows, spans, strict=True)):
        ids[i, span], mask[i, span] = row, 1
    batch = logits(model, ids, attention_mask=mask)
    for i, (row, span) in enumerate(zip(rows, spans, strict=True)):
        assert_near(batch[i, span], logits(model, row[None])[0])


def test_positions_count_from_the_first_real_token():
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    expected = torch.tensor([[0, 0, 0, 1, 2], [0, 1, 2, 3, 3]])
    assert torch.equal(default_positions(torch.zeros(2, 5), mask), expected)
    assert torch.equal(default_positions(torch.zeros(2, 2), mask), expected[:, -2:])


def test_only_distances_matter_to_rotary_positions(llada):
    model, ids = llada("gqa"), random_ids(12)
    moved = logits(model, ids, position_ids=torch.arange(12)[None] + 40)
    assert_near(moved, logits(model, ids), atol=1e-4)
    stretched = logits(model, ids, position_ids=torch.arange(12)[None] * 2)
    assert (stretched - logits(model, ids)).abs().max() > 0.01


@pytest.mark.parametrize("shape", ["mha", "tied", "scaled"])
def test_logits_at_chosen_positions_equal_those_of_the_whole_canvas(llada, shape):
    model, ids = llada(shape), random_ids(15, rows=3)
    where = ids == MASK
    full = logits(model, ids)
    assert_near(logits(model, ids, logits_mask=where), full[where])
    with torch.no_grad():
        hidden = model.hidden_states(ids)
        assert hidden.shape == (3, 15, 32)
        assert_near(model.logits_at(hidden[:, 4:9]), full[:, 4:9])
    assert logits(model, ids, logits_mask=torch.zeros_like(where)).shape == (0, full.shape[-1])


class Recording:
    """Keeps the keys and values of a pass."""

    def __init__(self):
        self.seen = {}

    def update(self, layer, key, value):
        self.seen[layer] = (key, value)
        return key, value


class FrozenLeft(Recording):
    """Shows each pass the first `width` keys and values of an earlier one, left of its own."""

    def __init__(self, earlier, width):
        super().__init__()
        self.earlier, self.width = earlier, width

    def update(self, layer, key, value):
        super().update(layer, key, value)
        left = [part[:, :, : self.width] for part in self.earlier.seen[layer]]
        return torch.cat((left[0], key), 2), torch.cat((left[1], value), 2)


@pytest.mark.parametrize("shape", ["mha", "gqa"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_pass_over_the_right_with_cached_left_keys_equals_the_full_pass(llada, shape, padded):
    model, ids, width = llada(shape), random_ids(18, rows=2), 11
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    mask = mask if padded else None
    recording = Recording()
    with torch.no_grad():
        full = model.hidden_states(ids, mask, cache=recording)
        positions = default_positions(ids, mask)[:, width:]
        cached = model.hidden_states(ids[:, width:], mask, positions, FrozenLeft(recording, width))
        assert_near(cached, full[:, width:])
        if padded:  # positions follow from a mask over all keys
            assert_near(model.hidden_states(ids[:, width:], mask, cache=FrozenLeft(recording, width)), cached)
    assert set(recording.seen) == {0, 1}
    kv_heads = model.config.n_kv_heads
    assert recording.seen[0][0].shape == recording.seen[0][1].shape == (2, kv_heads, 18, 8)


def test_cached_keys_that_are_stale_change_the_result(llada):
    model, ids, width = llada("mha"), random_ids(18), 11
    recording = Recording()
    with torch.no_grad():
        model.hidden_states(random_ids(18, seed=9), cache=recording)
        positions = torch.arange(width, 18)[None]
        stale = model.hidden_states(ids[:, width:], None, positions, FrozenLeft(recording, width))
        assert (stale - model.hidden_states(ids)[:, width:]).abs().max() > 0.1


def unsupported(value):
    if isinstance(value, bool):
        return not value
    return {str: "other", float: 0.1, int: 2}.get(type(value), 8.0)


@pytest.mark.parametrize("key", SUPPORTED)
def test_a_config_that_asks_for_something_else_is_refused_by_name(llada_folder, tmp_path, key):
    value = unsupported(SUPPORTED[key][0])
    if key == "multi_query_attention":
        value = True
    with pytest.raises(LiftError, match=rf"{key}={value!r}"):
        LLaDAConfig(**{key: value})
    (tmp_path / "config.json").write_text(json.dumps(OFFICIAL_CONFIG | {key: value}))
    (tmp_path / "model.safetensors").symlink_to(llada_folder("mha") / "model.safetensors")
    with pytest.raises(LiftError, match=key):
        LLaDAModelLM.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"d_model": 30, "n_heads": 4},
        {"d_model": 32, "n_heads": 4, "n_kv_heads": 3},
        {"init_fn": "kaiming"},
        {"include_bias": True, "bias_for_layer_norm": None},  # OLMo: norms have biases then
    ],
)
def test_a_config_that_cannot_be_built_is_refused_with_its_values(values):
    with pytest.raises(LiftError) as error:
        LLaDAConfig(**values)
    assert all(f"{key}={value!r}" in str(error.value) for key, value in values.items())


def test_gradient_checkpointing_recomputes_blocks_and_gives_the_same_gradients(llada):
    ids = random_ids(13, rows=2)

    def gradients(checkpointing):
        model, calls = llada("gqa").train(), []
        for block in model.model.transformer["blocks"]:
            block.attn_norm.register_forward_hook(lambda *_: calls.append(1))
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(ids).logits.square().mean().backward()
        return {name: p.grad for name, p in model.named_parameters()}, len(calls)

    (plain, once), (recomputed, twice) = gradients(False), gradients(True)
    assert (once, twice) == (2, 4)
    for name, grad in plain.items():
        assert grad is not None and grad.abs().max() > 0, name
        assert_near(recomputed[name], grad, atol=1e-6)


def test_loads_and_saves_in_bfloat16(llada, llada_folder, tmp_path):
    model = LLaDAModelLM.from_pretrained(llada_folder("gqa"), dtype=torch.bfloat16).eval()
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    ids = random_ids(20)
    found, exact = logits(model, ids), logits(llada("gqa"), ids)
    assert found.dtype == torch.bfloat16
    assert (found - exact).abs().mean() < 0.03 * exact.abs().mean()
    model.save_pretrained(tmp_path)
    again = LLaDAModelLM.from_pretrained(tmp_path, dtype="auto").eval()
    assert torch.equal(logits(again, ids), found)


def test_a_new_model_starts_with_finite_logits_and_a_loss_near_uniform():
    torch.manual_seed(0)
    model = LLaDAModelLM(LLaDAConfig(d_model=64, n_heads=4, n_layers=2, vocab_size=VOCAB))
    found = logits(model, random_ids(30, rows=4)).double()
    targets = random_ids(30, rows=4, seed=1)
    loss = torch.nn.functional.cross_entropy(found.flatten(0, 1), targets.flatten())
    assert found.isfinite().all()
    assert abs(loss.item() - np.log(VOCAB)) < 1
