"""From turns to batches: tokenised examples and the collator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
