"""`--nproc`: what processes of a launch say and how they end, by commands that end at once."""

import json
import os
import subprocess
import sys

import pytest
import torch

from lift_harness.errors import LiftError
from lift_harness.pipeline.launch import told

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)

LAUNCH = "import sys; from lift_harness.pipeline.launch import launch; launch(sys.argv[1:], 2, 'ddp')"


def launched(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_what_is_wrong_is_said_once_in_one_line_by_all_processes():
    code, said, errors = launched(LAUNCH, "recipes", "show", "quikstart", "--nproc", "2")
    assert code == 2 and not said and len(errors) == 1
    assert errors[0].startswith("error: no recipe 'quikstart' (did you mean quickstart")


def failure(tmp_path, exitcode, message=None):
    """What torchrun knows of a process that failed, and perhaps left a message."""
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    file = tmp_path / f"{exitcode}.json"
    if message:
        file.write_text(json.dumps({"message": message, "timestamp": 1}))
    return ProcessFailure(local_rank=0, pid=1, exitcode=exitcode, error_file=str(file))


def test_the_line_of_any_process_is_said_before_what_became_of_the_others(tmp_path, capsys):
    ours = failure(tmp_path, 2, "error: a LiftError of the second process")
    assert told({0: failure(tmp_path, -15), 1: ours}) == 2
    assert capsys.readouterr().err == "error: a LiftError of the second process\n"
    assert told({0: failure(tmp_path, 1)}) == 1  # it has printed its traceback itself
    with pytest.raises(LiftError, match="process 1 of the launch was ended by SIGKILL; .* out of memory"):
        told({1: failure(tmp_path, -9)})
