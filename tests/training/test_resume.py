"""Training that is killed, stopped or out of disk, and continued: the same weights, bit for bit."""

import json
import os
import random
import resource
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.families_reference import write_family
from support.forking import fork, outcome
from support.llada_reference import EOS, MASK, VOCAB

from lift_harness.errors import LiftError, Stopped
from lift_harness.training import LoraSettings, TrainSettings, checkpoints, get_objective, train
from lift_harness.training.data import Example
from lift_harness.training.stopping import StopOnSignal

TOKENIZER = SimpleNamespace(eos_token_id=EOS, mask_token_id=MASK)
SETTINGS = {
    "learning_rate": 1e-3,
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "epochs": 3,  # of 3 steps, the last of which is short
    "save_steps": 1,
    "logging_steps": 2,
    "lora": LoraSettings(r=4, alpha=8, dropout=0.1),
}
STEPS = 9

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")


def example(i: int) -> Example:
    rng = np.random.default_rng(i)
    return Example(i, rng.integers(0, MASK, 4).tolist(), rng.integers(0, MASK, 6 + i).tolist())


@pytest.fixture
def start(request, llada_folder, tmp_path):
    """start(output, resume=False, file_limit=None, **settings): a training in another process; its pid.

    Of a LLaDA, or of another family by parameter.
    """
    import peft  # noqa: F401  (here, and not again in each process)

    from lift_harness.models.families import MODEL_CLASSES
    from lift_harness.training import fine_tuning  # noqa: F401

    family = getattr(request, "param", "llada")  # weights are made here, and not in each process
    shape = {"vocab_size": VOCAB, "block_size": 4}
    weights = llada_folder() if family == "llada" else write_family(tmp_path / "base", family, **shape)

    def run(output, resume, values):
        model = MODEL_CLASSES[family].from_pretrained(weights)
        settings = TrainSettings(**SETTINGS | values)
        objective, texts = get_objective("lift"), [example(i) for i in range(11)]
        model, _ = train(
            model, TOKENIZER, texts[:10], objective, settings, output, 3, validation=texts[10:], resume=resume
        )
        model.save_pretrained(output / "final")

    def start(output, resume=False, file_limit=None, **values):
        def work():
            if file_limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            try:
                run(output, resume, values)
            except LiftError as error:
                (output / "said").write_text(str(error))
                return error.exit_code if isinstance(error, Stopped) else 2
            return 0

        return fork(work)

    return start


@pytest.fixture
def whole(start, tmp_path):
    """An uninterrupted run: its weights, its log, and how long it took."""
    began = time.monotonic()
    assert outcome(start(tmp_path / "whole")) == 0
    return *results(tmp_path / "whole"), time.monotonic() - began


def results(folder):
    weights = load_file(folder / "final" / "adapter_model.safetensors")
    return weights, (folder / "log.jsonl").read_text(), (folder / "confidence.json").read_text()


def assert_same(folder, whole):
    weights, log, confidence = results(folder)
    assert weights.keys() == whole[0].keys() and len(weights) > 0
    assert all(torch.equal(weights[name], whole[0][name]) for name in weights)
    assert (log, confidence) == whole[1:3]


@pytest.mark.slow
@pytest.mark.parametrize(("start", "times"), [("llada", 12), ("sdar", 4)], indirect=["start"])
def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_weights(start, whole, times, tmp_path):
    folder, chance = tmp_path / "killed", random.Random(0)
    assert len(whole[1].splitlines()) == 5 and json.loads(whole[1].splitlines()[-1])["step"] == STEPS
    kills = 0
    reached = set()
    while kills < times:
        pid = start(folder, resume=True)
        time.sleep(chance.uniform(0.05, 0.95) * whole[3])
        os.kill(pid, signal.SIGKILL)
        killed = outcome(pid) == -signal.SIGKILL
        kills += killed
        reached.update(checkpoints.steps(folder))
        if not killed:  # it was faster: begin again
            assert_same(folder, whole)
            folder = tmp_path / f"killed-{kills}"
    assert len(reached) > times // 4
    assert outcome(start(folder, resume=True)) == 0
    assert_same(folder, whole)


def test_sigterm_and_ctrl_c_end_with_a_checkpoint_and_a_sentence(start, whole, tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT):
        folder = tmp_path / number.name
        pid = start(folder, save_steps=1000)
        while not (folder / "log.jsonl").is_file() or not (folder / "log.jsonl").read_text():
            time.sleep(0.01)
        for _ in range(2):  # as a process gets it from Slurm and from torchrun
            os.kill(pid, number)
        assert outcome(pid) == 128 + number
        said = (folder / "said").read_text()
        (step,) = checkpoints.steps(folder)
        assert 2 <= step < STEPS
        assert f"{number.name} at step {step} of {STEPS}" in said and "the same command goes on" in said
        assert outcome(start(folder, resume=True, save_steps=1000)) == 0
        assert_same(folder, whole)


