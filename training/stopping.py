"""SIGTERM and Ctrl-C while training: finish the step, keep a checkpoint, say how to go on.

Slurm and torchrun both pass a signal on, so that a process may get one twice.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

from lift_harness.errors import Stopped

ECHO = 5.0  # seconds in which a signal that comes again is the same one


class StopOnSignal(TrainerCallback):
    """The first signal ends training after the step it falls into, with a checkpoint; a later one at once."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.heard = 0.0
        self.step = self.of = 0

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if not self.heard:
            self.signal, self.heard = self.signal or signal.Signals(number), time.monotonic()
        elif time.monotonic() - self.heard > ECHO:
            raise KeyboardInterrupt

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the signals, in the main thread (others are not told of them)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._heard) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after each optimiser step; processes agree, since a checkpoint takes all."""
        heard = self.signal is not None
        if args.world_size > 1:
            flag = torch.tensor([int(heard)], device=args.device)
            torch.distributed.all_reduce(flag)
            heard = bool(flag.item())
            self.signal = self.signal or (signal.SIGTERM if heard else None)
        if heard and state.global_step < state.max_steps:
            self.step, self.of = state.global_step, state.max_steps
            control.should_training_stop = True
            control.should_save = args.save_strategy != "no"

    def check(self, folder: Path) -> None:
        """Raise if training was stopped before its end.

        Raises:
            Stopped: it was.
        """
        if self.step:
            assert self.signal is not None
            raise Stopped(
                f"{self.signal.name} at step {self.step} of {self.of}; what was trained so far is kept in "
                f"{folder}, and the same command goes on there",
                self.signal,
            )
