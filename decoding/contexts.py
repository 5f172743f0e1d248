"""Rows that share their contexts, as likelihoods ask for: of a model with blocks each is read once.

Keys and values of whole blocks do not depend on what follows them. So the blocks before the first one in
which anything differs are one pass, a row for each text, and the rows of the texts see its keys and values.

Shapes: T texts, R rows of them, W columns, C of them before the first difference, n after it, Q asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lift_harness.models.clean_text import Keeper, KeysValues
from lift_harness.models.layers import KeyValueCache


def hidden_states(
    model: Any, ids: Tensor, length: Tensor, at: Tensor, context: Tensor, owner: Tensor
) -> Tensor:
    """Final hidden states at some columns of rows that begin at column 0: [R, Q, D].

    Args:
        model: as for `decoding.generate`.
        ids: int64 [R, W], padded on the right.
        length: int64 [R], without padding.
        at: int64 [R, Q], of columns.
        context: int64 [R], columns that are equal in all rows of a text.
        owner: int64 [R], the text of each row, ascending, from 0.
    """
    device, size = model.device, model.block_size
    columns = torch.arange(ids.shape[1])[None]
    texts = int(owner[-1]) + 1
    if size is None or texts == len(owner):  # nothing to share
        real = columns < length[:, None]
        visible = None if real.all() else real.to(device)
        return model.hidden_states(ids.to(device), visible, columns.to(device), at=at.to(device))  # type: ignore[no-any-return]
    # A model that predicts a place earlier is asked in the last column of the context.
    begin = (context - model.logit_shift).clamp(min=0) // size * size  # [R]
    read, widest = int(begin.max()), int((length - begin).max())
    own = begin[:, None] + torch.arange(widest)  # [R, n]
    ids_of_own = ids.gather(1, own.clamp(max=ids.shape[1] - 1))
    keeper = Keeper()
    if read:
        first = torch.searchsorted(owner, torch.arange(texts))
        before = ids[first, :read].to(device)  # what is not of the context is of blocks that no row looks at
        nothing = torch.zeros(texts, 1, dtype=torch.int64, device=device)
        model.hidden_states(before, None, columns[:, :read].to(device), keeper, at=nothing)
    keys = torch.cat((columns[:, :read].expand(len(ids), -1), own), dim=1)  # [R, C + n]
    real = torch.cat((keys[:, :read] < begin[:, None], own < length[:, None]), dim=1)
    mask = real[:, None] & (keys[:, None] // size <= own[:, :, None] // size)  # [R, n, C + n]
    cache = Contexts(keeper.kept, owner.to(device))
    where = (at - begin[:, None]).clamp(0, widest - 1)
    return model.hidden_states(  # type: ignore[no-any-return]
        ids_of_own.to(device), mask.to(device), own.to(device), cache, at=where.to(device)
    )


@dataclass(frozen=True)
class Contexts(KeyValueCache):
    """A cache: keys and values of T contexts, and whose each of R rows is."""

    kept: KeysValues
    owner: Tensor

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the row's context, before its own."""
        if not self.kept:
            return key, value
        before_key, before_value = self.kept[layer]
        return (
            torch.cat((before_key[self.owner], key), dim=2),
            torch.cat((before_value[self.owner], value), dim=2),
        )
