"""Which examples share an optimiser step, and how long the rows of that step are.

Padding counts as response, so the length that rows are padded to is part of what is learnt. It is the longest
of the whole step: accumulation and processes cut a step up without changing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lift_harness.training.data import Collator


class Slot(NamedTuple):
    """One row of a batch.

    Attributes:
        example: its index.
        length: what it is padded to.
        filler: whether it only fills up a batch, so that all processes have as many; it teaches nothing.
    """

    example: int
    length: int
    filler: bool = False


class Slots(Dataset):
    """Examples as the collator gets them: (example, slot)."""

    def __init__(self, examples: Sequence[Any]) -> None:
        self.examples = list(examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, slot: Slot) -> tuple[Any, Slot]:
        return self.examples[slot.example], slot


@dataclass(frozen=True)
class SlotCollator:
    """Batches of `Slots`: rows padded with end-of-text to their step's length; a filler has no response."""

    eos_id: int
    pack_to: int | None = None

    def __call__(self, rows: Sequence[tuple[Any, Slot]]) -> dict[str, Tensor]:
        """As `Collator`."""
        batch = Collator(self.eos_id, rows[0][1].length, self.pack_to)([example for example, _ in rows])
        batch["labels"][torch.tensor([slot.filler for _, slot in rows])] = -100
        return batch


class Steps(Sampler[Slot]):
    """An epoch as steps of `step_size` examples, each of about the same length.

    Every epoch is a new shuffle; each run of `steps` steps is sorted by length, then the steps are shuffled
    again, so that no order of lengths is left (1: no grouping). What does not fill a step comes last.

    Args:
        lengths: tokens of each example.
        step_size: examples of a whole step, over accumulation and processes.
        multiple: the epoch is filled up to a multiple of it (processes x batch).
        seed: of the order.
        epoch: called when an epoch begins: its number. The order depends on nothing else.
        steps: how many are sorted together.
        pad_to: a fixed length of all rows; None: the longest of the step.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        step_size: int,
        multiple: int,
        seed: int,
        epoch: Callable[[], int],
        steps: int = 8,
        pad_to: int | None = None,
    ) -> None:
        self.lengths, self.step_size, self.multiple = lengths, step_size, multiple
        self.seed, self.epoch, self.steps, self.pad_to = seed, epoch, steps, pad_to

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.multiple) * self.multiple

    def order(self, epoch: int) -> list[list[int]]:
        """The steps of an epoch, as indices of examples."""
        noise = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.lengths), generator=noise).tolist()
        run = self.step_size * self.steps
        for start in range(0, len(order), run):
            order[start : start + run] = sorted(order[start : start + run], key=self.lengths.__getitem__)
        whole = len(order) // self.step_size
        shuffled = [*torch.randperm(whole, generator=noise).tolist(), whole]
        cut = (order[step * self.step_size : (step + 1) * self.step_size] for step in shuffled)
        return [step for step in cut if step]

    def __iter__(self) -> Iterator[Slot]:
        given, last = 0, None
        for step in self.order(self.epoch()):
            length = self.pad_to or max(self.lengths[index] for index in step)
            for index in step:
                last = Slot(index, length)
                yield last
                given += 1
        for _ in range(len(self) - given):
            assert last is not None
            yield last._replace(filler=True)