def test_a_signal_that_comes_later_ends_at_once(monkeypatch):
    stop = StopOnSignal()
    now = [100.0, 100.1, 110.0]
    monkeypatch.setattr("lift_harness.training.stopping.time.monotonic", lambda: now.pop(0))
    stop._heard(signal.SIGTERM, None)
    stop._heard(signal.SIGTERM, None)
    assert stop.signal == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        stop._heard(signal.SIGTERM, None)


@pytest.mark.parametrize("how", ["cut", "gone", "changed", "no list"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(start, whole, tmp_path, how):
    folder = tmp_path / "damaged"
    assert outcome(start(folder, save_total_limit=None)) == 0
    newest = folder / f"checkpoint-{STEPS}"
    file = newest / "adapter_model.safetensors"
    if how == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif how == "gone":
        (newest / "optimizer.pt").unlink()
    elif how == "changed":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        (newest / checkpoints.LIST).write_text("{")
    with pytest.warns(RuntimeWarning, match=f"checkpoint-{STEPS}: .*the checkpoint before"):
        assert checkpoints.newest(folder) == folder / f"checkpoint-{STEPS - 1}"
    assert outcome(start(folder, resume=True, save_total_limit=None)) == 0
    assert_same(folder, whole)
    assert checkpoints.newest(folder) == newest  # written anew


@pytest.mark.parametrize(
    "values",
    [
        {"max_steps": 4},  # an epoch has 3
        {"epochs": 1.5},
        {"max_steps": 4, "eval_steps": 1, "select": "best"},
    ],
    ids=["max_steps", "epochs", "best"],
)
def test_a_training_that_was_at_its_end_takes_no_step_more(start, tmp_path, values):
    """Killed between the checkpoint of its last step and the end; a step more would change all of it."""
    folder, values = tmp_path / "twice", {"lr_scheduler": "constant", **values}
    assert outcome(start(folder, **values)) == 0
    once, passes = results(folder), (folder / "passes.json").read_text()
    last = checkpoints.steps(folder)[0]
    assert outcome(start(folder, resume=True, **values)) == 0
    assert_same(folder, once)
    assert (folder / "passes.json").read_text() == passes and checkpoints.steps(folder)[0] == last


def test_a_full_disk_leaves_the_checkpoint_before(start, whole, tmp_path):
    """Files of at most so many bytes: the optimiser's state does not fit, the step before it did."""
    folder = tmp_path / "full"
    assert outcome(start(folder, max_steps=2, lr_scheduler="constant")) == 0
    size = (folder / "checkpoint-2" / "optimizer.pt").stat().st_size
    assert (
        outcome(start(folder, resume=True, max_steps=4, lr_scheduler="constant", file_limit=size // 2)) == 2
    )
    said = (folder / "said").read_text()
    assert "the checkpoint of step 3 could not be written" in said
    assert "the one of step 2 is usable" in said and "\n" not in said
    assert checkpoints.steps(folder) == [2, 1] and not (folder / "part").exists()
    assert checkpoints.newest(folder) == folder / "checkpoint-2"
    assert outcome(start(folder, resume=True, max_steps=4, lr_scheduler="constant")) == 0
    other = tmp_path / "other"
    assert outcome(start(other, max_steps=4, lr_scheduler="constant")) == 0
    assert_same(folder, results(other))


def test_old_checkpoints_go_and_the_best_stays(start, tmp_path):
    folder = tmp_path / "best"
    values = {"eval_steps": 1, "select": "best", "learning_rate": 0.05, "lr_scheduler": "constant"}
    assert outcome(start(folder, **values)) == 0
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    nelbo = {line["step"]: line["eval_nelbo"] for line in log if "eval_nelbo" in line}
    best = min(nelbo, key=nelbo.get)
    assert len(nelbo) == STEPS and best < STEPS - 1  # at such a learning rate
    assert checkpoints.steps(folder) == [STEPS, STEPS - 1, best]
    kept = load_file(folder / f"checkpoint-{best}" / "adapter_model.safetensors")
    final = load_file(folder / "final" / "adapter_model.safetensors")
    assert all(torch.equal(kept[name], final[name]) for name in kept)


def test_without_an_evaluation_the_last_is_the_best(start, tmp_path):
    values = {"eval_steps": STEPS + 1, "save_steps": STEPS + 1, "lr_scheduler": "constant"}
    for name in ("best", "last"):
        assert outcome(start(tmp_path / name, select=name, **values)) == 0
    best, last = (
        load_file(tmp_path / name / "final" / "adapter_model.safetensors") for name in ("best", "last")
    )
    assert all(torch.equal(best[name], last[name]) for name in last)
