"""Official checkpoints in every on-disk variant: they load, they save back bit by bit under their names."""

import json
import subprocess
import sys

import pytest
import torch
from support.checkpoints import (
    DREAM,
    LLADA,
    all_tensors,
    dream_shapes,
    llada_shapes,
    write_checkpoint,
    write_weights,
)
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, BertConfig, BertForMaskedLM

from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.models.configuration_dream import DreamConfig
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.models.masked_lm import MaskedLM
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_llada import LLaDAModelLM

VARIANTS = {
    "llada": (LLADA, {}),
    "llada-sharded": (LLADA, {"shards": 3}),
    "llada-bf16": (LLADA, {"dtype": torch.bfloat16}),
    "llada-grouped": (LLADA, {"n_kv_heads": 2}),
    "llada-tied": (LLADA, {"weight_tying": True, "shards": 2}),
    "llada-biased": (LLADA, {"include_bias": True, "bias_for_layer_norm": False}),
    "llada-qkv-biased": (LLADA, {"include_qkv_bias": True, "dtype": torch.float16}),
    "dream": (DREAM, {}),
    "dream-sharded-bf16": (DREAM, {"shards": 3, "dtype": torch.bfloat16}),
    "dream-ungrouped": (DREAM, {"num_key_value_heads": 4}),
    "dream-tied": (DREAM, {"tie_word_embeddings": True}),
}


@pytest.fixture(scope="module")
def written(tokenizer, tmp_path_factory):
    """written(variant): its folder, made once."""
    root, made = tmp_path_factory.mktemp("variants"), {}

    def folder(variant):
        if variant not in made:
            base, changes = VARIANTS[variant]
            made[variant] = write_checkpoint(root / variant, tokenizer, base, **changes)
        return made[variant]

    return folder


@pytest.fixture
def small(tokenizer, tmp_path):
    """A checkpoint in three shards, to damage."""
    return write_checkpoint(tmp_path / "small", tokenizer, LLADA, shards=3)


def error_of(folder, **options):
    with pytest.raises(LiftError) as error:
        load_model(str(folder), **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- round trips


@pytest.mark.parametrize("variant", VARIANTS)
def test_load_save_load_is_bit_exact_under_the_official_names(variant, written, tmp_path):
    folder = written(variant)
    stored = all_tensors(folder)
    model, tokenizer = load_model(str(folder))
    assert {p.dtype for p in model.parameters()} == {next(iter(stored.values())).dtype}
    model.save_pretrained(tmp_path / "again", max_shard_size="40KB" if "sharded" in variant else "5GB")
    tokenizer.save_pretrained(tmp_path / "again")
    again = all_tensors(tmp_path / "again")
    assert again.keys() == stored.keys()
    for name, tensor in stored.items():
        assert again[name].dtype == tensor.dtype and torch.equal(again[name], tensor), name
    assert (len(list((tmp_path / "again").glob("*.safetensors"))) > 1) == ("sharded" in variant)
    loaded, _ = load_model(str(tmp_path / "again"))
    ids = torch.arange(24).view(2, 12)
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, loaded(ids).logits)


@pytest.mark.parametrize("variant", ["llada-sharded", "dream-sharded-bf16", "llada-tied", "dream-tied"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_dtype_is_the_stored_numbers_converted(variant, dtype, written):
    model, _ = load_model(str(written(variant)), dtype=dtype)
    assert model.dtype == dtype and model.config.dtype == dtype
    own = model.state_dict()
    for name, tensor in all_tensors(written(variant)).items():
        assert torch.equal(own[name], tensor.to(dtype)), name


def test_the_dtype_of_config_json_comes_before_the_stored_one(written, tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, LLADA)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "bfloat16"}))
    assert load_model(str(folder))[0].dtype == torch.bfloat16
    assert load_model(str(folder), dtype="float32")[0].dtype == torch.float32


def test_a_tied_dream_may_store_its_head_as_well(tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, DREAM, tie_word_embeddings=True)
    stored = all_tensors(folder)
    write_weights(folder, stored | {"lm_head.weight": stored["model.embed_tokens.weight"].clone()})
    model, _ = load_model(str(folder))
    assert "lm_head.weight" not in model.state_dict()


@pytest.mark.parametrize("variant", ["llada", "dream"])
@pytest.mark.parametrize("auto", [AutoModel, AutoModelForMaskedLM])
def test_the_auto_classes_know_the_native_models(variant, auto, written):
    folder = written(variant)
    model = auto.from_pretrained(folder)
    assert type(model) is {"llada": LLaDAModelLM, "dream": DreamModel}[variant]
    assert type(AutoConfig.from_pretrained(folder)) in (LLaDAConfig, DreamConfig)
    ids = torch.arange(10)[None]
    with torch.inference_mode():
        assert torch.equal(model.eval()(ids).logits, load_model(str(folder))[0](ids).logits)


