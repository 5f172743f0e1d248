"""Weights that are no numbers, weights that are not there, and the attention that is asked for."""

import json

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoints import DREAM, LLADA, all_tensors, write_checkpoint, write_weights

from lift_harness.doctor.checkpoint import examine
from lift_harness.errors import LiftError
from lift_harness.models import load_model

BASES = {"llada": LLADA, "dream": DREAM}
NAMES = {"llada": "model.transformer.blocks.1.up_proj.weight", "dream": "model.layers.1.mlp.up_proj.weight"}
INDEX = "model.safetensors.index.json"


def error_of(folder, **options):
    with pytest.raises(LiftError) as error:
        load_model(str(folder), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(params=BASES)
def family(request):
    return request.param


# ---- numbers


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}, {"device_map": {"": "cpu"}}])
def test_weights_that_are_not_finite_are_named(value, options, family, tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, BASES[family])
    tensors = all_tensors(folder)
    tensors[NAMES[family]][-1, -1] = value
    write_weights(folder, tensors)
    assert f"{NAMES[family]} holds NaN or infinity at " in error_of(folder, **options)


def test_a_dtype_that_is_too_narrow_for_a_weight_is_named(family, tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, BASES[family])
    tensors = all_tensors(folder)
    tensors[NAMES[family]][0, 0] = 1e5
    write_weights(folder, tensors)
    load_model(str(folder), dtype="bfloat16")
    assert f"{NAMES[family]} holds NaN or infinity at float16; " in error_of(folder, dtype="float16")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn, torch.int32])
def test_weights_without_their_scales_are_named(dtype, family, tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, BASES[family])
    tensors = all_tensors(folder)
    tensors[NAMES[family]] = tensors[NAMES[family]].to(dtype)
    write_weights(folder, tensors)
    message = f"{NAMES[family]} is stored as {str(dtype).removeprefix('torch.')}; quantised checkpoints"
    assert message in error_of(folder)
    assert any(message in problem for problem in examine(str(folder)).problems)


# ---- files


@pytest.mark.parametrize("where", [{}, None, [], {"model.transformer.wte.weight": 3}])
def test_an_index_that_names_nothing(where, tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, LLADA, shards=2)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert f"{INDEX}: its weight_map names no shards" in error_of(folder)
    [problem] = examine(str(folder), prompt_length=8, gen_length=8).problems
    assert "its weight_map names no shards" in problem


def test_a_file_without_tensors(tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, LLADA)
    save_file({}, folder / "model.safetensors")
    assert "model.safetensors holds no tensors" in error_of(folder)
    assert "holds no tensors" in examine(str(folder), prompt_length=8, gen_length=8).problems[0]


# ---- attention


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize(("written", "given", "used"), [
    ("flash_attention_2", "sdpa", "sdpa"),
    ("flash_attention_2", "eager", "eager"),
    ("sdpa", "eager", "eager"),
    ("eager", "sdpa", "sdpa"),
    ("eager", None, "eager"),
    (None, None, "sdpa"),
    (None, "eager", "eager"),
])  # fmt: skip
def test_an_argument_overrides_the_attention_of_config_json(
    key, written, given, used, family, tokenizer, tmp_path
):
    folder = write_checkpoint(tmp_path, tokenizer, BASES[family], **{key: written})
    model, _ = load_model(str(folder), attn_implementation=given)
    assert model.config._attn_implementation == used
    assert {
        module.config._attn_implementation for module in model.modules() if hasattr(module, "config")
    } == {used}


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_an_attention_of_config_json_that_is_not_here_names_the_way_out(
    key, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folder = write_checkpoint(tmp_path, tokenizer, LLADA, **{key: "flash_attention_2"})
    message = error_of(folder)
    assert "config.json: attn_implementation='flash_attention_2' needs the package flash_attn" in message
    assert "attn_implementation=sdpa overrides it" in message
    assert any("flash_attn" in problem for problem in examine(str(folder)).problems)
