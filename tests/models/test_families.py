"""The families on the backbone against the logits, caches and router internals of their official codes."""

import itertools

import pytest
import torch
from safetensors.torch import load_file

from lift_harness.models.block_causal import noisy_and_clean
from lift_harness.models.checkpoint import read_headers, read_json
from lift_harness.models.families import family_of
from lift_harness.models.loading import check_weights, empty_model
from lift_harness.models.modeling_experts import LLaDA2MoeModelLM

TOLERANCE = 5e-4  # of float32 logits of about +-18 in another order of summation (golden README)
FOLDERS = {
    "llada2-tiny": ("LLaDA2MoeModelLM", 32, 0),
    "sdar-tiny": ("SDARForCausalLM", 4, 0),
    "fastdllm-v2-tiny": ("Fast_dLLM_QwenForCausalLM", 32, 1),
    "llada-moe-tiny": ("LLaDAMoEModelLM", None, 0),
    "llada-moe-tiny/variant": ("LLaDAMoEModelLM", None, 0),
    "a2d-qwen3-tiny": ("A2DQwen3LMHeadModel", None, 0),
}
LOGITS = [
    *(("llada2-tiny", case) for case in ("b8.len32", "b8.len29", "b32.len64", "b32.len96")),
    *(("sdar-tiny", case) for case in ("b4.len24", "b8.len29", "b16.len48")),
    *(("fastdllm-v2-tiny", case) for case in ("len64", "len40")),
    *(("llada-moe-tiny", case) for case in ("len7", "len33", "len64", "leftpad")),
    *(("llada-moe-tiny/variant", case) for case in ("len7", "len33", "leftpad")),
    *(("a2d-qwen3-tiny", case) for case in ("len7", "len33", "rightpad", "b32.len64", "b8.len29")),
]


class Kept:
    """A cache that appends: keys and values of the passes so far, layer by layer."""

    def __init__(self):
        self.layers = {}

    def update(self, layer, key, value):
        if layer in self.layers:
            before = self.layers[layer]
            key, value = torch.cat((before[0], key), 2), torch.cat((before[1], value), 2)
        self.layers[layer] = key, value
        return key, value


@pytest.fixture(scope="module")
def golden(shared):
    """golden(folder): (model, its reference tensors), made once."""
    made = {}

    def load(folder):
        if folder not in made:
            where = shared / "golden" / folder
            written, empty = empty_model(where, folder)
            check_weights(folder, empty, read_headers(where))
            model = family_of(written).from_pretrained(where, attn_implementation="sdpa", config=empty.config)
            made[folder] = model.eval(), load_file(where / "logits.safetensors")
        return made[folder]

    with torch.inference_mode():
        yield load