# ---- real shapes

LLADA_8B = dict(
    d_model=4096, n_layers=32, n_heads=32, n_kv_heads=32, mlp_hidden_size=12288, rms_norm_eps=1e-5
)
DREAM_7B = dict(hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4)


def meta_shapes(model_class, config):
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in model_class(config).state_dict().items()}


def test_llada_8b_has_the_official_tensors():
    shape = LLADA_8B | dict(vocab_size=126464, embedding_size=126464, weight_tying=False)
    expected = llada_shapes(LLADA | shape)
    assert meta_shapes(LLaDAModelLM, LLaDAConfig(**shape)) == expected
    assert len(expected) == 3 + 32 * 9
    assert sum(torch.Size(size).numel() for size in expected.values()) == 8_015_581_184  # published: 8B
    assert expected["model.transformer.blocks.31.ff_proj.weight"] == (12288, 4096)


def test_dream_7b_has_the_official_tensors():
    shape = DREAM_7B | dict(intermediate_size=18944, vocab_size=152064, tie_word_embeddings=False)
    expected = dream_shapes(DREAM | shape)
    assert meta_shapes(DreamModel, DreamConfig(**shape)) == expected
    assert len(expected) == 3 + 28 * 12
    assert sum(torch.Size(size).numel() for size in expected.values()) == 7_615_616_512  # as Qwen2.5-7B
    assert expected["model.layers.27.self_attn.k_proj.bias"] == (512,)


# ---- another family


@pytest.fixture
def bert(tmp_path):
    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])
    )
    config = BertConfig(vocab_size=13, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    config.update({"intermediate_size": 24, "max_position_embeddings": 32})
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return tmp_path


def test_an_encoder_loads_as_a_diffusion_model(bert):
    model, tokenizer = load_model(str(bert))
    assert isinstance(model, MaskedLM) and not model.training
    assert (tokenizer.mask_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (4, 3, 0)
    ids = torch.tensor([[2, 5, 4, 7, 3]])
    reference = BertForMaskedLM.from_pretrained(bert).eval()
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, reference(ids).logits, atol=1e-6)


def test_an_encoder_without_its_output_head_is_refused(bert):
    stored = all_tensors(bert)
    (bert / "model.safetensors").unlink()
    write_weights(bert, {name: value for name, value in stored.items() if "transform.dense" not in name})
    assert "lacks 2 tensors, the first 'cls.predictions.transform.dense.bias'" in error_of(bert)


# ---- what cannot load


def test_a_missing_shard_is_named(small):
    (small / "model-00002-of-00003.safetensors").unlink()
    assert "the shard 'model-00002-of-00003.safetensors' that model.safetensors.index.json" in error_of(small)


def test_a_damaged_shard_is_named(small):
    file = small / "model-00003-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert "model-00003-of-00003.safetensors: not a whole safetensors file" in error_of(small)


def test_an_index_that_does_not_fit_its_shards(small):
    file = small / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    index["weight_map"]["model.transformer.wte.weight"] = "model-00003-of-00003.safetensors"
    file.write_text(json.dumps(index))
    assert "model-00003-of-00003.safetensors holds 'model.transformer.wte.weight'" in error_of(small)


def test_another_shape_names_the_tensor_and_both_shapes(small):
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"mlp_hidden_size": 64}))
    message = "blocks.0.ff_proj.weight has shape [48, 32], config.json makes it [64, 32]"
    assert message in error_of(small)


def test_tensors_without_a_place_are_an_error(tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, LLADA)
    write_weights(folder, all_tensors(folder) | {"model.transformer.wpe.weight": torch.zeros(8, 32)})
    assert "1 tensors that its config.json has no place for, the first 'model.transformer.wpe.weight'" in (
        error_of(folder)
    )


def test_pickled_weights_are_not_read(small):
    for file in small.glob("model*"):
        file.unlink()
    (small / "pytorch_model.bin").write_bytes(b"")
    assert "pytorch_model.bin, which is not read: convert it to safetensors" in error_of(small)


def test_an_unknown_model_type_says_which_are_known(small):
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    message = error_of(small)
    assert (
        "known: llada, Dream, llada2_moe, " in message
        and ", bert, " in message
        and "docs/adding-a-model.md" in message
    )


def test_a_config_that_is_not_json(small):
    (small / "config.json").write_text("{")
    assert "config.json: not a JSON file" in error_of(small)


