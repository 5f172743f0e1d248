"""Experiment trackers: a run for each method and seed, in which a killed training goes on."""

import json
from collections import defaultdict

import pytest
from support.tiny_runs import run

from lift_harness.errors import LiftError
from lift_harness.training.trainer import ObjectiveTrainer

TRACKED = [
    *("select=[vanilla, lift-h3]", "training.max_steps=4", "training.save_steps=2"),
    "training.logging_steps=1",
]


@pytest.fixture
def killed_once(tmp_path, monkeypatch):
    """killed_once(sets): the folder of a run that was killed in step 4 of its first method, and went on."""

    def made(sets):
        with monkeypatch.context() as patch:
            patch.setattr(ObjectiveTrainer, "compute_loss", killed_in_step_4(ObjectiveTrainer.compute_loss))
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "mine", [*TRACKED, *sets], only="train")
        run(tmp_path / "mine", [*TRACKED, *sets], only="train")
        return tmp_path / "mine"

    return made


def killed_in_step_4(compute_loss):
    def killed(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return compute_loss(self, *args, **kwargs)

    return killed


def logged(folder, method):
    lines = (folder / method / "train" / "log.jsonl").read_text().splitlines()
    return {line["step"]: line["loss"] for line in map(json.loads, lines)}


@pytest.mark.slow
def test_wandb_has_a_run_for_each_training_that_goes_on_in_it(killed_once, tmp_path, monkeypatch):
    pytest.importorskip("wandb").teardown()
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    folder = killed_once(["training.report_to=[wandb]"])
    attempts = defaultdict(list)
    for file in sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb")):
        begun, history, code = read_wandb(file)
        attempts[begun.run_id, begun.display_name, begun.run_group, begun.project].append((history, code))
    (vanilla, of_vanilla), (lift, of_lift) = attempts.items()
    assert vanilla[1:] == ("vanilla", "mine", "lift-harness") and lift[1:] == ("lift-h3",) + vanilla[2:]
    assert vanilla[0] != lift[0]
    losses = logged(folder, "vanilla")
    (first, failed), (second, ended) = of_vanilla
    assert list(first) == [1, 2, 3] and list(second) == [3, 4] and first | second == pytest.approx(losses)
    assert (failed, ended) == (1, 0)
    assert [steps for steps, _ in of_lift] == [pytest.approx(logged(folder, "lift-h3"))]


def leveldb_records(content):
    """The records of a log in LevelDB's format, behind wandb's header of 7 bytes."""
    block, at, record = 2**15, 7, b""
    while at + 7 <= len(content):
        if at % block > block - 7:  # what is left of a block has no room for a header
            at += -at % block
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def read_wandb(file):
    """What an offline run has: its record, step -> loss, and its exit code."""
    from wandb.proto.wandb_internal_pb2 import Record

    begun, losses, code = None, {}, None
    for record in map(Record.FromString, leveldb_records(file.read_bytes())):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            begun = record.run
        elif kind == "exit":
            code = record.exit.exit_code
        elif kind == "history":
            items = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            if "train/loss" in items:
                losses[int(items["train/global_step"])] = float(items["train/loss"])
    return begun, losses, code


@pytest.mark.slow
@pytest.mark.parametrize("shared_folder", [False, True])
def test_tensorboard_shows_each_step_of_each_training_once(killed_once, tmp_path, monkeypatch, shared_folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    if shared_folder:
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    folder = killed_once(["training.report_to=[tensorboard]"])
    for method in ("vanilla", "lift-h3"):
        own = folder / method / "train" / "tensorboard"
        events = accumulator.EventAccumulator(
            str(tmp_path / "board" / "mine" / method if shared_folder else own)
        )
        events.Reload()
        found = [(event.step, event.value) for event in events.Scalars("train/loss")]
        assert found == [(step, pytest.approx(loss)) for step, loss in logged(folder, method).items()]


def test_wandb_without_an_account_is_refused_before_anything_begins(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it reads its settings once
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name, value in {"WANDB_MODE": "online", "NETRC": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LiftError, match="cannot log in .no account.; run `wandb login`, or set WANDB_MODE="):
        run(tmp_path / "run", ["training.report_to=[wandb]"])
    assert not (tmp_path / "run").exists()
    wandb.teardown()
