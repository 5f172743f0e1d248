"""The families on the backbone against a slow reference in float64, without any golden file."""

import json

import pytest
import torch
from support.families_reference import CONFIGS, VOCAB, Reference, random_tensors, shapes, write_family
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from lift_harness.models.block_causal import block_causal
from lift_harness.models.checkpoint import read_headers
from lift_harness.models.experts import PROJECTIONS, all_at_once, count_parameters
from lift_harness.models.families import family_of
from lift_harness.models.loading import check_weights, empty_model

LENGTH = 13


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """small(family): (model, its reference), made once."""
    root, made = tmp_path_factory.mktemp("families"), {}

    def load(family):
        if family not in made:
            folder = write_family(root / family, family)
            written, empty = empty_model(folder, family)
            check_weights(family, empty, read_headers(folder))
            config = empty.config
            model = family_of(written).from_pretrained(folder, config=config, attn_implementation="sdpa")
            made[family] = model.eval(), Reference(CONFIGS[family], random_tensors(CONFIGS[family]))
        return made[family]

    with torch.inference_mode():
        yield load


def rows(count=2, length=LENGTH):
    return torch.randint(0, VOCAB, (count, length), generator=torch.Generator().manual_seed(5))


def close(own, reference):
    return (own.double() - torch.as_tensor(reference)).abs().max() < 2e-4


@pytest.mark.parametrize("family", CONFIGS)
def test_logits_are_those_of_the_formulas(family, small):
    model, reference = small(family)
    ids = rows()
    logits = model(ids).logits
    for row, own in zip(ids.tolist(), logits, strict=True):
        assert close(own, reference(row, model.block_size))


@pytest.mark.parametrize("family", CONFIGS)
def test_padding_on_either_side_changes_nothing(family, small):
    model, reference = small(family)
    ids = rows()
    mask = torch.ones_like(ids)
    mask[0, :4], mask[1, -4:] = 0, 0
    logits = model(ids, mask).logits
    assert close(logits[0, 4:], reference(ids[0, 4:].tolist(), model.block_size))
    assert close(logits[1, :-4], reference(ids[1, :-4].tolist(), model.block_size))


@pytest.mark.parametrize("family", ["llada2", "sdar", "llada-moe"])
def test_some_columns_of_padded_rows_alone(family, small):
    model, _ = small(family)
    ids, at = rows(), torch.tensor([[12, 5, 9], [0, 8, 3]])
    mask = torch.ones_like(ids)
    mask[0, :4], mask[1, -4:] = 0, 0
    whole = model.hidden_states(ids, mask)
    some = model.hidden_states(ids, mask, at=at)
    assert (some - whole.gather(1, at[:, :, None].expand(-1, -1, whole.shape[2]))).abs().max() < 1e-5


THEIRS = {
    "sdar": (Qwen3ForCausalLM, Qwen3Config),
    "sdar-biased": (Qwen3ForCausalLM, Qwen3Config),
    "a2d-qwen3": (Qwen3ForCausalLM, Qwen3Config),
    "a2d-qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "dream": (Qwen2ForCausalLM, Qwen2Config),
    "fast-dllm": (Qwen2ForCausalLM, Qwen2Config),
    "a2d-llama": (LlamaForCausalLM, LlamaConfig),
    "illada": (LlamaForCausalLM, LlamaConfig),
    "sdar_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig),
}


@pytest.mark.parametrize("family", THEIRS)
def test_logits_are_those_of_transformers_layers_under_the_same_mask(family, small, tmp_path):
    model, _ = small(family)
    kind, config = THEIRS[family]
    own = CONFIGS[family]
    write_family(tmp_path, family)  # of which transformers reads the weights: it may stack experts
    theirs = kind.from_pretrained(
        tmp_path,
        config=config(**{key: own[key] for key in own if key not in ("model_type", "attn_implementation")}),
        attn_implementation="eager",
    ).eval()
    ids, columns = rows(), torch.arange(LENGTH)[None]
    seen = torch.ones(1, LENGTH, LENGTH, dtype=torch.bool)
    if model.block_size is not None:
        seen = block_causal(columns, columns, model.block_size)
    added = torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))[:, None].expand(len(ids), -1, -1, -1)
    assert close(model(ids).logits, theirs(input_ids=ids, attention_mask=added).logits)


class Slots:
    """A cache of ragged rows: each row's keys at its own columns."""

    def __init__(self, model, batch, width):
        layers, heads, size = model.cache_shape
        self.layers = [[torch.zeros(batch, heads, width, size) for _ in range(2)] for _ in range(layers)]

    def update(self, layer, key, value):
        for kept, new in zip(self.layers[layer], (key, value), strict=True):
            for row, columns in enumerate(self.columns):
                kept[row, :, columns] = new[row]
        return tuple(self.layers[layer])


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("family", ["llada2", "sdar_moe", "fast-dllm", "a2d-qwen2"])
def test_ragged_rows_on_their_caches(family, together, small, monkeypatch):
    """Row 0 is two blocks ahead of row 1; a pass computes one block of each, or two."""
    model, reference = small(family)
    monkeypatch.setitem(model.config.__dict__, "bd_size" if family == "fast-dllm" else "block_size", 4)
    ids, width, cache = rows(2, 20), 20, Slots(model, 2, 20)
    cache.columns = [torch.arange(width)] * 2
    model.hidden_states(ids, position_ids=torch.arange(width)[None], cache=cache)  # of the prefix, below
    cache.columns = columns = torch.stack(
        [torch.arange(12 - 4 * together, 12), torch.arange(0, 4 * together)]
    )
    real = torch.arange(width)[None] < torch.tensor([[12], [4 * together]])
    hidden = model.hidden_states(ids.gather(1, columns), real, columns, cache)
    logits = model.logits_at(hidden)
    for row, end in ((0, 12), (1, 4 * together)):
        assert close(logits[row], reference(ids[row, :end].tolist(), 4)[-4 * together :])


