"""Experiment trackers (`training.report_to`): a training is a run of its own, in which a resumed one goes on.

transformers' callbacks send the logs; what they would not do is done here. Weights & Biases keeps one run a
process, so that the next method would go on in it; TensorBoard gets a new folder at each start, and shows
what was logged after the checkpoint twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from transformers.integrations import TensorBoardCallback, get_available_reporting_integrations

from lift_harness.errors import LiftError, first_line
from lift_harness.files import read_json, write_json

RUN = "tracked.json"  # the id of a training's run, beside its log


class Tracked(NamedTuple):
    """What trackers call a training.

    Attributes:
        name: of the run, e.g. "lift-h3/seed-1".
        group: which runs belong together, e.g. "quickstart".
        config: what distinguishes it, beside the Trainer's arguments.
    """

    name: str
    group: str
    config: Mapping[str, Any] = {}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse an experiment tracker that is unknown, not installed, or cannot log in.

    Raises:
        LiftError: one is.
    """
    for name in names:
        if name not in (known := get_available_reporting_integrations()):
            there = ", ".join(known) or "none"
            raise LiftError(
                f"training.report_to={list(names)}: {name} is not installed, or unknown to transformers; "
                f"there: {there} (pip install 'lift-harness[track]' for tensorboard and wandb)"
            )
    if "wandb" in names:
        check_login()


def check_login() -> None:
    """Refuse Weights & Biases where it is to be online and cannot be.

    Raises:
        LiftError: it has no account, or its server does not know it or cannot be reached.
    """
    import wandb

    if wandb.setup().settings.mode not in ("online", "shared"):
        return
    try:
        why = None if wandb.login(prompt=False) else "no account"
    except wandb.Error as error:
        why = first_line(error)
    if why:
        raise LiftError(
            f"training.report_to: wandb cannot log in ({why}); run `wandb login`, or set WANDB_MODE=offline"
        )


@contextmanager
def tracking(trainer: Any, tracked: Tracked, folder: Path, step: int) -> Iterator[None]:
    """Have a training's run open with each tracker of `trainer.args.report_to`, in the process that logs.

    Args:
        trainer: that will train.
        tracked: what the run is called.
        folder: of the training.
        step: that it goes on from.

    Raises:
        LiftError: a tracker could not begin it.
    """
    trainer.args.run_name = f"{tracked.group}/{tracked.name}"  # trackio's name of it
    names = trainer.args.report_to
    with ExitStack() as stack:
        if trainer.is_world_process_zero():
            if "wandb" in names:
                stack.enter_context(wandb_run(tracked, run_id(folder)))
            for callback in trainer.callback_handler.callbacks:
                if isinstance(callback, TensorBoardCallback):
                    callback.tb_writer = tensorboard_writer(tracked, folder, step)
        yield


def run_id(folder: Path) -> str:
    """The id of the training in a folder: made for its first attempt, and kept there for the others."""
    file = folder / RUN
    if not file.is_file():
        write_json(file, {"id": uuid4().hex[:8]})
    return str(read_json(file)["id"])


@contextmanager
def wandb_run(tracked: Tracked, known_as: str) -> Iterator[None]:
    """A run of Weights & Biases, ended with the training; one that is open already is left as it is."""
    import wandb

    if wandb.run is not None:
        yield
        return
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "lift-harness"),
            group=os.environ.get("WANDB_RUN_GROUP", tracked.group),
            name=tracked.name,
            id=known_as,
            resume="allow",
            config=dict(tracked.config),
            settings=wandb.Settings(console="off"),
        )
    except wandb.Error as error:
        raise LiftError(
            f"training.report_to: wandb could not begin a run: {first_line(error)}; WANDB_MODE=offline keeps "
            "it on this machine"
        ) from error
    try:
        yield
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def tensorboard_writer(tracked: Tracked, folder: Path, step: int) -> Any:
    """A writer of TensorBoard's events after a step; what a killed attempt logged after it is hidden."""
    from torch.utils.tensorboard import SummaryWriter

    root = os.environ.get("TENSORBOARD_LOGGING_DIR")
    place = Path(root).expanduser() / tracked.group / tracked.name if root else folder / "tensorboard"
    return SummaryWriter(log_dir=str(place), purge_step=step + 1)
