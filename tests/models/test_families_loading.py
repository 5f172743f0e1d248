"""The families on the backbone through `load_model`, `merge`, adapters and `doctor`, and what they refuse."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from support.checkpoints import all_tensors, write_weights
from support.families_reference import CONFIGS, write_family
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from lift_harness.doctor.checkpoint import examine, model_lines
from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.models.chat import end_of_turn_id
from lift_harness.models.merging import merge
from lift_harness.models.tokenization import MASKS
from lift_harness.pipeline.plan import recipe_shape

IDS = torch.arange(22).view(2, 11)


@pytest.fixture(params=CONFIGS)
def family(request):
    return request.param


@pytest.fixture
def folder(family, tokenizer, tmp_path):
    return write_family(tmp_path / "base", family, tokenizer)


def error_of(folder, **options):
    with pytest.raises(LiftError) as error:
        load_model(str(folder), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def same(one, other):
    """Bit by bit the same weights; products differ in the last bits with their place in the file."""
    theirs = other.state_dict()
    equal = all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())
    return equal and (logits(one) - logits(other)).abs().max() < 1e-4


def change(folder, **changes):
    file = folder / "config.json"
    kept = {key: value for key, value in (json.loads(file.read_text()) | changes).items() if value is not ...}
    file.write_text(json.dumps(kept))


# ---- both ways


def test_load_save_load(family, folder, tmp_path):
    model, tokenizer = load_model(str(folder))
    model.save_pretrained(tmp_path / "again", max_shard_size="60KB")
    tokenizer.save_pretrained(tmp_path / "again")
    stored, again = all_tensors(folder), all_tensors(tmp_path / "again")
    assert again.keys() == stored.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in stored.items())
    other, _ = load_model(str(tmp_path / "again"))
    assert same(other, model) and other.block_size == model.block_size
    assert type(other) is type(model)


@pytest.mark.parametrize("family", [f for f in CONFIGS if not f.startswith("llada-moe")], indirect=True)
@pytest.mark.parametrize("auto", [AutoModel, AutoModelForMaskedLM])
def test_the_auto_classes_know_the_families(auto, family, folder):
    config = AutoConfig.from_pretrained(folder)
    config._attn_implementation = "sdpa"
    model = auto.from_pretrained(folder, config=config).eval()
    assert same(model, load_model(str(folder))[0])


def test_bfloat16(family, folder):
    model, _ = load_model(str(folder), dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert logits(model).isfinite().all()


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_peft_folds_and_merges(family, folder, tmp_path):
    model, _ = load_model(str(folder))
    targets = ["query_key_value", "dense"] if family.startswith("llada2") else ["q_proj", "v_proj", "o_proj"]
    if family == "llada2":
        targets.append("experts.3.up_proj")
    adapted = get_peft_model(copy.deepcopy(model), LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.2, generator=generator)
    adapted.save_pretrained(tmp_path / "adapter")
    expected = logits(PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "adapter").eval())
    assert (expected - logits(model)).abs().max() > 1e-3
    folded, _ = load_model(str(folder), peft=str(tmp_path / "adapter"))
    assert (logits(folded) - expected).abs().max() < 1e-4
    out = merge(str(folder), str(tmp_path / "adapter"), tmp_path / "merged")
    assert same(load_model(str(out))[0], folded)
    assert all_tensors(out).keys() == all_tensors(folder).keys()


def test_doctor_finds_no_problem(family, folder):
    report = examine(str(folder), prompt_length=8, gen_length=8)
    assert report.problems == []
    assert report.active_parameters <= report.parameters
    assert (report.active_parameters < report.parameters) == ("num_experts" in CONFIGS[family])


@pytest.mark.parametrize("family", ["llada2"], indirect=True)
def test_a_dry_run_counts_what_a_token_passes_through(folder):
    report = examine(str(folder), prompt_length=8, gen_length=8)
    counted = recipe_shape(SimpleNamespace(model=str(folder), loading={}), None).parameters
    assert counted == (report.parameters, report.active_parameters)
    assert f"{counted.total:,}, {counted.active:,} active" in model_lines(report)["parameters"]
    assert "blocks of 32" in model_lines(report)["type"]


# ---- dFactory's stacked experts


def stacked(folder, shards):
    """The same checkpoint in dFactory's form."""
    tensors = load_file(folder / "model.safetensors")
    made = {name: tensor for name, tensor in tensors.items() if ".mlp.experts." not in name}
    for layer in (1, 2):
        for part in ("gate_proj", "up_proj", "down_proj"):
            name = f"model.layers.{layer}.mlp.experts"
            made[f"{name}.{part}"] = torch.stack([tensors[f"{name}.{e}.{part}.weight"] for e in range(8)])
    (folder / "model.safetensors").unlink()
    write_weights(folder, made, shards)
    change(folder, model_type="llada2_moe_veomni")


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
def test_stacked_experts_are_read_and_saved_one_by_one(shards, dtype, tokenizer, tmp_path):
    folder = write_family(tmp_path / "base", "llada2", tokenizer)
    expected = load_model(str(folder), dtype=dtype)[0]
    official = all_tensors(folder)
    stacked(folder, shards)
    assert examine(str(folder), prompt_length=8, gen_length=8).problems == []
    model, _ = load_model(str(folder), dtype=dtype)
    assert same(model, expected)
    model.save_pretrained(tmp_path / "again")
    assert all_tensors(tmp_path / "again").keys() == official.keys()
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == "llada2_moe"


