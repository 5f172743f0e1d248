"""Adapters of this project and of the authors' code: loaded, refused where they do not fit, merged."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from support.checkpoints import DREAM, LLADA, all_tensors, official_shapes, write_checkpoint

from lift_harness.cli import main
from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.models.merging import merge
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_llada import LLaDAModelLM

IDS = torch.arange(40).view(2, 20)
BASES = {"llada": (LLADA, LLaDAModelLM), "dream": (DREAM, DreamModel)}
PREFIX = "base_model.model.model.transformer.blocks"


@pytest.fixture(params=BASES)
def family(request):
    return request.param


@pytest.fixture
def base(family, tokenizer, tmp_path):
    return write_checkpoint(tmp_path / "base", tokenizer, BASES[family][0], shards=2)


@pytest.fixture
def llada(tokenizer, tmp_path):
    return write_checkpoint(tmp_path / "llada", tokenizer, LLADA)


def ours(base, family, folder, **settings):
    """An adapter saved by peft on our model, with weights that are not zero."""
    model = BASES[family][1].from_pretrained(base)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj"], **settings)
    adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.3, generator=generator)
    adapted.save_pretrained(folder)
    return folder


def authors(folder, size=32, blocks=2, projections=("q_proj", "k_proj", "v_proj"), r=4):
    """An adapter as the authors' SFT code leaves it, written file by file."""
    folder.mkdir()
    config = {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": "GSAI-ML/LLaDA-8B-Instruct",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": 2 * r,
        "lora_dropout": 0.05,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": r,
        "rank_pattern": {},
        "target_modules": ["k_proj", "q_proj", "v_proj"],
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(2)
    tensors = {}
    for n in range(blocks):
        for part in projections:
            name = f"{PREFIX}.{n}.{part}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(r, size, generator=generator)
            tensors[f"{name}.lora_B.weight"] = torch.randn(size, r, generator=generator) * 0.1
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def unmerged_logits(base, adapter, family):
    """By peft, with the adapter beside the weights."""
    model = PeftModel.from_pretrained(BASES[family][1].from_pretrained(base), adapter).eval()
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def logits(folder, **options):
    with torch.inference_mode():
        return load_model(str(folder), **options)[0](IDS).logits


def error_of(call, *args, **options):
    with pytest.raises(LiftError) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- the same function


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_merged_and_unmerged_agree(settings, base, family, tmp_path):
    adapter = ours(base, family, tmp_path / "adapter", **settings)
    expected = unmerged_logits(base, adapter, family)
    assert (logits(base) - expected).abs().max() > 0.1
    assert (logits(base, peft=str(adapter)) - expected).abs().max() < 1e-5
    out = merge(str(base), str(adapter), tmp_path / "out")
    assert (logits(out) - expected).abs().max() < 1e-5


def test_the_authors_adapter_is_its_formula(llada, tmp_path):
    """W + alpha / r B A, computed here."""
    adapter = authors(tmp_path / "adapter")
    out = merge(str(llada), str(adapter), tmp_path / "out")
    tensors, before = load_file(adapter / "adapter_model.safetensors"), all_tensors(llada)
    after = all_tensors(out)
    assert after.keys() == before.keys()
    changed = 0
    for name, weight in before.items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{key}.lora_A.weight" in tensors:
            a, b = (tensors[f"{key}.lora_{part}.weight"].double() for part in "AB")
            weight, changed = weight.double() + 2 * b @ a, changed + 1
        assert (after[name].double() - weight).abs().max() < 1e-6, name
    assert changed == 6


def test_a_bf16_base_is_rounded_once(tokenizer, tmp_path):
    base = write_checkpoint(tmp_path / "base", tokenizer, LLADA, dtype=torch.bfloat16)
    adapter = authors(tmp_path / "adapter")
    after = all_tensors(merge(str(base), str(adapter), tmp_path / "out"))
    tensors, before = load_file(adapter / "adapter_model.safetensors"), all_tensors(base)
    name = "model.transformer.blocks.1.k_proj"
    a, b = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    exact = before[f"{name}.weight"].float() + 2 * b @ a
    assert torch.equal(after[f"{name}.weight"], exact.bfloat16())
    loaded, _ = load_model(str(base), peft=str(adapter))
    assert torch.equal(loaded.state_dict()[f"{name}.weight"], after[f"{name}.weight"])


# ---- what is written


def test_the_merged_folder_is_an_official_checkpoint(base, family, tmp_path):
    (base / "modeling_official.py").write_text("# for the official code\n")
    (base / "README.md").write_text("the base's own card\n")
    adapter = ours(base, family, tmp_path / "adapter")
    out = merge(str(base), str(adapter), tmp_path / "deep" / "out", max_shard_size="40KB")
    config = json.loads((base / "config.json").read_text())
    assert json.loads((out / "config.json").read_text()) == config
    after = all_tensors(out)
    assert {name: tuple(tensor.shape) for name, tensor in after.items()} == official_shapes(config)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == after.keys() and len(list(out.glob("*.safetensors"))) > 1
    for file in ("tokenizer.json", "tokenizer_config.json", "modeling_official.py"):
        assert (out / file).read_bytes() == (base / file).read_bytes()
    assert not (out / "README.md").exists() and not (out / "adapter_config.json").exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_another_dtype_is_written_and_said(llada, tmp_path):
    out = merge(str(llada), str(authors(tmp_path / "adapter")), tmp_path / "out", dtype="bfloat16")
    assert {tensor.dtype for tensor in all_tensors(out).values()} == {torch.bfloat16}
    assert json.loads((out / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_nothing_is_written_over(llada, tmp_path):
    adapter, out = authors(tmp_path / "adapter"), tmp_path / "out"
    out.mkdir()
    merge(str(llada), str(adapter), out)  # an empty folder is free
    before = (out / "model.safetensors").read_bytes()
    assert f"{str(out)!r} is not empty" in error_of(merge, str(llada), str(adapter), out)
    assert (out / "model.safetensors").read_bytes() == before
    assert "is a file" in error_of(merge, str(llada), str(adapter), out / "config.json")


def test_a_merge_that_fails_leaves_nothing(llada, tmp_path, monkeypatch):
    adapter, parent = authors(tmp_path / "adapter"), tmp_path / "results"

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lift_harness.models.merging.copy_small_files", full)
    message = error_of(merge, str(llada), str(adapter), parent / "out")
    assert "cannot write" in message and "No space left" in message
    assert list(parent.iterdir()) == []


# ---- adapters that do not fit


def test_an_adapter_of_a_wider_base_names_the_tensor(llada, tmp_path):
    message = error_of(load_model, str(llada), peft=str(authors(tmp_path / "adapter", size=64)))
    assert "blocks.0.k_proj.lora_A.weight has shape [4, 64], this model needs [4, 32]" in message


def test_an_adapter_of_a_deeper_base_names_the_module(llada, tmp_path):
    message = error_of(load_model, str(llada), peft=str(authors(tmp_path / "adapter", blocks=3)))
    assert "belongs to another base: it adapts model.transformer.blocks.2.k_proj" in message


def test_an_adapter_of_another_family(tokenizer, tmp_path):
    base = write_checkpoint(tmp_path / "dream", tokenizer, DREAM)
    message = error_of(load_model, str(base), peft=str(authors(tmp_path / "adapter")))
    assert "it adapts model.transformer.blocks.0.k_proj, which a DreamModel" in message


def test_another_base_name_is_a_warning(llada, tmp_path, caplog):
    adapter = authors(tmp_path / "adapter")
    load_model(str(llada), peft=str(adapter))
    [record] = [record for record in caplog.records if record.name.startswith("lift_harness")]
    assert "was trained on GSAI-ML/LLaDA-8B-Instruct and is put on" in record.message
    assert "\n" not in record.message
    caplog.clear()
    same = shutil.copytree(llada, tmp_path / "LLaDA-8B-Instruct")  # a copy of the Hub's, by its name
    load_model(str(same), peft=str(adapter))
    assert not [record for record in caplog.records if record.name.startswith("lift_harness")]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"x" * 99), "not a whole"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "does not fit this model"),
    ],
)
def test_damaged_adapters(damage, message, llada, tmp_path):
    damage(adapter := authors(tmp_path / "adapter"))
    assert message in error_of(load_model, str(llada), peft=str(adapter))


def test_a_pickled_adapter_loads_as_the_same(llada, tmp_path):
    adapter = authors(tmp_path / "adapter")
    expected = logits(llada, peft=str(adapter))
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    assert torch.equal(logits(llada, peft=str(adapter)), expected)


# ---- the command


def test_the_command(llada, tmp_path, monkeypatch, capsys):
    adapter, out = authors(tmp_path / "adapter"), tmp_path / "out"

    def run(*args):
        monkeypatch.setattr("sys.argv", ["lift-harness", "merge", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, capsys.readouterr()

    assert run(llada, adapter, out, "--dtype", "bfloat16")[0] == 0
    assert next(iter(all_tensors(out).values())).dtype == torch.bfloat16
    code, printed = run(llada, adapter, out)
    assert code == 2 and printed.err.startswith("error: ") and len(printed.err.splitlines()) == 1
