"""Several processes, each evaluating its share: `accelerate launch -m lm_eval ...` (or torchrun)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from lift_harness.errors import LiftError

# How long a process waits for another before the launch is given up: shares of an evaluation are uneven, and
# NCCL's own ten minutes are too few for them.
PATIENCE = timedelta(hours=2)
Key = TypeVar("Key", bound=Hashable)


class Ranks:
    """This process among those of the launch; alone without one.

    lm-eval deals the documents out and asks a model for these primitives to gather what came of them.
    """

    def __init__(self, device: str | None) -> None:
        """Join the launch, if the environment tells of one; `device` "cpu" keeps it off the GPUs."""
        self.state: Any = None
        self.group: Any = None  # those that take part now; None: all
        if launched_processes() > 1:
            from accelerate import PartialState

            # Without a GPU it must be told, or it starts the group and takes itself for alone.
            self.state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=PATIENCE)

    @property
    def rank(self) -> int:
        """Number of this process among all, on all machines."""
        return self.state.process_index if self.state else 0

    @property
    def world_size(self) -> int:
        """Number of processes that take part."""
        return torch.distributed.get_world_size(self.group) if self.state else 1

    @contextmanager
    def first(self, n: int) -> Iterator[bool]:
        """Only the first `n` processes, where there are more; yields whether this is one of them.

        The others go on at once to the end of the block, and wait there.
        """
        if n >= self.world_size:
            yield True
            return
        member, group = self.rank < n, torch.distributed.new_group(range(n), timeout=PATIENCE)
        self.group = group if member else None
        try:
            yield member
        finally:
            self.group = None
        self.barrier()

    @cached_property
    def device(self) -> str | None:
        """The device of this process in a launch, None outside of one."""
        return str(self.state.device) if self.state else None

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The ranks' tensors, all of one shape, flattened and one after the other."""
        if not self.state:
            return tensor
        parts = [torch.zeros_like(tensor) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, tensor, group=self.group)
        return torch.cat([part.reshape(-1) for part in parts])

    def gather_object(self, thing: Any, dst: int = 0) -> list[Any] | None:
        """The ranks' objects on rank `dst`, None elsewhere."""
        if not self.state:
            return [thing]
        things = [None] * self.world_size if self.rank == dst else None
        torch.distributed.gather_object(thing, things, dst=dst, group=self.group)
        return things

    def broadcast(self, thing: Any) -> Any:
        """The first process's object, on every process."""
        if not self.state:
            return thing
        box = [thing]
        torch.distributed.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def barrier(self) -> None:
        """Wait for all that take part."""
        if self.group is not None:
            torch.distributed.barrier(self.group)
        elif self.state:
            self.state.wait_for_everyone()

    def sum(self, counts: Counter[Key]) -> Counter[Key]:
        """Counts of all ranks together, on every rank."""
        if not self.state:
            return counts
        every: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(every, dict(counts), group=self.group)
        return sum(map(Counter, every), Counter())


def launched_processes() -> int:
    """How many processes the launch says there are (WORLD_SIZE); 1 without one.

    Raises:
        LiftError: the variable is no number.
    """
    said = os.environ.get("WORLD_SIZE") or "1"
    if not said.isdecimal():
        raise LiftError(f"WORLD_SIZE={said!r}: the environment's number of processes is none; unset it")
    return int(said)
