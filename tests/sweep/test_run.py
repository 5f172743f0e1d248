"""A sweep from beginning to end: what it leaves, what it keeps, what it refuses."""

import gc
import json
import os
import shutil

import pytest
import yaml
from support import write_points
from support.forking import fork, outcome

from lift_harness.cli import main
from lift_harness.compare import compare, load
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.models.checkpoint import BUILT_IN
from lift_harness.pipeline.reproduce import reproduce
from lift_harness.sweep import run as sweeping
from lift_harness.sweep.plan import plan, show_plan
from lift_harness.sweep.run import run_sweep
from lift_harness.sweep.schema import Sweep
from lift_harness.sweep.settings import rows_of

LENGTHS = {"gen_length": 16, "block_length": 8}
SHORT = {"tasks": ["countdown_mini"], "limit": 2, "gen_kwargs": {**LENGTHS, "early_stop": False}}
TWELVE = {
    "cache": ["none", "prefix", "dual"],
    "schedule": ["fixed", "threshold"],
    "threshold": [0.5, 0.9],
    "tokens_per_step": [1, 2],
}


def quiet():
    return Console(quiet=True)


def small(**keys):
    return Sweep(**{**SHORT, "grid": {"speculate": [4], "tokens_per_step": [2, 8]}, **keys})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "run"
    return folder, run_sweep(small(), folder, console=quiet())


def without_times(results):
    return {**results, "rows": [{**row, "measured": None} for row in results["rows"]]}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs fork and /proc")
def test_killed_twice_it_ends_with_the_same_results(finished, tmp_path):
    """12 settings; what is imported on the way is there for the processes that are forked."""
    twelve = Sweep(**{**SHORT, "gen_kwargs": LENGTHS, "grid": TWELVE, "limit": 1})
    whole, run, lines = tmp_path / "whole" / "run", tmp_path / "run" / "run", tmp_path / "lines"
    whole.parent.mkdir(), run.parent.mkdir()
    gc.collect(), gc.freeze()

    def work(folder, prepare):
        prepare()
        run_sweep(twelve, folder, console=quiet())
        return 0

    assert outcome(fork(lambda: work(whole, lambda: write_points.list_writes(whole, lines)))) == 0
    third = len(lines.read_text().splitlines()) // 3
    for begun in (True, False):
        stopped = fork(lambda begun=begun: work(run, lambda: write_points.stop_at(run, third, begun)))
        assert outcome(stopped) == write_points.STOPPED
        kept = {file: file.stat().st_mtime_ns for file in run.glob("*/eval.json")}
        assert 0 < len(kept) < 12 and not (run / "results.json").exists()
    assert outcome(fork(lambda: work(run, lambda: None))) == 0
    gc.unfreeze()
    assert {file: file.stat().st_mtime_ns for file in kept} == kept  # nothing is done again
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (run, whole))
    assert len(ours["rows"]) == 12 and without_times(ours) == without_times(theirs)
    evaluations = [write_points.contents(folder) for folder in (run, whole)]
    for found in evaluations:
        for name in [name for name in found if "/eval/" not in name]:
            del found[name]
    assert evaluations[0] == evaluations[1] and len(evaluations[0]) > 12 * 3


def test_it_is_a_run_folder_like_the_others(finished):
    folder, results = finished
    names = ["protocol", "tokens_per_step=2", "tokens_per_step=8"]
    assert [row["name"] for row in results["rows"]] == names == list(results["scores"])
    assert json.loads((folder / "results.json").read_text()) == results
    rows = {row.name: row for row in load([folder])}
    assert list(rows) == names and all(row.tasks == ["lift_countdown_mini"] for row in rows.values())
    assert not [note for row in rows.values() for note in row.notes]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sweep"]["grid"] == {"speculate": [4], "tokens_per_step": [2, 8]}
    assert manifest["model"]["name"] == "lift-tiny" and len(manifest["model"]["sha256"]) == 64
    assert set(manifest["stages"]) == {f"{name}/eval" for name in names}
    assert "| tokens\\_per\\_step=8 |" in (folder / "report.md").read_text()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "lift-harness sweep run/recipe.yaml" in page and "lift-harness reproduce" not in page
    with pytest.raises(LiftError, match="is a sweep; do it again with lift-harness sweep"):
        reproduce(folder)