# ---- files


@pytest.mark.parametrize("family", CONFIGS)
def test_load_save_load_is_bit_exact_under_the_official_names(family, tmp_path):
    folder = write_family(tmp_path / "own", family)
    written, empty = empty_model(folder, family)
    model = family_of(written).from_pretrained(folder, config=empty.config)
    model.save_pretrained(tmp_path / "again", max_shard_size="60KB")
    assert {name: header.shape for name, header in read_headers(tmp_path / "again").items()} == shapes(
        written
    )
    again, empty = empty_model(tmp_path / "again", family)
    assert again["model_type"] == written["model_type"] and family_of(again) is family_of(written)
    other = type(model).from_pretrained(tmp_path / "again", config=empty.config)
    for (name, one), two in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    kept = {key for key in written if key not in ("attn_implementation", "rope_scaling")}
    assert {key: again[key] for key in kept if key in again} == {key: written[key] for key in kept}
    assert other.block_size == model.block_size


def test_the_block_size_is_saved_where_no_official_key_says_it(tmp_path):
    folder = write_family(tmp_path / "own", "a2d-qwen3")
    assert empty_model(folder, "own")[1].block_size is None
    _, empty = empty_model(folder, "own", block_size=8)
    empty.config.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["block_size"] == 8


# ---- experts


def test_the_grouped_product_is_the_same_as_one_expert_after_another(small):
    model, _ = small("llada2")
    mixture = model.model.layers[1].mlp
    x = torch.randn(40, 32, generator=torch.Generator().manual_seed(0))
    chosen, weight = mixture.gate(x)
    chosen[:] = chosen.where(chosen != 3, 4)  # an expert without tokens
    expected = mixture.experts(x, chosen, weight)
    before = {name: tensor.clone() for name, tensor in mixture.experts.state_dict().items()}
    stack = mixture.experts.stacked()
    assert all(torch.equal(tensor, before[name]) for name, tensor in mixture.experts.state_dict().items())
    assert stack["gate_proj"][2].data_ptr() == mixture.experts[2].gate_proj.weight.data_ptr()
    up = stack["up_proj"]
    assert mixture.experts.stacked()["up_proj"] is up
    mixture.experts[5].up_proj.weight.data = mixture.experts[5].up_proj.weight.data.clone()  # moved
    assert mixture.experts.stacked()["up_proj"] is not up
    by_expert, order = chosen.flatten().sort(stable=True)
    made = all_at_once(stack, x[order // 2], by_expert)[order.argsort()].view(40, 2, -1)
    assert ((made * weight[:, :, None]).sum(1) - expected).abs().max() < 1e-5


def test_stacked_experts_are_saved_under_their_names(tmp_path):
    folder = write_family(tmp_path / "own", "llada2")
    model = family_of(json.loads((folder / "config.json").read_text())).from_pretrained(folder)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in model.model.layers[1:]:
        assert set(layer.mlp.experts.stacked()) == set(PROJECTIONS)
    model.save_pretrained(tmp_path / "again")
    again = type(model).from_pretrained(tmp_path / "again").state_dict()
    assert again.keys() == expected.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())


def test_experts_that_are_more_than_matrices_are_not_stacked(small):
    model, _ = small("llada2-biased")
    experts = model.model.layers[0].mlp.experts
    plain = experts[5].up_proj
    experts[5].up_proj = torch.nn.Sequential(plain)
    assert experts.stacked() is None
    experts[5].up_proj = plain
    assert experts.stacked() is not None


@pytest.mark.parametrize(("family", "layers", "idle"), [("llada2", 2, 6), ("sdar_moe", 1, 3), ("sdar", 0, 0)])
def test_parameters_that_a_token_passes_through(family, layers, idle, small):
    model, _ = small(family)
    total, active = count_parameters(model)
    of_file = {name: shape for name, shape in shapes(CONFIGS[family]).items() if "expert_bias" not in name}
    assert total == sum(torch.Size(shape).numel() for shape in of_file.values())
    each = 3 * 32 * CONFIGS[family].get("moe_intermediate_size", 0)
    assert total - active == layers * idle * each


@torch.inference_mode(False)
def test_every_expert_gets_a_gradient_whoever_is_chosen(tmp_path):
    folder = write_family(tmp_path / "own", "sdar_moe")
    model = family_of(json.loads((folder / "config.json").read_text())).from_pretrained(folder).train()
    model(rows(1, 2)).logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
