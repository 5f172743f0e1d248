"""compare, report, score and reproduce on a run with something wrong in any of its files."""

import shutil

import pytest
from support.eval_files import LATER, answered, write_eval
from support.fuzzing import command, complaints
from support.report_runs import TIME, write_large_run

LOG = f"samples_lift_gsm8k_{TIME}.jsonl"
# The file, how many things are wrong in it one after the other, the commands that read it.
FILES = {
    "recipe.yaml": (24, "compare", "report"),
    "results.json": (20, "compare", "report", "reproduce"),
    "manifest.json": (30, "report", "reproduce"),
    "vanilla/eval.json": (8, "compare", "report"),
    "vanilla/train.json": (16, "report"),
    "vanilla/train/log.jsonl": (16, "report"),
    "lift-h2/train/confidence.json": (16, "report"),
    "vanilla/eval/traces.jsonl": (30, "report"),
    "analysis/frequency.csv": (12, "report"),
    "analysis/analysis.json": (16, "report"),
    f"vanilla/eval/one/{LOG}": (36, "compare", "report", "score"),
    f"vanilla/eval/samples/{LOG}": (16, "compare", "report"),
    f"base/eval/one/results_{LATER}.json": (30, "compare", "report"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_large_run(tmp_path_factory.mktemp("fuzz") / "run", 8, samples=2, sampled=4, traces=2)
    for method in ("gift", "lift-h3"):
        shutil.rmtree(folder / method)
    write_eval(folder / "base/eval/one", {"lift_gsm8k": answered([1, 0, 1, 1])}, time=LATER)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_of_a_run_is_left_out_or_refused(run, name, tmp_path):
    count, *names = FILES[name]
    commands = {
        "compare": ("compare", run, "--anyway"),
        "report": ("report", run, "--output", tmp_path / "report.html"),
        "score": ("score", run / name, "--task", "lift_gsm8k", "--output", tmp_path / "scored.jsonl"),
        "reproduce": ("reproduce", run, "--output", tmp_path / "again"),
    }
    assert complaints(run / name, count, *(commands[each] for each in names)) == []


def test_the_commands_work_on_the_run_itself(run, tmp_path):
    assert command("compare", run)[0] == 0
    assert command("report", run, "--output", tmp_path / "report.html")[0] == 0
    log = run / f"vanilla/eval/one/{LOG}"
    assert command("score", log, "--task", "lift_gsm8k", "--output", tmp_path / "scored.jsonl")[0] == 0