def test_the_numbers_are_those_of_the_logs(finished):
    folder, results = finished
    texts, right = {}, {}
    for row in results["rows"]:
        (log,) = (folder / row["name"] / "eval" / "one").glob("samples_*.jsonl")
        lines = sorted(map(json.loads, log.read_text().splitlines()), key=lambda line: line["doc_id"])
        texts[row["name"]] = [line["resps"][0][0] for line in lines]
        right[row["name"]] = [line["acc"] for line in lines]
    for row in results["rows"]:
        found = row["tasks"]["lift_countdown_mini"]
        metric = found["metrics"]["acc"]
        assert metric["value"] == sum(right[row["name"]]) / 2 and metric["problems"] == 2
        assert found["tokens_per_pass"] == found["tokens"] / found["passes"]
        if row["name"] == "protocol":
            assert "difference" not in metric and "same_answers" not in found
            continue
        both = zip(right[row["name"]], right["protocol"], strict=True)
        assert metric["difference"]["value"] == sum(a - b for a, b in both) / 2
        same = sum(a == b for a, b in zip(texts[row["name"]], texts["protocol"], strict=True))
        assert (found["same_answers"], found["answers"]) == (same, 2)
        assert row["decoding"] == "exact" and row["baseline"] == "protocol"
    # Speculation changes nothing but the number of passes.
    assert results["rows"][1]["tasks"]["lift_countdown_mini"]["same_answers"] == 2
    comparison = compare(load([folder]), baseline="protocol", across="decoding")
    for row in results["rows"]:
        assert row["tasks"]["lift_countdown_mini"]["pareto"] == (
            "tokens_per_pass" in comparison.fronts("lift_countdown_mini")[row["name"]]
        )


def test_a_plan_has_the_passes_that_are_then_measured(tmp_path, capsys):
    grid = {"tokens_per_step": [1, 4], "cache": ["dual"], "block_length": [8, 16]}
    sweep = small(grid=grid, gen_kwargs={"early_stop": False}, limit=1)
    planned = plan(sweep, rows_of(sweep))
    console = Console(width=200)
    show_plan(sweep, tmp_path / "run", console)
    said = capsys.readouterr().out
    assert said.count("unknown") == len(planned) and "not known before protocol has run" in said
    assert not (tmp_path / "run").exists()
    results = run_sweep(sweep, tmp_path / "run", console=quiet())
    measured = {row["name"]: row["tasks"]["lift_countdown_mini"]["passes"] for row in results["rows"]}
    assert {one.name: one.passes for one in planned} == measured and len(measured) == 5
    assert f"at most {sum(measured.values()):,.0f} passes" in said
    show_plan(sweep, tmp_path / "run", console)
    said = capsys.readouterr().out
    assert "unknown" not in said and "passes a second of protocol" in said


def test_it_goes_on_takes_what_is_whole_and_does_again_what_is_not(finished, tmp_path, monkeypatch):
    folder, results = finished
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    loads = []
    opened = sweeping.open_checkpoint
    monkeypatch.setattr(sweeping, "open_checkpoint", lambda *given: loads.append(given) or opened(*given))
    assert run_sweep(small(), run, console=quiet()) == results and not loads
    (log,) = (run / "tokens_per_step=8" / "eval" / "one").glob("samples_*.jsonl")
    log.write_text(log.read_text().replace("acc", "bcc", 1))
    assert without_times(run_sweep(small(), run, console=quiet())) == without_times(results)
    assert len(loads) == 1
    more = small(grid={"speculate": [4], "tokens_per_step": [2, 8, 4]})
    with pytest.raises(LiftError, match="--resume keeps the stages"):
        run_sweep(more, run, console=quiet())
    before = (run / "tokens_per_step=2" / "eval.json").stat().st_mtime_ns
    assert len(run_sweep(more, run, resume=True, console=quiet())["rows"]) == 4
    assert (run / "tokens_per_step=2" / "eval.json").stat().st_mtime_ns == before
    assert len(loads) == 2  # once for what there was to do


