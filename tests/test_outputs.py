"""What a command is to write is tried before it works: one line, exit code 2, nothing written."""

import json
from pathlib import Path
from typing import get_type_hints

import pytest

from lift_harness.cli import app, main

# By (command, parameter): the command line, and the function that does the work.
OUTPUTS = {
    ("eval", "output"): (
        "eval --model lift-tiny --tasks sudoku_mini --output PLACE",
        "lift_harness.lm.evaluation.evaluate_model",
    ),
    ("score", "output"): (
        "score samples.jsonl --task lift_gsm8k --output PLACE",
        "lift_harness.tasks.scoring.rescore.read_log",
    ),
    ("analyze", "output"): (
        "analyze --data sudoku --output PLACE",
        "lift_harness.analysis.run.analyze",
    ),
    ("merge", "out"): ("merge lift-tiny adapter PLACE", "lift_harness.models.merging.merge"),
    ("train-eval", "output"): (
        "train-eval quickstart --output PLACE",
        "lift_harness.pipeline.train_eval.train_eval",
    ),
    ("train", "output"): (
        "train quickstart --output PLACE",
        "lift_harness.pipeline.train_eval.train_eval",
    ),
    ("sweep", "output"): (
        "sweep --tasks sudoku_mini --grid cache=dual --output PLACE",
        "lift_harness.sweep.run.run_sweep",
    ),
    ("merge-runs", "output"): ("merge-runs run --output PLACE", "lift_harness.pipeline.merging.merge_runs"),
    ("reproduce", "output"): (
        "reproduce run --output PLACE",
        "lift_harness.pipeline.reproduce.reproduce",
    ),
    ("compare", "output"): ("compare run --output PLACE", "lift_harness.compare.command.load"),
    ("compare", "flips"): ("compare run --flips PLACE", "lift_harness.compare.command.load"),
    ("annotate", "output"): (
        "data annotate sudoku.jsonl --endpoint http://localhost:1/v1 --model m --output PLACE",
        "lift_harness.pipeline.annotate.examples",
    ),
    ("annotate", "cache"): (
        "data annotate x.jsonl --endpoint http://localhost:1/v1 --model m --cache PLACE",
        "lift_harness.pipeline.annotate.examples",
    ),
    ("report", "output"): ("report run --output PLACE", "lift_harness.report.page.page_data"),
}
INPUTS = {
    ("score", "samples"),
    ("push", "training"),
    ("merge-runs", "runs"),
    ("reproduce", "run"),
    ("compare", "paths"),
    ("report", "run"),
    ("sweep", "file"),
}
FILES = [
    ("score", "output"),
    ("compare", "output"),
    ("compare", "flips"),
    ("report", "output"),
    ("annotate", "output"),
    ("annotate", "cache"),
]
PLACES = {  # file: what there is, or not
    "below-a-file/x": "Not a directory",
    "/proc/nothing/x": "No such file or directory",
}
FILE_PLACES = {**PLACES, "missing/x": "No such file or directory", "run": "Is a directory"}
CASES = [(key, place) for key in OUTPUTS for place in (FILE_PLACES if key in FILES else PLACES)]


def paths(commands):
    """(command, parameter) of all that take a path."""
    for group in commands.registered_groups:
        yield from paths(group.typer_instance)
    for command in commands.registered_commands:
        for name, hint in get_type_hints(command.callback).items():
            if "pathlib.Path" in str(hint):
                yield command.name, name


def test_every_path_of_the_command_line_is_known_here():
    assert {*paths(app)} == {*OUTPUTS, *INPUTS}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "below-a-file").write_text("x")
    (tmp_path / "samples.jsonl").write_text(json.dumps({"doc": {"answer": "#### 1"}, "resps": [["1"]]}))
    return tmp_path


def run(monkeypatch, line):
    monkeypatch.setattr("sys.argv", ["lift-harness", *line.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize(("key", "place"), CASES, ids=lambda value: "-".join(value) if value else "")
def test_it_is_refused_before_the_work(folder, monkeypatch, capsys, key, place):
    line, work = OUTPUTS[key]

    def began(*_, **__):
        raise AssertionError("the work began")

    monkeypatch.setattr(work, began)
    before = sorted(folder.rglob("*"))
    assert run(monkeypatch, line.replace("PLACE", place)) == 2
    said = capsys.readouterr()
    reason = FILE_PLACES[place]
    if place.startswith("/proc") and key not in FILES:
        assert said.err.startswith("error: /proc/nothing/x: cannot be written: ")
    else:
        assert said.err == f"error: {place}: cannot be written: {reason}; give another place\n"
    assert not said.out and sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", ["report run", "score samples.jsonl --task lift_gsm8k"])
def test_so_are_places_that_the_command_chooses(folder, monkeypatch, capsys, command):
    (folder / "run" / "results.json").write_text("{}")
    for name in ("run/report.html", "samples.scored.jsonl"):
        (folder / name).mkdir()
    assert run(monkeypatch, command) == 2
    assert "cannot be written: Is a directory" in capsys.readouterr().err


def test_links_of_a_foreign_folder_are_replaced(folder, monkeypatch):
    """`report.html` and the scored log of a run that somebody else made lead to files of the user's."""
    for name in ("run/report.html", "samples.scored.jsonl"):
        Path("victim").write_text("mine")
        Path(name).symlink_to(folder / "victim")
    (folder / "run" / "recipe.yaml").write_text("name: theirs")
    assert run(monkeypatch, "report run") == run(monkeypatch, "score samples.jsonl --task lift_gsm8k") == 0
    assert Path("victim").read_text() == "mine"
    assert "<html" in Path("run/report.html").read_text() and Path("samples.scored.jsonl").is_file()


def test_two_outputs_are_two_files(folder, monkeypatch, capsys):
    assert run(monkeypatch, "compare run --output x.md --flips ./x.md") == 2
    assert "--output and --flips both name x.md" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["train-eval quickstart", "train quickstart", "analyze --data sudoku", "sweep"]
)
def test_a_folder_is_kept_or_replaced(monkeypatch, capsys, command):
    assert run(monkeypatch, f"{command} --resume --overwrite") == 2
    assert "give one of them" in capsys.readouterr().err
