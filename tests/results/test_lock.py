"""A folder has one writer: refused to others, given up by the kernel, not asked by readers."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

import pytest

from lift_harness.errors import LiftError
from lift_harness.results.lock import clear, contents, sole_writer

HOLDS = """
import sys, time
from pathlib import Path
from lift_harness.results.lock import sole_writer
with sole_writer(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "written").write_text("by the holder")
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path/run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_who_writes_and_since_when(holder, tmp_path):
    with pytest.raises(LiftError) as refused, sole_writer(tmp_path / "run"):
        raise AssertionError("two writers")
    message = str(refused.value)
    where = re.escape(str(tmp_path / "run"))
    match = re.fullmatch(
        rf"output folder '{where}' is being written to by process {holder.pid} on "
        rf"{re.escape(platform.node())} since (\S+); wait for it, or give another --output",
        message,
    )
    since = datetime.fromisoformat(match[1])
    assert abs(datetime.now(timezone.utc) - since) < timedelta(minutes=5)
    assert (tmp_path / "run" / "written").read_text() == "by the holder"  # readers are not asked


def test_the_kernel_gives_up_the_lock_of_a_process_that_was_killed(holder, tmp_path):
    folder = tmp_path / "run"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    left = {path.name for path in folder.iterdir()}
    assert left == {".lock", ".writer.json", "written"}  # nobody tidied up
    with sole_writer(folder):
        assert json.loads((folder / ".writer.json").read_text())["pid"] == os.getpid()
    assert {path.name for path in folder.iterdir()} == {"written"}


def test_a_holder_that_has_not_yet_said_who_it_is(holder, tmp_path):
    (tmp_path / "run" / ".writer.json").unlink()
    with pytest.raises(LiftError, match="written to by another process; wait"), sole_writer(tmp_path / "run"):
        pass


def test_one_process_may_ask_twice(tmp_path):
    folder = tmp_path / "run"
    with sole_writer(folder), sole_writer(tmp_path / "x" / ".." / "run"):
        (folder / "written").touch()
    assert [path.name for path in folder.iterdir()] == ["written"]
    with sole_writer(folder):
        pass


def test_a_folder_that_stays_empty_is_removed_and_one_that_was_there_is_not(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("there", "made"):
        with pytest.raises(LiftError, match="bad input"), sole_writer(tmp_path / name):
            raise LiftError("bad input")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").touch()
    with (
        pytest.raises(LiftError, match="is a file; give a folder with --output"),
        sole_writer(tmp_path / "run"),
    ):
        pass


def test_clearing_leaves_the_lock_and_what_links_lead_to(tmp_path):
    folder = tmp_path / "run"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    with sole_writer(folder):
        (folder / "base" / "eval").mkdir(parents=True)
        (folder / "recipe.yaml").touch()
        (folder / "recipe.yaml.part").touch()  # of a writer that was killed
        (folder / "link").symlink_to(tmp_path / "elsewhere")
        assert {path.name for path in contents(folder)} == {"base", "recipe.yaml", "link"}
        clear(folder)
        assert {path.name for path in folder.iterdir()} == {".lock", ".writer.json"}
    assert (tmp_path / "elsewhere" / "kept").exists()


COMMANDS = [
    ["train-eval", "quickstart"],
    ["train", "quickstart"],
    ["train-eval", "quickstart", "--overwrite"],
    ["analyze", "--data", "arithmetic", "--examples", "4"],
    ["eval", "-m", "lift-tiny", "--tasks", "sudoku_mini", "--limit", "1"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_that_write_are_refused_with_one_line(holder, tmp_path, monkeypatch, capsys, command):
    from lift_harness.cli import main

    small = ["--set", "data.0.n=8", "--set", "data.1.n=8", "--set", "training.max_steps=1"]
    options = small if "quickstart" in command else []
    monkeypatch.setattr("sys.argv", ["lift-harness", *command, *options, "--output", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    errors = capsys.readouterr().err.splitlines()
    assert re.match(rf"error: output folder .* by process {holder.pid} on ", errors[-1])
    assert (tmp_path / "run" / "written").read_text() == "by the holder"


def test_a_report_goes_into_a_folder_that_nobody_writes_to_or_elsewhere(
    holder, tmp_path, monkeypatch, capsys
):
    from lift_harness.cli import main

    (tmp_path / "run" / "recipe.yaml").write_text("name: half done\n")
    for options, code in ([], 2), (["--output", str(tmp_path / "page.html")], 0):
        monkeypatch.setattr("sys.argv", ["lift-harness", "report", str(tmp_path / "run"), *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == code
    assert f"by process {holder.pid} on " in capsys.readouterr().err
    assert (tmp_path / "page.html").is_file() and not (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_several_processes_of_a_launch_are_one_writer_which_a_signal_ends(tmp_path, monkeypatch, capsys):
    from lift_harness.cli import main

    small = ["data.0.n=16", "data.1.n=16", "training.max_steps=100000", "training.batch_size=2"]
    small += ["training.lora.r=2", "training.logging_steps=1", "select=vanilla"]
    options = [part for setting in small for part in ("--set", setting)]
    arguments = ["train", "quickstart", *options, "--output", str(tmp_path / "run")]
    launch = [sys.executable, "-m", "lift_harness", *arguments, "--nproc", "2"]
    with (tmp_path / "said").open("w") as said:
        launched = subprocess.Popen(launch, stdout=said, stderr=said)
    log = tmp_path / "run" / "vanilla" / "train" / "log.jsonl"
    try:
        for _ in range(600):
            if log.is_file() and log.read_text():
                break
            assert launched.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.2)
        writer = json.loads((tmp_path / "run" / ".writer.json").read_text())
        assert writer["pid"] != launched.pid  # the first of its two processes
        monkeypatch.setattr("sys.argv", ["lift-harness", *arguments])
        with pytest.raises(SystemExit) as refused:
            main()
        assert refused.value.code == 2
        assert f"by process {writer['pid']} on " in capsys.readouterr().err
        launched.terminate()
        assert launched.wait(timeout=120) == 128 + signal.SIGTERM
    finally:
        launched.kill()
        launched.wait()
    assert (tmp_path / "said").read_text().count("stopped: SIGTERM at step ") == 1
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not names & {".lock", ".writer.json"}
    assert list(log.parent.glob("checkpoint-*"))
    with sole_writer(tmp_path / "run"):
        pass
