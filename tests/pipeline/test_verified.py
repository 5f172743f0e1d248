"""What a stage takes of an earlier one is as that one wrote it, or made again, and never without a word."""

import io
import itertools
import json
import shutil
import time
from hashlib import sha256

import pytest
from rich.console import Console
from support.tiny_runs import run
from support.write_points import contents

from lift_harness.errors import LiftError
from lift_harness.pipeline.reproduce import reproduce


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    run(folder)
    return folder


@pytest.fixture
def copied(first_run, tmp_path):
    return shutil.copytree(first_run, tmp_path / "run")


def run_again(folder, **options):
    """What the same command says."""
    console = Console(file=io.StringIO(), width=1000)
    run(folder, console=console, **options)
    return console.file.getvalue()


def zeroed(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 4] + bytes(len(content) - len(content) // 4))


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def halved(file):
    text = file.read_text()
    assert '"lora_alpha": 64' in text
    file.write_text(text.replace('"lora_alpha": 64', '"lora_alpha": 32'))


def one_digit(file):
    text = file.read_text()
    place = next(i for i in range(len(text) // 2, len(text)) if text[i].isdigit())
    file.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])


def no_json(file):
    file.write_text(file.read_text()[:-20])


ADAPTER = "train/adapter/adapter_model.safetensors"
DAMAGE = [
    (ADAPTER, zeroed, "train", f"{ADAPTER[6:]} is not as it was written"),
    (ADAPTER, cut, "train", "bytes instead of"),
    ("train/adapter/adapter_config.json", halved, "train", "adapter_config.json is not as it was written"),
    ("train.json", one_digit, "train", "train.json is not as it was written"),
    ("train.json", no_json, "train", "train.json cannot be read"),
    ("eval.json", one_digit, "eval", "eval.json is not as it was written"),
    ("eval/one/samples_*.jsonl", one_digit, "eval", ".jsonl is not as it was written"),
]


@pytest.mark.parametrize(
    ("name", "harm", "kind", "said"), DAMAGE, ids=[f"{d[1].__name__} {d[0]}" for d in DAMAGE]
)
def test_what_is_not_as_it_was_written_is_done_again_with_one_line(first_run, copied, name, harm, kind, said):
    (file,) = (copied / "lift-h3").glob(name)
    harm(file)
    lines = [line for line in run_again(copied).splitlines() if "done again" in line]
    assert len(lines) == 1 and lines[0].startswith(f"  lift-h3: {kind}: done again: ") and said in lines[0]
    expected, found = contents(first_run), contents(copied)
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == set()
    assert (copied / "results.json").read_bytes() == (first_run / "results.json").read_bytes()


def test_evaluating_only_stops_where_the_weights_are_not_those_that_were_trained(copied):
    zeroed(copied / "lift-h3" / ADAPTER)
    with pytest.raises(LiftError, match="lift-h3: train is damaged .*is not as it was written") as stopped:
        run(copied, only="eval")
    assert "\n" not in str(stopped.value)


def test_a_record_of_an_earlier_version_is_taken_with_its_weights_and_not_without(copied):
    for kind in ("train", "eval"):
        file = copied / "lift-h3" / f"{kind}.json"
        record = json.loads(file.read_text())
        file.write_text(json.dumps({name: record[name] for name in ("key", "result", "cost", "seconds")}))
    assert "done again" not in run_again(copied)
    zeroed(copied / "lift-h3" / ADAPTER)
    assert "lift-h3: train: done again: " in run_again(copied)


def test_a_changed_result_is_told_from_one_that_does_not_reproduce(copied, tmp_path, capsys):
    manifest = json.loads((copied / "manifest.json").read_text())
    assert manifest["results_sha256"] == sha256((copied / "results.json").read_bytes()).hexdigest()
    said = []
    for harm in (lambda file: None, one_digit):
        harm(copied / "results.json")
        console = Console(file=io.StringIO(), width=1000)
        reproduce(copied, tmp_path / "again", console=console)
        said.append("results.json is not as its run wrote it" in console.file.getvalue())
    assert said == [False, True]


def test_a_clock_that_jumps_back_changes_nothing(first_run, tmp_path, monkeypatch):
    hours = itertools.count(2e9, -3600)
    monkeypatch.setattr(time, "time", lambda: next(hours))
    run(tmp_path / "run")
    assert next(hours) < 2e9 - 3600  # it was looked at
    assert (tmp_path / "run/results.json").read_bytes() == (first_run / "results.json").read_bytes()
    stages = json.loads((tmp_path / "run/manifest.json").read_text())["stages"]
    assert all(stage["seconds"] >= 0 and stage["gpu_hours"] >= 0 for stage in stages.values())
