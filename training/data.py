"""From turns to batches: tokenised examples and the collator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from lift_harness.models.chat import encode_example
from lift_harness.tasks.prompts import GEN_PREFIX
from lift_harness.training.synthetic import Turn


@dataclass(frozen=True)
class Example:
    """One tokenised exchange; `id` keys its noise and does not depend on order or batch."""

    id: int
    prompt: list[int]
    response: list[int]


def tokenize(turns: Sequence[Turn], tokenizer: Any) -> list[Example]:
    """Turns as examples; an example's id is its index."""
    return [
        Example(i, *encode_example(tokenizer, turn.user, GEN_PREFIX, turn.response))
        for i, turn in enumerate(turns)
    ]


@dataclass(frozen=True)
class Collator:
    """Pads responses with end-of-text, up to the longest in the batch or to `pad_to` tokens."""

    eos_id: int
    pad_to: int | None = None

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Tensors `input_ids`, `labels` (-100 on the prompt) [B, N] and `example_id` [B]."""
        length = self.pad_to or max(len(e.prompt) + len(e.response) for e in examples)
        ids = torch.full((len(examples), length), self.eos_id)
        labels = ids.clone()
        for row, example in enumerate(examples):
            text = torch.tensor(example.prompt + example.response)[:length]
            ids[row, : len(text)] = labels[row, : len(text)] = text
            labels[row, : len(example.prompt)] = -100
        return {
            "input_ids": ids,
            "labels": labels,
            "example_id": torch.tensor([e.id for e in examples]),
        }


class LengthGrouped(Sampler[int]):
    """A random order in which examples of about the same length share an optimiser step.

    `batch_size` is the examples of a whole step (over accumulation and processes), so that what a step
    sees does not depend on how it is cut up.

    Every epoch is a new shuffle; each run of `batches` batches is sorted by length, and then the
    batches are shuffled again, so that no order of lengths is left (1: no grouping).
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, batches: int = 8) -> None:
        self.lengths, self.batch_size, self.batches = lengths, batch_size, batches
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        noise = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=noise).tolist()
        run = self.batch_size * self.batches
        for start in range(0, len(order), run):
            order[start : start + run] = sorted(order[start : start + run], key=self.lengths.__getitem__)
        whole = len(order) // self.batch_size
        for batch in [*torch.randperm(whole, generator=noise).tolist(), whole]:
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size]