def test_two_models_each_with_a_baseline_and_one_loading(tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(BUILT_IN["lift-tiny"], copy)
    loads = []
    opened = sweeping.open_checkpoint
    monkeypatch.setattr(sweeping, "open_checkpoint", lambda *given: loads.append(given) or opened(*given))
    both = small(model=["lift-tiny", str(copy)], limit=1)
    results = run_sweep(both, tmp_path / "run", console=quiet())
    assert len(loads) == 2
    rows = {row["name"]: row for row in results["rows"]}
    settings = ["protocol", "tokens_per_step=2", "tokens_per_step=8"]
    assert list(rows) == [f"{model}, {setting}" for model in ("lift-tiny", "copy") for setting in settings]
    for setting in settings:
        tiny, other = rows[f"lift-tiny, {setting}"], rows[f"copy, {setting}"]
        assert tiny["tasks"] == other["tasks"]
        assert (tiny["baseline"], other["baseline"]) == ("lift-tiny, protocol", "copy, protocol")
    one_for_all = small(model=["lift-tiny", str(copy)], limit=1, baseline="copy, tokens_per_step=8")
    found = run_sweep(one_for_all, tmp_path / "run", resume=True, console=quiet())
    assert {row["baseline"] for row in found["rows"]} == {"copy, tokens_per_step=8"}
    assert len(found["rows"]) == 4 and len(loads) == 2


# ---- the command


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["lift-harness", "sweep", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


GIVEN = ["--tasks", "countdown_mini", "--limit", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (GIVEN, "a sweep needs --tasks (or --preset) and --grid"),
        ([*GIVEN, "--grid", "cash=none"], "did you mean cache"),
        ([*GIVEN, "--grid", "cache=blocks"], "none of the 1 combinations of the grid can be decoded: cache="),
        ([*GIVEN, "--grid", "tokens_per_step=3,5"], "tokens_per_step=3 does not divide block_length=32"),
        ([*GIVEN, "--grid", "cache=dual", "--baseline", "x"], "baseline: no row 'x'"),
        ([*GIVEN, "--grid", "cache=dual", "--gen_kwargs", "threshold=0.9"], "threshold=0.9 has no effect"),
        ([*GIVEN, "--grid", "cache=dual", "--model", "no/such"], "no/such"),
        ([*GIVEN, "--grid", "cache=dual", "--peft", "nowhere"], "no adapter in 'nowhere'"),
        ([*GIVEN, "--grid", "cache=dual", "--grid", "cache=none"], "--grid: cache is given twice"),
        (["--tasks", "sudokus", "--grid", "cache=dual"], "no task 'sudokus'"),
        (["--tasks", "sudoku_mini@80", "--grid", "steps=2,4"], "say tokens_per_step"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(arguments, said, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_prints_a_table_and_its_recipe_is_a_sweep(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", "160")
    file, folder = tmp_path / "tiny.yaml", tmp_path / "run"
    kwargs = "{gen_length: 16, block_length: 8, early_stop: false}"
    file.write_text(f"tasks: countdown_mini\nlimit: 9\ngrid: {{cache: [dual]}}\ngen_kwargs: {kwargs}\n")
    assert command(monkeypatch, str(file), "--limit", "1", "--output", str(folder)) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("cache=dual") and "approximate" in line)
    assert "1 / 1" in line or "0 / 1" in line
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["limit"] == 1
    assert command(monkeypatch, str(folder / "recipe.yaml"), "--output", str(folder)) == 0  # nothing to do
    assert "cache=dual: eval: done before" in capsys.readouterr().out
