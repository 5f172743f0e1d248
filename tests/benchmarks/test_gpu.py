"""The prepared GPU check: its rehearsal, on what a bare machine has, and stages that go wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
# What such a machine lacks, and what must not stand in for the copied checkout.
ABSENT = ("lm_eval", "datasets", "pydantic", "__editable__", "lift_harness")
TROUBLE = """
import os, time
def dies(bench):
    bench.send("before", {"figure": 1.0})
    os.kill(os.getpid(), 9)
def hangs(bench):
    bench.send("before", {"figure": float("nan")})
    time.sleep(600)
def stumbles(bench):
    bench.attempt("error", lambda: 1 / 0)
    bench.attempt("memory", too_much)
    bench.attempt("too long", dict, needs=10_000)
    bench.attempt("after", lambda: {"figure": 2.0})
def too_much():
    import torch
    raise torch.OutOfMemoryError("CUDA out of memory")
"""
DRIVER = """
import sys, gpu
gpu.STAGES[:] = [gpu.Stage("trouble", name, 8) for name in ("dies", "hangs", "stumbles")]
gpu.STAGES.append(gpu.Stage("missing", "missing", 8))
gpu.STAGES.append(gpu.Stage("machine", "machine", 60))
if __name__ == "__main__":
    sys.exit(gpu.main())
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the checkout on a machine without lm-eval, datasets and pydantic: (folder, environment)."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("lift_harness", "decoding", "training", "tasks", "benchmarks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    site = folder / "site"
    site.mkdir()
    installed = Path(torch.__file__).parents[1]
    for entry in installed.iterdir():
        if not entry.name.lower().startswith(ABSENT):
            (site / entry.name).symlink_to(entry)
    return folder, {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}


def python(copy, *arguments, timeout=280):
    folder, environment = copy
    # -S: no site-packages but those of PYTHONPATH, whose .pth files are not run.
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.slow
def test_the_rehearsal_runs_where_lm_eval_datasets_and_pydantic_are_missing(copy, shared):
    for name in ABSENT[:3]:
        assert "ModuleNotFoundError" in python(copy, "-c", f"import {name}").stderr
    bundled = python(copy, "benchmarks/gpu.py", "--make-bundle", str(shared / "golden"))
    assert bundled.returncode == 0, bundled.stderr
    assert sum(file.stat().st_size for file in (copy[0] / ".bundle").rglob("*.*")) < 8 * 2**20
    done = python(copy, "benchmarks/gpu.py", "--rehearse", "--seconds", "1000", "--out", "gpu.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((copy[0] / "gpu.json").read_text())
    assert not (copy[0] / "gpu.json.part").exists()
    stages = found["stages"]
    assert {stage["status"] for stage in stages.values()} == {"done"}
    assert list(stages) == [
        *("machine", "golden", "gradients", "answers", "decoding", "lora", "attention", "memory", "full"),
        "compiled",
    ]
    golden = stages["golden"]["results"]
    for name in ("llada-tiny", "llada-tiny-gqa", "dream-tiny"):
        assert golden[f"{name}, float32, logits"]["greatest_difference"] < 5e-4
        transcripts = golden[f"{name}, float32, transcripts"]
        assert transcripts["same_ids"] == transcripts["same_order"] == transcripts["transcripts"] >= 3
    # On the CPU a step is compared with itself.
    assert all(step["gradient_difference"] == 0 for step in stages["gradients"]["results"].values())
    assert stages["answers"]["results"]["float32 against the CPU"]["same_sampled"] == 2
    decoding = stages["decoding"]["results"]
    assert decoding["speculate 4, batch 1"]["passes"] < decoding["fixed, none, batch 1"]["passes"]
    assert all(figures["s/pass"] > 0 for figures in decoding.values())
    scarce = stages["memory"]["results"]["eight times too much, dual"]
    assert scarce["out_of_memory_times"] >= 1 and scarce["answered"] == scarce["requests"]
    assert stages["lora"]["results"]["checkpoints, 2 rows, lift-3"]["x_vanilla"] > 0


@pytest.mark.slow
def test_a_stage_that_dies_hangs_or_is_missing_does_not_end_the_others(copy):
    (copy[0] / "benchmarks/stages/trouble.py").write_text(TROUBLE)
    (copy[0] / "benchmarks/driver.py").write_text(DRIVER)
    done = python(copy, "benchmarks/driver.py", "--rehearse", "--out", "trouble.json")
    assert done.returncode == 1
    stages = json.loads((copy[0] / "trouble.json").read_text())["stages"]
    assert stages["dies"] == {"status": "failed: exit status -9", "results": {"before": {"figure": 1.0}}}
    assert stages["hangs"] == {"status": "out of time after 8 s", "results": {"before": {"figure": None}}}
    assert stages["missing"]["status"] == "failed: exit status 1"
    stumbles = stages["stumbles"]["results"]
    assert stumbles["error"]["error"] == "ZeroDivisionError: division by zero"
    assert stumbles["memory"] == {"out_of_memory": True}
    assert "left" in stumbles["too long"]["skipped"]
    assert stumbles["after"] == {"figure": 2.0}
    assert stages["machine"]["status"] == "done"
    assert "dies/failed" in done.stdout and "stumbles/error" in done.stdout
