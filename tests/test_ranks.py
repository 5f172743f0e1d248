"""Two processes evaluate together what one evaluates alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lift_harness.errors import LiftError
from lift_harness.ranks import launched_processes

SCRIPT = """
import json, sys
import lm_eval.evaluator
lm_eval.evaluator.add_env_info = lambda storage: None
from lm_eval.tasks import TaskManager
from lift_harness.errors import LiftError
from lift_harness.lm.evaluation import evaluate
from lift_harness.lm.model import LiftDLM
from lift_harness.tasks.protocol import load_task

lm = LiftDLM(pretrained="lift-tiny", batch_size=4)
results = lm_eval.simple_evaluate(
    model=lm,
    tasks=[load_task("lift_countdown_mini", repeats=2)],
    task_manager=TaskManager(include_defaults=False),
    limit=5,  # so that one rank has fewer and lm-eval pads it
    bootstrap_iters=2,
    gen_kwargs={"temperature": 0.8},
)
alone = evaluate(lm, ["lift_countdown_mini"], label="lift-tiny", limit=1)  # fewer problems than processes
again = evaluate(lm, ["lift_countdown_mini"], label="lift-tiny", limit=2)  # all take part again
try:
    lm_eval.simple_evaluate(
        model=lm,
        tasks=[load_task("lift_countdown_mini")],
        task_manager=TaskManager(include_defaults=False),
        limit=1,
    )
    refused = None
except LiftError as error:
    refused = str(error)
if lm.rank == 0:
    samples = sorted(results["samples"]["lift_countdown_mini"], key=lambda s: s["doc"]["input"])
    found = {
        "results": results["results"],
        "alone": alone,
        "again": again,
        "refused": refused,
        "texts": [sample["resps"][0] for sample in samples],
        "requests": results["config"]["decoding_statistics"]["requests"],
        "counts": results["config"]["decoding_statistics"]["tasks"],
    }
    with open(sys.argv[1], "w") as file:
        json.dump(found, file)
"""


def test_two_processes_give_the_results_of_one(tmp_path):
    script = tmp_path / "evaluate.py"
    script.write_text(SCRIPT)
    found = []
    for n in (1, 2):
        out = tmp_path / f"{n}.json"
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n)] if n > 1 else []
        done = subprocess.run(
            [sys.executable, *launch, str(script), str(out)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(sys.executable).parent,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(out.read_text()))
    assert [one.pop("refused") for one in found] == [
        None,
        "lift_countdown_mini: 1 problem(s) for 2 processes; start at most 1",
    ]
    assert found[0] == found[1] and found[0]["alone"]["lift_countdown_mini"]["acc"]
    assert found[0]["requests"] == 10


def test_a_number_of_processes_that_is_none_is_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "abc")
    with pytest.raises(LiftError, match="WORLD_SIZE='abc'"):
        launched_processes()
