"""A recipe in parts, as the jobs of an array do it, and the run that they make together."""

import json
import shutil

import pytest
from support.tiny_runs import TINY, run

from lift_harness.cli import main
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.pipeline.merging import merge_runs
from lift_harness.pipeline.stages import checksum

SEEDS = ["seeds=2"]
PARTS = ("base", "lift-h3/0", "lift-h3/1")


def merge(runs, output):
    return merge_runs(runs, output, Console(quiet=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, run(folder, SEEDS)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    made = [folder / str(i) for i in range(len(PARTS))]
    for place, part in zip(made, PARTS, strict=True):
        run(place, SEEDS, select=[part])
    return made


def stages(folder):
    return {
        str(file.relative_to(folder)) for kind in ("train", "eval") for file in folder.rglob(f"{kind}.json")
    }


def test_parts_do_what_they_name_and_together_give_the_run(whole, parts, tmp_path):
    assert [stages(part) for part in parts] == [
        {"base/eval.json"},
        {"lift-h3/seed-0/train.json", "lift-h3/seed-0/eval.json"},
        {"lift-h3/seed-1/train.json", "lift-h3/seed-1/eval.json"},
    ]
    assert merge(parts, tmp_path / "run") == whole[1]
    for name in ("results.json", "recipe.yaml"):
        assert (tmp_path / "run" / name).read_bytes() == (whole[0] / name).read_bytes()
    ours, theirs = (
        json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path / "run", whole[0])
    )
    assert [part["run"] for part in ours.pop("merged")] == [str(part) for part in parts]
    assert ours.keys() == theirs.keys() and list(ours["stages"]) == list(theirs["stages"])
    for name, stage in theirs["stages"].items():
        assert ours["stages"][name]["key"] == stage["key"]
        assert ours["stages"][name]["forward_passes"] == stage["forward_passes"]
    assert ours["results_sha256"] == theirs["results_sha256"]
    assert (tmp_path / "run" / "report.html").is_file()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("eval.json")}
    assert run(tmp_path / "run", SEEDS) == whole[1]  # nothing is done again
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_parts_in_one_folder_one_after_the_other_become_the_run(whole, parts, tmp_path):
    shutil.copytree(parts[0], tmp_path / "run")
    for part in PARTS[1:]:
        found = run(tmp_path / "run", SEEDS, select=[part])
    assert found == whole[1]


def test_a_merge_that_was_killed_goes_on(whole, parts, tmp_path, monkeypatch):
    from lift_harness.pipeline import merging

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merging, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(parts, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "lift-h3" / "seed-1" / "train" / "adapter")  # half a copy
    assert merge(parts, tmp_path / "run") == whole[1]


@pytest.mark.parametrize(
    "wrong", ["recipe", "missing", "damaged", "key", "stranger", "unequal", "unfinished", "none"]
)
def test_what_does_not_belong_is_refused_by_name_and_nothing_is_written(parts, tmp_path, wrong):
    runs = [tmp_path / name for name in "abc"]
    for origin, copied in zip(parts, runs, strict=True):
        shutil.copytree(origin, copied)
    record = runs[1] / "lift-h3" / "seed-0" / "train.json"
    if wrong == "recipe":
        text = (runs[1] / "recipe.yaml").read_text()
        (runs[1] / "recipe.yaml").write_text(text.replace("max_steps: 2", "max_steps: 3"))
        said = f"{runs[1]} is a run of another recipe than {runs[0]}: training.max_steps is 3 there, not 2"
    elif wrong == "missing":
        runs.pop(1)
        said = (
            "lift-h3/seed-0/train is in none of the runs; run train-eval with --select lift-h3/0, then merge"
        )
    elif wrong == "damaged":
        (record.parent / "train" / "adapter" / "adapter_config.json").write_text("{}")
        said = f"{runs[1]}: lift-h3/seed-0/train is not the recipe's ("
    elif wrong == "key":
        rewrite(record, key="0" * 64)
        said = f"{runs[1]}: lift-h3/seed-0/train is not the recipe's (its key is another"
    elif wrong == "stranger":
        shutil.copytree(runs[1] / "lift-h3", runs[1] / "cart")
        said = f"{runs[1]}: cart/seed-0 is no method or seed of the recipe"
    elif wrong == "unequal":
        shutil.copytree(runs[1] / "lift-h3" / "seed-0", runs[2] / "lift-h3" / "seed-0")
        other = runs[2] / "lift-h3" / "seed-0" / "eval.json"
        rewrite(other, result={"lift_sudoku_mini": {}})
        said = f"lift-h3/seed-0/eval came out differently in {runs[1]} and in {runs[2]}"
    elif wrong == "unfinished":
        (runs[1] / "manifest.json").unlink()
        said = f"{runs[1]}: no readable manifest.json"
    else:
        runs[1] = tmp_path / "nothing"
        said = f"{runs[1]}: no recipe.yaml; give the folder of a train-eval run"
    with pytest.raises(LiftError) as refused:
        merge(runs, tmp_path / "run")
    assert str(refused.value).startswith(said) and not (tmp_path / "run").exists()


def rewrite(file, **values):
    """Change a record, with its checksum."""
    record = json.loads(file.read_text()) | values
    file.write_text(json.dumps(record | {"checksum": checksum(record)}))


@pytest.mark.parametrize("entry", ["lift-h2", "lift-h3/2", "base/0", "lift-h3/"])
def test_a_selection_of_what_is_not_there_is_one_line(entry, tmp_path, monkeypatch, capsys):
    sets = [word for one in [*TINY, *SEEDS] for word in ("--set", one)]
    arguments = ["train-eval", "--select", entry, "--output", str(tmp_path / "run"), *sets]
    monkeypatch.setattr("sys.argv", ["lift-harness", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and line.startswith(f"error: --select {entry}: no such method or seed; ")
    assert not (tmp_path / "run").exists()