@pytest.fixture
def blocks(monkeypatch):
    """blocks(model, B): this block size for one test."""
    return lambda model, size: monkeypatch.setitem(
        model.config.__dict__, model.config.attribute_map.get("block_size", "block_size"), size
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_file_says_which_class_and_what_it_is(folder, golden, shared):
    model, _ = golden(folder)
    assert (type(model).__name__, model.block_size, model.logit_shift) == FOLDERS[folder]
    assert read_json(shared / "golden" / folder / "config.json")["model_type"] == model.config.model_type


@pytest.mark.parametrize(("folder", "case"), LOGITS)
def test_the_logits_are_the_official_ones(folder, case, golden, blocks):
    model, stored = golden(folder)
    size = stored.get(f"{case}.block_length", stored.get(f"{case}.block_size"))
    if size is not None:
        blocks(model, int(size))
    mask = stored.get(f"{case}.attention_mask")
    expected = stored[f"{case}.logits_raw" if folder == "fastdllm-v2-tiny" else f"{case}.logits"]
    off = (model(stored[f"{case}.input_ids"], mask).logits - expected).abs()
    assert (off if mask is None else off[mask.bool()]).max() < TOLERANCE


@pytest.mark.parametrize(("folder", "case"), LOGITS)
def test_some_columns_alone_are_the_same(folder, case, golden, blocks):
    model, stored = golden(folder)
    if f"{case}.block_length" in stored:
        blocks(model, int(stored[f"{case}.block_length"]))
    ids, mask = stored[f"{case}.input_ids"], stored.get(f"{case}.attention_mask")
    at = torch.tensor([[6, 2, 5], [0, 6, 1]])[: len(ids)]
    whole = model.hidden_states(ids, mask)
    real = torch.ones_like(at, dtype=torch.bool) if mask is None else mask.bool().gather(1, at)
    some = model.hidden_states(ids, mask, at=at)
    assert (some - whole.gather(1, at[:, :, None].expand(-1, -1, whole.shape[2])))[real].abs().max() < 1e-4


CACHES = {
    "llada2-tiny": ("cache8", "logits_block_cached"),
    "sdar-tiny": ("cache8", "logits_block_cached"),
    "fastdllm-v2-tiny": ("cache", "logits_block"),
}


@pytest.mark.parametrize("step", ["at once", "block by block", "last two together"])
@pytest.mark.parametrize("folder", CACHES)
def test_a_block_on_the_cache_of_the_finished_ones(folder, step, golden, blocks):
    model, stored = golden(folder)
    case, name = CACHES[folder]
    size = int(stored.get(f"{case}.block_length", 32))
    blocks(model, size)
    ids, prefix = stored[f"{case}.input_ids"], int(stored[f"{case}.prefix_len"])
    length, cache = ids.shape[1], Kept()
    borders = {0, length} | {
        "at once": {prefix},
        "block by block": {*range(0, length, size)},
        "last two together": {length - 2 * size},
    }[step]
    for start, end in itertools.pairwise(sorted(borders)):
        columns = torch.arange(start, end)[None]
        hidden = model.hidden_states(ids[:, start:end], position_ids=columns, cache=cache)
    logits = model.logits_at(hidden)
    assert (logits[:, -size:] - stored[f"{case}.{name}"]).abs().max() < TOLERANCE
    full = stored[f"{case}.logits_full"][:, -logits.shape[1] :]
    assert (logits - full).abs().max() < TOLERANCE


def test_a_sub_block_on_the_keys_of_the_rest_of_its_block(golden):
    """Fast-dLLM v2's block cache: the sub-block's keys replace theirs, the others stay as they were."""
    model, stored = golden("fastdllm-v2-tiny")
    cache, prefix = Kept(), int(stored["cache.prefix_len"])
    start = prefix + int(stored["cache.sub_start_in_block"])
    for first, end in ((0, prefix), (prefix, 64)):
        ids = stored["cache.input_ids"][:, first:end]
        model.hidden_states(ids, position_ids=torch.arange(first, end)[None], cache=cache)

    class Replaced:
        def update(self, layer, key, value):
            keys, values = (tensor.clone() for tensor in cache.layers[layer])
            keys[:, :, start : start + 8], values[:, :, start : start + 8] = key, value
            return keys, values

    ids = stored["cache.input_ids_after"][:, start : start + 8]
    columns = torch.arange(start, start + 8)[None]
    logits = model.logits_at(model.hidden_states(ids, position_ids=columns, cache=Replaced()))
    assert (logits - stored["cache.logits_sub_block"]).abs().max() < TOLERANCE


def test_who_sees_whom_may_be_given(golden):
    """A2D's sampler: pads on the left that nobody sees, blocks counted with them, positions without."""
    model, stored = golden("a2d-qwen3-tiny")
    case = {name: stored[f"bdpad8.{name}"] for name in ("input_ids", "attention_mask", "position_ids")}
    ids, mask, positions = case["input_ids"], case["attention_mask"][None], case["position_ids"]
    prefix, cache = int(stored["bdpad8.prefix_len"]), Kept()
    model.hidden_states(ids[:, :prefix], mask[:, :prefix, :prefix], positions[:, :prefix], cache)
    hidden = model.hidden_states(ids[:, prefix:], mask[:, prefix:], positions[:, prefix:], cache)
    assert (model.logits_at(hidden) - stored["bdpad8.logits_block_cached"]).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("folder", "case", "clean", "noisy", "expected"),
    [
        ("llada2-tiny", "df_b8", "input_ids", "noisy_input_ids", "noisy_logits"),
        ("fastdllm-v2-tiny", "b32", None, None, "logits_raw"),
    ],
)
def test_training_rows_see_noisy_and_clean_tokens(folder, case, clean, noisy, expected, golden, shared):
    model, _ = golden(folder)
    stored = load_file(shared / "golden" / folder / "train.safetensors")
    if clean is None:
        both = stored[f"{case}.model_input_ids"][:2]
    else:
        both = torch.cat((stored[f"{case}.{noisy}"], stored[f"{case}.{clean}"]), dim=1)
    length = both.shape[1] // 2
    mask = noisy_and_clean(length, int(case.removeprefix("df_").removeprefix("b")))[None]
    positions = torch.arange(length).repeat(2)[None]
    logits = model(both, mask, positions).logits[:, :length]
    assert (logits - stored[f"{case}.{expected}"]).abs().max() < TOLERANCE
    some = torch.zeros_like(both, dtype=torch.bool)
    some[0, 3], some[1, 5:7] = True, True
    assert (
        model(both, mask, positions, logits_mask=some).logits - logits[some[:, :length]]
    ).abs().max() < 1e-4


def test_llada2_routes_as_the_official_code(golden):
    model, stored = golden("llada2-tiny")
    assert isinstance(model, LLaDA2MoeModelLM)
    mixture, x = model.model.layers[1].mlp, stored["router.hidden"]
    chosen, weight = mixture.gate(x)
    assert torch.equal(chosen.sort(-1).values, stored["router.topk_idx"].sort(-1).values)
    by_expert = chosen.argsort(-1), stored["router.topk_idx"].argsort(-1)
    own, theirs = weight.gather(1, by_expert[0]), stored["router.topk_weight"].gather(1, by_expert[1])
    assert (own - theirs).abs().max() < 1e-6
    assert (mixture(x[None])[0] - stored["router.moe_out"]).abs().max() < 1e-5