def test_a_config_of_wrong_kinds_of_values(small):
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"n_layers": "two"}))
    assert "config.json: n_layers='two' must be of type int" in error_of(small)


def test_without_a_network_the_alternatives_are_named():
    message = error_of("nobody/no-such-model-of-ours")
    assert "cannot reach the Hugging Face Hub for 'nobody/no-such-model-of-ours'" in message
    assert "give a folder" in message and "HF_HUB_OFFLINE=1" in message


def test_a_hub_id_loads_from_the_cache(tokenizer, tmp_path, monkeypatch):
    """As the cache has it: refs/main names a commit, snapshots/COMMIT holds the files."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--tiny"
    write_checkpoint(repo / "snapshots" / commit, tokenizer, LLADA, shards=2)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model, cached_tokenizer = load_model("someone/tiny")
    assert model.config._commit_hash == commit
    assert model.config._name_or_path == cached_tokenizer.name_or_path == "someone/tiny"
    assert "at revision 'v2'" in error_of("someone/tiny", revision="v2")


# ---- options


def test_options_that_cannot_be_met_are_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the package flash_attn" in error_of("lift-tiny", attn_implementation="flash_attention_2")
    assert "must be one of: sdpa, eager" in error_of("lift-tiny", attn_implementation="flash")
    assert "load_in_4bit needs the package bitsandbytes" in error_of("lift-tiny", load_in_4bit=True)
    assert "load_in_8bit needs the package bitsandbytes" in error_of("lift-tiny", load_in_8bit=True)
    assert "exclude each other" in error_of("lift-tiny", load_in_8bit=True, load_in_4bit=True)
    assert "give one of them" in error_of("lift-tiny", device="cpu", device_map="auto")
    assert "device='gpu' is none" in error_of("lift-tiny", device="gpu")
    assert "no fractions" in error_of("lift-tiny", dtype="int64")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    assert "torch finds no GPU here" in error_of("lift-tiny", device="cuda:0")


@pytest.mark.parametrize("variant", ["llada-sharded", "dream"])
def test_a_device_map_gives_the_same_model(variant, written):
    ids = torch.arange(10)[None]
    model, _ = load_model(str(written(variant)), device_map={"": "cpu"}, attn_implementation="eager")
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, load_model(str(written(variant)))[0](ids).logits)


def test_blocks_may_be_offloaded_but_not_the_head(tmp_path):
    part = "model.transformer"
    places = {f"{part}.wte": "cpu", f"{part}.ln_f": "cpu", f"{part}.ff_out": "cpu", f"{part}.blocks": "disk"}
    model, _ = load_model("lift-tiny", device_map=places)
    ids = torch.arange(10)[None]
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, load_model("lift-tiny")[0](ids).logits)
    message = error_of("lift-tiny", device_map=places | {f"{part}.ff_out": "disk"})
    assert "offloads the output projection; give model.transformer.ff_out a device" in message


# ---- memory

PEAK = """
import sys
from lift_harness.models import load_model

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

load_model("lift-tiny")  # what the first load allocates is not the weights'
for dtype in ("auto", "float32"):  # the larger one last: the peak is the process's
    before = status("VmRSS")
    model, _ = load_model(sys.argv[1], dtype=dtype)
    for parameter in model.parameters():
        parameter.view(-1)[::512].sum()  # pages of a mapped file count once they are touched
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    print(weights, (status("VmHWM") - before) / weights)
    del model, parameter
"""


@pytest.fixture(scope="module")
def large(tokenizer, tmp_path_factory):
    """About 400 MB in four shards, bf16."""
    shape = dict(d_model=1024, n_heads=8, n_kv_heads=8, n_layers=15, mlp_hidden_size=2816)
    folder = tmp_path_factory.mktemp("large")
    write_checkpoint(folder, tokenizer, LLADA, n_layers=1)  # for the small files
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text()) | shape | {"torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    noise = torch.randn(2**16).bfloat16()
    tensors = {}
    for name, size in llada_shapes(config).items():
        count = torch.Size(size).numel()
        tensors[name] = noise.repeat(-(-count // len(noise)))[:count].view(size)
    write_weights(folder, tensors, shards=4)
    return folder


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_weights_are_never_in_memory_twice(large):
    """As stored (bf16), and converted while loading."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(large)], capture_output=True, text=True, check=True
    )
    ratios = {int(line.split()[0]): float(line.split()[1]) for line in done.stdout.splitlines()}
    assert min(ratios) > 3.8e8 and len(ratios) == 2
    assert max(ratios.values()) < 1.35, ratios
