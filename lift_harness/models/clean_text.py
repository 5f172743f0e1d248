"""The clean text that a noised copy of it sees, as block diffusion is trained.

A noised token sees the noised ones of its own block and the clean ones of the blocks before it
(`block_causal.noisy_and_clean`). The keys and values of the clean ones depend on no noise: a row is not one
pass of 2 N columns under a mask of 2 N x 2 N but two of N, first the clean text, block-causally, then the
noised one on its keys and values, and several noised copies share the first. (Arriola et al. 2025, arXiv
2503.09573, section 3.1.)

Shapes: B rows, N columns, C of them seen by later blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from lift_harness.models.layers import KeyValueCache

KeysValues = dict[int, tuple[Tensor, Tensor]]  # of each layer, [B, H_kv, C, head size] twice


class Keeper(KeyValueCache):
    """A cache for one pass, which keeps the keys and values that pass."""

    def __init__(self) -> None:
        self.kept: KeysValues = {}

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep a layer's; a checkpointed layer passes a second time, in the backward pass."""
        self.kept.setdefault(layer, (key, value))
        return key, value


@dataclass(frozen=True)
class CleanText(KeyValueCache):
    """The clean text of a batch; once its keys and values are known, a cache of the passes that see it.

    Attributes:
        ids: int64 [B, C].
        positions: of the whole text, counted within its segment: int64 [1 or B, N].
        segment: int64 [1 or B, N]; tokens see each other within one.
        block_size: of the model.
        kept: keys and values; None: each pass computes them itself.
        drawn: whether dropout had a part in them.
        noised: columns of the noised copy; the others are not passed.
    """

    ids: Tensor
    positions: Tensor
    segment: Tensor
    block_size: int
    kept: KeysValues | None = None
    drawn: bool = False
    noised: slice = field(default_factory=lambda: slice(None))

    @cached_property
    def pass_of_its_own(self) -> dict[str, Tensor]:
        """Arguments of `hidden_states` for the pass that makes keys and values."""
        seen, size = slice(self.ids.shape[1]), self.ids.shape[1]
        block, segment = self.positions[:, seen] // self.block_size, self.segment[:, seen]
        mask = (block[:, :, None] >= block[:, None]) & (segment[:, :, None] == segment[:, None])
        return {
            "input_ids": self.ids,
            "attention_mask": mask.expand(-1, size, -1),
            "position_ids": self.positions[:, seen],
        }

    @property
    def noised_positions(self) -> Tensor:
        """Of the noised columns: int64 [1 or B, n]."""
        return self.positions[:, self.noised]

    @cached_property
    def mask(self) -> Tensor:
        """What the noised columns see of the clean and of the noised keys: bool [1 or B, n, C + n]."""
        block, noised, seen = self.positions // self.block_size, self.noised, slice(self.ids.shape[1])
        query, segment = block[:, noised, None], self.segment[:, noised, None]
        before = (query > block[:, None, seen]) & (segment == self.segment[:, None, seen])
        own = (query == block[:, None, noised]) & (segment == self.segment[:, None, noised])
        return torch.cat((before, own), dim=-1)

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The clean keys and values of a layer, before those of the noised text."""
        assert self.kept is not None
        clean_key, clean_value = self.kept[layer]
        return torch.cat((clean_key, key), dim=2), torch.cat((clean_value, value), dim=2)

    # ------------------------------------------------------------ parts of it

    def around(self, where: Tensor) -> CleanText:
        """Only the noised columns from the first to the last block in which `where` [B, N] is True somewhere.

        A noised block is seen by no other: those of the prompts need not be computed.
        """
        if len(self.positions) > 1:  # rows of several texts, whose blocks begin in different columns
            return self
        wanted = where.any(0).nonzero()[:, 0].tolist() or [0]
        first, last = wanted[0] // self.block_size, wanted[-1] // self.block_size
        return replace(self, noised=slice(first * self.block_size, (last + 1) * self.block_size))

    def rows(self, which: Tensor) -> CleanText:
        """Some rows (bool [B] or int64)."""
        kept = self.kept and {n: (key[which], value[which]) for n, (key, value) in self.kept.items()}
        positions, segment = (x if len(x) == 1 else x[which] for x in (self.positions, self.segment))
        return replace(self, ids=self.ids[which], positions=positions, segment=segment, kept=kept)

    def unread(self) -> CleanText:
        """The same without keys and values."""
        return replace(self, kept=None, drawn=False)
