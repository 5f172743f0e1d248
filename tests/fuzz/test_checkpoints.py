"""Checkpoints and adapters with something wrong in any file: read by every command that loads one."""

import shutil

import pytest
from support.fuzzing import command, complaints

# The file, how many things are wrong in it one after the other, the commands that read it.
FILES = {
    "base/config.json": (60, "doctor", "generate"),
    "base/tokenizer_config.json": (30, "doctor", "generate"),
    "base/tokenizer.json": (30, "doctor", "generate"),
    "base/chat_template.jinja": (16, "doctor", "generate"),
    "base/model.safetensors.index.json": (40, "doctor", "generate"),
    "base/model-00001-of-00002.safetensors": (16, "doctor", "generate"),
    "adapter/adapter_config.json": (40, "doctor-adapter", "generate-adapter"),
    "adapter/adapter_model.safetensors": (16, "doctor-adapter", "generate-adapter"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from peft import LoraConfig, get_peft_model

    from lift_harness.models import load_model
    from lift_harness.pipeline.training import save_adapter

    folder = tmp_path_factory.mktemp("fuzz")
    model, tokenizer = load_model("lift-tiny")
    model.save_pretrained(folder / "base", max_shard_size="3MB")
    tokenizer.save_pretrained(folder / "base")
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    save_adapter(get_peft_model(model, lora), folder / "adapter", "base")
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


ONE = ("--set", "gen_length=1", "--set", "steps=1", "--set", "block_length=1")
COMMANDS = {
    "doctor": ("doctor", "base", "--json"),
    "generate": ("generate", "1 + 1?", "-m", "base", *ONE),
    "doctor-adapter": ("doctor", "base", "--peft", "adapter"),
    "generate-adapter": ("generate", "1 + 1?", "-m", "base", "--peft", "adapter", *ONE),
    "eval": (
        "eval",
        "--tasks",
        "lift_sudoku_mini",
        "--model",
        "base",
        "--limit",
        "1",
        "--gen_kwargs",
        "gen_length=40",
    ),
    "analyze": ("analyze", "--model", "base", "--data", "countdown", "--examples", "2", "--bootstrap", "2"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_of_a_checkpoint_is_refused(folder, name):
    count, *names = FILES[name]
    assert complaints(folder / name, count, *(COMMANDS[each] for each in names)) == []


@pytest.mark.parametrize(
    "name", ["base/config.json", "adapter/adapter_config.json", "base/tokenizer_config.json"]
)
def test_nothing_is_merged_of_a_bad_file(folder, name):
    found = complaints(folder / name, 6, ("merge", "base", "adapter", "merged"), seed=1)
    shutil.rmtree(folder / "merged", ignore_errors=True)
    assert found == []


@pytest.mark.parametrize("name", ["eval", "analyze"])
def test_a_bad_configuration_is_refused_before_an_evaluation(folder, name):
    arguments = (*COMMANDS[name], *(("--overwrite", "--output", "analysis") if name == "analyze" else ()))
    assert complaints(folder / "base/config.json", 6, arguments, seed=2) == []


def test_the_commands_work_on_the_files_themselves(folder):
    for name in COMMANDS:
        done = command(*COMMANDS[name])
        assert done[0] == 0, done
    assert command("merge", "base", "adapter", "merged")[0] == 0
    shutil.rmtree(folder / "merged")
