"""Little memory ends with one line; who reads while a run writes sees whole numbers, or none."""

import os
import resource
import shutil
import sys
from pathlib import Path

import pytest
from support.forking import fork, outcome
from support.tiny_runs import TINY, run

from lift_harness.cli import main
from lift_harness.errors import LiftError
from lift_harness.pipeline import train_eval as pipeline
from lift_harness.pipeline.training import train_method
from lift_harness.report import write_report
from lift_harness.report.page import page_data
from lift_harness.results.read import load

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder)
    return folder


def address_space():
    """Bytes of this process's."""
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def with_memory(more, errors, *arguments):
    """The exit code of a command that may take `more` bytes than it has here, and what it says."""

    def work():
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.argv = ["lift-harness", *arguments]
        limit = address_space() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            main()
        except SystemExit as stopped:
            return stopped.code or 0
        return 0

    return outcome(fork(work)), errors.read_text()


@pytest.mark.parametrize("more", [2, 24, 60], ids=lambda more: f"{more} MB")
def test_training_and_evaluating_without_memory_is_one_line(finished, tmp_path, more):
    changed = ["training.batch_size=4000", "training.max_steps=1", "data.0.n=4000"]
    keys = {one.partition("=")[0] for one in changed}
    sets = [*(one for one in TINY if one.partition("=")[0] not in keys), *changed]
    options = [word for item in sets for word in ("--set", item)]
    folder = tmp_path / "run"
    code, said = with_memory(
        more << 20, tmp_path / "said", "train-eval", "quickstart", *options, "--output", str(folder)
    )
    assert code == 2 and "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "out of memory" in line or "allocate memory" in line
    assert "batch_size" in line


def test_the_line_of_a_training_names_its_rows(finished, tmp_path):
    """With enough to load, not enough for a step."""
    sets = ["training.batch_size=4000", "training.max_steps=1", "data.0.n=4000"]

    def work():
        limit = address_space() + (400 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            run(tmp_path / "run", sets=sets, only="train")
        except LiftError as error:
            (tmp_path / "said").write_text(str(error))
            return 2
        return 0

    assert outcome(fork(work)) == 2
    said = (tmp_path / "said").read_text()
    assert said.startswith("out of memory while training with training.batch_size=4000 rows of up to ")
    assert "lower training.batch_size" in said and "\n" not in said


def numbers(folder):
    """What a reader finds: (row, task, metric) -> number of problems and value; None where nothing is yet."""
    try:
        rows = load([folder])
    except LiftError as error:
        assert "\n" not in str(error)
        return {}
    return {
        (row.name, evaluation.task): (evaluation.n_items, sorted(item.scores.items()))
        for row in rows
        for evaluation in row.evaluations
        for item in evaluation.items.values()
    }


def test_two_readers_beside_a_writer_see_whole_numbers(finished, tmp_path):
    folder, expected = tmp_path / "run", numbers(finished)
    assert len(expected) == 2
    writer = fork(lambda: bool(run(folder)) - 1)
    seen, over = [], False
    while not over:
        over = os.waitpid(writer, os.WNOHANG)[0] != 0
        if folder.is_dir():
            seen.append(numbers(folder))
            try:
                page_data(folder)
                write_report(folder, tmp_path / "page.html")
            except LiftError as error:
                assert "not a run folder" in str(error)
    assert seen[-1] == expected and len(seen) > 2
    for found in seen:
        assert found.items() <= expected.items()


def test_benchmark_files_that_are_replaced_meanwhile_stop_the_run_with_one_line(
    shared, tmp_path, monkeypatch
):
    """They are read for each checkpoint, and known by their hash; put back, the run goes on."""
    (original,) = shared.rglob("4x4_test_sudoku.csv")
    file = tmp_path / "data" / original.name
    file.parent.mkdir()
    shutil.copy(original, file)
    monkeypatch.setenv("LIFT_DATA_DIR", str(file.parent))
    sets, folder = ["eval.tasks=[lift_sudoku]"], tmp_path / "run"

    def replace_and_train(*arguments):
        rows = original.read_text().splitlines(keepends=True)
        file.write_text("".join(rows[:1] + rows[2:]))
        return train_method(*arguments)

    with monkeypatch.context() as patch, pytest.raises(LiftError, match="not the published file") as stopped:
        patch.setattr(pipeline, "train_method", replace_and_train)
        run(folder, sets=sets)
    assert "\n" not in str(stopped.value)
    shutil.copy(original, file)
    found = run(folder, sets=sets)
    assert found["scores"] == run(tmp_path / "whole", sets=sets)["scores"]