def test_a_stack_of_another_number_is_refused(tokenizer, tmp_path):
    folder = write_family(tmp_path / "base", "llada2", tokenizer)
    stacked(folder, 1)
    change(folder, num_experts=4)
    message = error_of(folder)
    assert "config.json says num_experts=4, the files hold 8 a layer" in message


@pytest.mark.filterwarnings("ignore")
def test_a_merge_of_stacked_experts_says_what_it_wrote(tokenizer, tmp_path):
    folder = write_family(tmp_path / "base", "llada2", tokenizer)
    stacked(folder, 1)
    adapted = get_peft_model(load_model(str(folder))[0], LoraConfig(r=2, target_modules=["dense"]))
    adapted.save_pretrained(tmp_path / "adapter")
    out = merge(str(folder), str(tmp_path / "adapter"), tmp_path / "merged")
    assert json.loads((out / "config.json").read_text())["model_type"] == "llada2_moe"
    assert same(load_model(str(out))[0], load_model(str(folder))[0])


# ---- blocks and ids


def test_the_block_size_may_be_given(tokenizer, tmp_path):
    folder = write_family(tmp_path / "base", "a2d-qwen3", tokenizer)
    plain, _ = load_model(str(folder))
    blocks, _ = load_model(str(folder), block_size=4)
    assert (plain.block_size, blocks.block_size) == (None, 4)
    assert not torch.equal(logits(plain), logits(blocks))
    blocks.save_pretrained(tmp_path / "again")
    tokenizer.save_pretrained(tmp_path / "again")
    assert same(load_model(str(tmp_path / "again"))[0], blocks)
    other = write_family(tmp_path / "fast", "fast-dllm", tokenizer)
    assert load_model(str(other), block_size=16)[0].config.bd_size == 16


@pytest.mark.parametrize("family", ["llada-moe", "dream", "illada"], indirect=True)
def test_bidirectional_models_have_no_blocks(folder):
    message = error_of(folder, block_size=8)
    assert "block_size=8: " in message and "models are bidirectional and have no blocks" in message


@pytest.mark.parametrize("value", [0, -4, 2.5, True, "8"])
def test_a_block_size_is_a_positive_whole_number(value, tokenizer, tmp_path):
    folder = write_family(tmp_path / "base", "sdar", tokenizer)
    assert f"block_size={value!r} must be a positive whole number" in error_of(folder, block_size=value)
    change(folder, block_size=value)
    assert f"config.json: block_size={value!r} must be " in error_of(folder)


@pytest.mark.parametrize(
    ("family", "key"), [("sdar", "block_size"), ("fast-dllm", "bd_size")], indirect=["family"]
)
def test_a_block_model_without_blocks_is_refused(folder, key):
    change(folder, **{key: None})
    assert f"config.json: {key}=None must be of type int" in error_of(folder)


@pytest.fixture
def unnamed(tokenizer):
    """unnamed(token): a tokenizer that holds `token` and calls nothing its mask."""

    def made(token):
        other = copy.deepcopy(tokenizer)
        other.mask_token = None
        other.add_tokens([token], special_tokens=True)
        return other

    return made


@pytest.mark.parametrize("token", MASKS)
def test_the_mask_is_the_published_token_where_nothing_names_it(token, unnamed, tmp_path):
    other = unnamed(token)
    folder = write_family(tmp_path / "base", "llada2", other, mask_token_id=None)
    model, tokenizer = load_model(str(folder))
    assert tokenizer.mask_token == token
    assert model.config.mask_token_id == other.convert_tokens_to_ids(token) == tokenizer.mask_token_id


