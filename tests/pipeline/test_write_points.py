"""Stopped dead at every kind of write and started again, a command leaves what an uninterrupted one does."""

import gc
import os
import re
import shutil
import signal
from collections import deque
from functools import partial

import pytest
from rich.console import Console
from support.forking import fork, fork_ranks, outcome
from support.tiny_runs import run
from support.write_points import STOPPED, contents, list_writes, stop_at, stop_where, telling

from lift_harness.analysis.arguments import Options
from lift_harness.analysis.run import analyze
from lift_harness.compare.command import run_compare
from lift_harness.lm.evaluation import evaluate_model
from lift_harness.report import write_report
from lift_harness.results.read import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # a minute and a half where nothing else runs
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs fork and /proc"),
]

SAME = r"(base|lift-h3)/|(?<=checkpoint-)\d"


def quiet():
    return Console(quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run; what is imported on the way is there for the processes that are forked."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder)
    gc.collect()
    gc.freeze()  # or each of them looks through it again
    yield folder
    gc.unfreeze()


def done(*work):
    """The exit code of a process that came to its end."""
    return 0


def attempt(command, again, compared, expected, folder, stop):
    """Stop a command at a write, do it again, and compare: 0 if the end is the same."""
    number, begun = stop
    if outcome(fork(lambda: done(stop_at(folder, number, begun), command(folder)))) != STOPPED:
        raise AssertionError("was not stopped")
    again(folder)
    found = compared(folder)
    assert found.keys() == expected.keys()
    for name, content in found.items():
        assert content == expected[name], name
    return 0


def stop_everywhere(command, tmp_path, compared=contents, again=None, prepare=None, least=1, only=""):
    """Stop a command at each kind of write, two at a time, each in a folder of its own.

    Args:
        command: is called with a folder.
        compared: what of that folder must be the same in the end, by name.
        again: how it is called afterwards, where not in the same way.
        prepare: makes the folder; None: the command does.
        least: kinds of writes that there are.
        only: a pattern of those that are looked at.
    """
    prepare, again = prepare or (lambda folder: None), again or command
    whole, lines = tmp_path / "whole" / "run", tmp_path / "lines"
    whole.parent.mkdir()
    prepare(whole)
    assert outcome(fork(lambda: done(list_writes(whole, lines), command(whole)))) == 0
    expected, written = compared(whole), lines.read_text().splitlines()
    stops = [stop for stop in telling(written, SAME) if re.search(only, written[stop[0]])]
    assert len(stops) >= least
    waiting, running, failed = deque(stops), {}, []
    while waiting or running:
        while waiting and len(running) < 2:
            stop = waiting.popleft()
            folder = tmp_path / f"stopped-{stop[0]}-{stop[1]}" / "run"
            folder.parent.mkdir()
            prepare(folder)
            work = partial(attempt, command, again, compared, expected, folder, stop)
            running[fork(work)] = folder, stop
        pid, status = os.wait()
        folder, (number, begun) = running.pop(pid)
        if status:
            failed.append(f"{'begun' if begun else 'before'} {number}: {written[number]}")
        else:
            shutil.rmtree(folder.parent)
    assert not failed, failed


def test_train_eval(finished, tmp_path):
    stop_everywhere(run, tmp_path, least=80)


def test_train_eval_that_takes_the_best_step(finished, tmp_path):
    """With a NELBO at each checkpoint; only what only this one writes."""
    best = ["validation=2", "training.eval_steps=1", "training.select=best"]
    command = partial(run, sets=best)
    stop_everywhere(command, tmp_path, only=r"checkpoint-|log\.jsonl|train\.json")


def test_two_processes(finished, tmp_path):
    """The first one stops after each checkpoint, then before the record; then both come to the end."""

    def launch(name, stop=None):
        folder = tmp_path / name / "run"
        folder.parent.mkdir(exist_ok=True)

        def work(rank):
            if stop and rank == 0:
                stop_where(folder, stop)
            run(folder, sets=["training.batch_size=1"])
            return 0

        first, second = fork_ranks(work)
        code = outcome(first)
        if stop:
            os.kill(second, signal.SIGKILL)  # it waits for the first
        return code, outcome(second), folder

    *codes, whole = launch("whole")
    assert codes == [0, 0]
    for stop in (
        r"os.rmdir lift-h3/train/part$",
        r"os.rmdir lift-h3/train/part$",
        r"open lift-h3/train.json",
    ):
        code, _, folder = launch("stopped", stop)
        assert code == STOPPED
    *codes, folder = launch("stopped")
    assert codes == [0, 0]
    found, expected = contents(folder), contents(whole)
    assert {name for name in found if found[name] != expected.get(name)} == set()
    assert found.keys() == expected.keys() and "lift-h3/train.json" in found


def test_eval(finished, tmp_path):
    """What a stopped one left stays, and does not count."""

    def command(folder):
        settings = "gen_length=16,steps=2,block_length=16"
        evaluate_model(
            "lift-tiny",
            ["sudoku_mini"],
            model_args="",
            gen_kwargs=settings,
            batch_size="1",
            limit=1,
            output=folder,
        )

    def values(folder):
        (row,) = load([folder])
        return {task.task: [task.n_items, task.items] for task in row.evaluations} | {"": len(row.tasks)}

    stop_everywhere(command, tmp_path, compared=values, least=6)


def test_analyze(finished, tmp_path):
    def command(folder, resume=False):
        options = Options("lift-tiny", "arithmetic", examples=4, save_every=1, bootstrap=10, batch_tokens=64)
        analyze(options, folder, resume=resume, console=quiet())

    def again(folder):
        begun = any(folder.rglob("state.*")) or any(folder.rglob("*.json"))
        command(folder, resume=begun)

    # Of its four pictures, each twice, one is looked at.
    one = r"lock|writer|state|json|csv|frequency\.svg"
    stop_everywhere(command, tmp_path, again=again, only=one, least=10)


@pytest.mark.parametrize("name", ["report.html", "table.md", "flips.jsonl"])
def test_report_and_compare(finished, tmp_path, name):
    def prepare(folder):
        shutil.copytree(finished, folder)

    def command(folder):
        if name == "report.html":
            write_report(folder)
        elif name == "table.md":
            run_compare([folder], output=folder / name, console=quiet())
        else:
            run_compare([folder], flips=folder / name, console=quiet())

    stop_everywhere(command, tmp_path, prepare=prepare, least=2)
