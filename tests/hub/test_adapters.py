"""An adapter of the Hub wherever one is named, and what is said where there is none."""

import io
import json
import shutil

import pytest
from rich.console import Console
from support.tiny_runs import run

from lift_harness.cli import main
from lift_harness.errors import LiftError
from lift_harness.models.checkpoint import find_adapter
from lift_harness.models.identity import checkpoint_id


@pytest.fixture
def adapter(finished, hub):
    """(its folder, its commit) of me/tiny."""
    folder = finished / "lift-h3/train/adapter"
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    code = {"tricks.py": b"raise SystemExit('run')", "training_args.bin": b"pickle"}
    return folder, hub.add("me/tiny", {**files, **code, "sub/adapter_model.safetensors": b""})


def typed(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["lift-harness", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out, err = capsys.readouterr()
    assert not stopped.value.code, err
    return out


def test_only_its_files_are_fetched(adapter):
    folder, commit = adapter
    found = find_adapter("me/tiny")
    assert sorted(file.name for file in found.rglob("*")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert find_adapter(f"me/tiny@{commit}") == found == find_adapter(f"me/tiny@{commit[:40]}")


def test_a_branch_is_a_revision(adapter, hub):
    folder, commit = adapter
    other = hub.add("me/tiny", {"adapter_config.json": b"{}"}, revision="v2")
    assert json.loads((find_adapter("me/tiny@v2") / "adapter_config.json").read_text()) == {}
    assert find_adapter("me/tiny@v2").name == other and find_adapter("me/tiny").name == commit


def test_every_command_takes_its_name(adapter, tmp_path, monkeypatch, capsys):
    folder, _ = adapter
    ask = ["generate", "Expression: 3 + 4", "--set", "gen_length=16", "--json", "--peft"]
    by_name, by_folder = (json.loads(typed(monkeypatch, capsys, *ask, peft)) for peft in ("me/tiny", folder))
    assert by_name["confidence"] == by_folder["confidence"]
    assert json.loads(typed(monkeypatch, capsys, "doctor", "lift-tiny", "--peft", "me/tiny", "--json"))[
        "adapter"
    ]
    for peft, out in (("me/tiny", "a"), (folder, "b")):
        typed(monkeypatch, capsys, "merge", "lift-tiny", peft, tmp_path / out)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    told = ["--tasks", "sudoku_mini", "--limit", "1", "--gen_kwargs", "gen_length=40,steps=1"]
    typed(
        monkeypatch,
        capsys,
        "eval",
        "--model",
        "lift-tiny",
        "--peft",
        "me/tiny",
        *told,
        "--output",
        tmp_path / "e",
    )
    (results,) = (tmp_path / "e").rglob("results_*.json")
    assert json.loads(results.read_text())["config"]["peft"] == "me/tiny"


def test_results_of_it_are_told_by_its_content(adapter):
    class Loaded:
        config = None

    folder, _ = adapter
    assert checkpoint_id(Loaded, "lift-tiny", "me/tiny") == checkpoint_id(Loaded, "lift-tiny", str(folder))


def test_a_folder_of_that_name_comes_first(adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(adapter[0], tmp_path / "me/tiny")
    assert str(find_adapter("me/tiny")) == "me/tiny"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("me/none", "no adapter folder 'me/none', and no such adapter on the Hub"),
        ("me/tiny@v9", "'me/tiny' has no revision 'v9' on the Hub"),
        ("me/tiny@", "no adapter in 'me/tiny@': give a folder with adapter_config.json, or a Hub id"),
        ("nowhere", "no adapter in 'nowhere': give a folder"),
        ("../x", "no adapter in '../x'"),
        ("a/b/c", "no adapter in 'a/b/c'"),
    ],
)
def test_what_is_none(name, said, adapter):
    with pytest.raises(LiftError) as error:
        find_adapter(name)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_without_a_network_the_cache_holds_what_was_fetched(adapter, hub, monkeypatch):
    found = find_adapter("me/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find_adapter("me/tiny") == found
    with pytest.raises(LiftError, match="cannot reach the Hugging Face Hub for 'me/other'"):
        find_adapter("me/other")


# ---------------------------------------------------------------- the card beside it


def test_the_card_beside_an_adapter_is_for_people(copied, finished):
    """It names base and recipe, nothing depends on it, and who goes on writing it trains nothing anew."""

    card = copied / "lift-h3/train/adapter/README.md"
    assert "--model lift-tiny --peft ADAPTER" in card.read_text() and "## Results" not in card.read_text()
    record = json.loads((copied / "lift-h3/train.json").read_text())
    assert sorted(record["files"]) == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    card.write_text("my own words")
    console = Console(file=io.StringIO(), width=200)
    run(copied, console=console)
    assert card.read_text() == "my own words" and "not as it was written" not in console.file.getvalue()
    assert (copied / "results.json").read_bytes() == (finished / "results.json").read_bytes()
