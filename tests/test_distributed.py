"""Two processes (gloo, on the CPU) against one with the doubled batch: the same masks, losses and weights."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from llada_reference import EOS, MASK
from safetensors.torch import load_file

from lift_harness.models.modeling_llada import LLaDAModelLM
from lift_harness.training import TrainSettings, get_objective, train
from lift_harness.training.data import Example

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed"),
]

SETTINGS = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "gradient_accumulation_steps": 2,
    "epochs": 2,
    "logging_steps": 1,
    "save_steps": 1,
    "eval_steps": 2,
    "lora": None,
}


def example(i: int) -> Example:
    rng = np.random.default_rng(i)
    return Example(i, rng.integers(0, MASK, 3 + i % 3).tolist(), rng.integers(0, MASK, 5 + i).tolist())


class Recording:
    """An objective that keeps what was masked in the real part of each row, by example and epoch."""

    def __init__(self, objective):
        self.objective, self.seen = objective, {}

    def __call__(self, model, batch, key, num_items=None):
        found = self.objective(model, batch, key, num_items)
        for row, i in enumerate(batch.example_id.tolist()):
            if batch.response[row].any():
                masked = found.supervised[row].nonzero()[:, 0].tolist()
                self.seen[f"{key.epoch},{i}"] = [found.t[row].item(), batch.x0.shape[1], masked]
        return found


def fit(folder: Path, model_folder: str, method: str, resume: bool = False, **values) -> dict:
    """One training; what it saw."""
    objective = Recording(get_objective(method))
    settings = TrainSettings(**SETTINGS | values)
    tokenizer = SimpleNamespace(eos_token_id=EOS, mask_token_id=MASK)
    texts = [example(i) for i in range(16)]
    model, log = train(
        LLaDAModelLM.from_pretrained(model_folder),
        tokenizer,
        texts[:13],  # the last step of an epoch is short, and cannot be dealt out evenly
        objective,
        settings,
        folder,
        seed=7,
        validation=texts[13:],
        resume=resume,
    )
    if int(os.environ.get("RANK", 0)) == 0:
        model.save_pretrained(folder / "final")
    return {"seen": objective.seen, "log": log}


if __name__ == "__main__":
    folder, model_folder, method, resume, values = json.loads(sys.argv[1])
    found = fit(Path(folder), model_folder, method, resume, **values)
    (Path(folder) / f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))


def launch(folder, model_folder, method, resume=False, **values):
    folder.mkdir(exist_ok=True)
    task = json.dumps([str(folder), str(model_folder), method, resume, {"batch_size": 2, **values}])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, __file__, task],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[:6000]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("method", ["lift", "gift"])
def test_two_processes_take_the_steps_of_one_with_the_doubled_batch(llada_folder, tmp_path, method):
    one = fit(tmp_path / "one", str(llada_folder()), method)
    ranks = launch(tmp_path / "two", llada_folder(), method)
    seen = {**ranks[0]["seen"], **ranks[1]["seen"]}
    assert len(seen) == len(ranks[0]["seen"]) + len(ranks[1]["seen"]) == 2 * 13
    assert seen == {name: list(row) for name, row in one["seen"].items()}
    assert len(one["log"]) == len(ranks[0]["log"]) == 4 + 2
    for ours, theirs in zip(one["log"], ranks[0]["log"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, rel=1e-5), name
    expected, found = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("one", "two"))
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, atol=2e-5, rtol=1e-4)


def test_two_processes_resume_where_they_stopped(llada_folder, tmp_path):
    launch(tmp_path / "whole", llada_folder(), "lift")
    launch(tmp_path / "parts", llada_folder(), "lift")
    for step in (3, 4):  # as if it had been killed after step 2
        for file in (tmp_path / "parts" / f"checkpoint-{step}").rglob("*"):
            file.unlink()
    launch(tmp_path / "parts", llada_folder(), "lift", resume=True, save_total_limit=3)
    expected, found = (
        load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "parts")
    )
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, atol=0, rtol=0)