def test_a_mask_that_is_nowhere_is_an_error(unnamed, tmp_path):
    folder = write_family(tmp_path / "base", "llada2", unnamed("<|other|>"), mask_token_id=None)
    assert "neither config.json nor the tokenizer has a mask token; give its id" in error_of(folder)
    assert load_model(str(folder), mask_token_id=7)[1].mask_token_id == 7


def test_an_end_of_text_may_stand_in_generation_config(tokenizer, tmp_path):
    """SDAR: config.json has the end of text, generation_config.json the end of turn beside it."""
    folder = write_family(tmp_path / "base", "sdar", tokenizer, eos_token_id=9)
    assert "config.json has eos_token_id=9" in error_of(folder)
    ends = {"eos_token_id": [tokenizer.eos_token_id, 9]}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    assert load_model(str(folder))[1].eos_token_id == tokenizer.eos_token_id


def test_llada2_ends_its_turns_by_its_own_token(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["<|role_end|>"], special_tokens=True)
    other.chat_template = (
        "{% for m in messages %}<role>HUMAN</role>{{ m['content'] }}<|role_end|>{% endfor %}"
    )
    assert end_of_turn_id(other) == other.convert_tokens_to_ids("<|role_end|>")


# ---- what is refused


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llada2", {"num_experts": 16}, "config.json says num_experts=16, the files hold 8 a layer"),
        ("llada2", {"n_group": 3}, "num_experts=8, n_group=3, topk_group=2 do not divide"),
        ("llada2", {"topk_group": 5}, "n_group=4, topk_group=5 do not divide"),
        (
            "llada2",
            {"num_experts_per_tok": 5},
            "num_experts_per_tok=5 is more than the 4 experts to choose from",
        ),
        ("llada2", {"num_experts_per_tok": 0}, "num_experts_per_tok=0 must be at least 1"),
        ("sdar_moe", {"num_experts_per_tok": 7}, "num_experts_per_tok=7 is more than the 6 experts"),
        ("llada2", {"score_function": "softmax"}, "score_function='softmax' is not supported for llada2_moe"),
        ("llada2", {"norm_head": True}, "norm_head=True is not supported for llada2_moe"),
        ("llada2", {"partial_rotary_factor": 0.05}, "makes 0 rotated numbers"),
        ("llada2", {"insert_head": True}, "insert_head=True is not computed for llada2_moe models"),
        (
            "llada2",
            {"model_type": "llada2_2_moe"},
            "model_type='llada2_2_moe', which lift-harness cannot decode",
        ),
        ("sdar", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling={'rope_type': 'yarn'"),
        ("sdar", {"use_sliding_window": True}, "use_sliding_window=True is not supported for sdar"),
        (
            "sdar",
            {"layer_types": ["sliding_attention"]},
            "layer_types=['sliding_attention'] is not supported",
        ),
        ("sdar", {"num_key_value_heads": 3}, "num_key_value_heads=3 do not divide"),
        ("llada-moe", {"moe_layer_freq": [1]}, "moe_layer_freq=[1] is not supported for llada"),
        ("llada-moe", {"n_group": 4}, "n_group=4 is not computed for llada models"),
        ("illada", {"layer_norm_eps": 1e-5}, "layer_norm_eps=1e-05 is not supported for illada"),
        ("a2d-llama", {"pretraining_tp": 2}, "pretraining_tp=2 is not supported for a2d-llama"),
    ],
    indirect=["family"],
)
def test_another_kind_is_refused_by_name(family, folder, changes, message):
    change(folder, **changes)
    assert message in error_of(folder)
    assert any(message in problem for problem in examine(str(folder)).problems)


@pytest.mark.parametrize("family", ["llada2"], indirect=True)
def test_tensors_of_another_kind_are_refused_by_name(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"model.insert_head.weight": torch.zeros(2, 32)}, folder / "model.safetensors")
    assert "'model.insert_head.weight'; it computes something else" in error_of(folder)


def test_a_default_scaling_of_positions_is_none(tokenizer, tmp_path):
    scaling = {"rope_type": "default", "factor": 1.0}
    scaled = write_family(tmp_path / "scaled", "illada", tokenizer, rope_scaling=scaling)
    plain = write_family(tmp_path / "plain", "illada", tokenizer)
    assert same(load_model(str(scaled))[0], load_model(str(plain))[0])
