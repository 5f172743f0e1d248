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
from accelerate.state import DistributedType, PartialState
from safetensors.torch import load_file
from support.families_reference import write_family
from support.llada_reference import EOS, MASK, VOCAB
from transformers import AutoModelForMaskedLM

from lift_harness.models import families  # noqa: F401 (makes transformers know them)
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
        AutoModelForMaskedLM.from_pretrained(model_folder),
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


FSDP = {  # what `accelerate launch` makes of recipes/accelerate/fsdp.yaml
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def take_cpus_for_gpus():
    """accelerate shards over GPUs only; torch does it on the CPU as well."""
    init = PartialState.__init__

    def pretend(state, *args, **options):
        init(state, *args, **options)
        if state.distributed_type == DistributedType.MULTI_CPU:
            state.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = pretend


if __name__ == "__main__":
    if "ACCELERATE_USE_FSDP" in os.environ:
        take_cpus_for_gpus()
    folder, model_folder, method, resume, values = json.loads(sys.argv[1])
    found = fit(Path(folder), model_folder, method, resume, **values)
    (Path(folder) / f"rank{os.environ['RANK']}.json").write_text(json.dumps(found))


# This file as a script: one thread, no GPU, and `support` in reach as pytest has it.
ALONE = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}


def launch(folder, model_folder, method, resume=False, environment=None, **values):
    folder.mkdir(exist_ok=True)
    task = json.dumps([str(folder), str(model_folder), method, resume, {"batch_size": 2, **values}])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, __file__, task],
        env=os.environ | ALONE | (environment or {}),
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


@pytest.mark.parametrize("lora", [None, {"r": 4, "alpha": 8, "dropout": 0.0}], ids=["full", "lora"])
def test_weights_in_parts_are_trained_evaluated_kept_and_saved_as_one(llada_folder, tmp_path, lora):
    """FSDP 2: rank 0 saves all of the weights, the best step's, which it holds only a part of."""
    values = {"lora": lora, "eval_steps": 1, "select": "best", "learning_rate": 5e-2, "save_total_limit": 4}
    one = fit(tmp_path / "one", str(llada_folder()), "lift", **values)
    parts = tmp_path / "parts"
    ranks = launch(parts, llada_folder(), "lift", environment=FSDP, **values)
    for ours, theirs in zip(one["log"], ranks[0]["log"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)

    def saved(folder):
        (file,) = (folder / "final").glob("*.safetensors")
        return load_file(file)

    torch.testing.assert_close(saved(parts), saved(tmp_path / "one"), atol=5e-5, rtol=1e-3)
    whole = saved(parts)
    for step in (3, 4):
        for file in (parts / f"checkpoint-{step}").rglob("*"):
            file.unlink()
    launch(parts, llada_folder(), "lift", resume=True, environment=FSDP, **values)
    torch.testing.assert_close(saved(parts), whole, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("family", "method", "environment", "lora"),
    [
        ("sdar", "lift", {}, None),
        ("llada2", "lift", FSDP, None),
        ("llada2", "gift", FSDP, {"r": 4, "alpha": 8, "dropout": 0.0}),
    ],
)
def test_models_with_blocks_and_experts(tmp_path, family, method, environment, lora):
    """Two processes, with whole weights or parts of them, learn what one does, and resume bit for bit."""
    base = write_family(tmp_path / "base", family, vocab_size=VOCAB, block_size=4)
    values = {"lora": lora, "eval_steps": None, "save_total_limit": 4, "learning_rate": 1e-3}
    one = fit(tmp_path / "one", str(base), method, **values)
    parts = tmp_path / "parts"
    ranks = launch(parts, base, method, environment=environment, **values)
    for ours, theirs in zip(one["log"], ranks[0]["log"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)

    def saved(folder):
        (file,) = (folder / "final").glob("*.safetensors")
        return load_file(file)

    whole = saved(parts)
    torch.testing.assert_close(whole, saved(tmp_path / "one"), atol=2e-4, rtol=1e-3)
    for step in (3, 4):
        for file in (parts / f"checkpoint-{step}").rglob("*"):
            file.unlink()
    launch(parts, base, method, resume=True, environment=environment, **values)
    torch.testing.assert_close(saved(parts), whole, atol=0, rtol=0)
