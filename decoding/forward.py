"""A forward pass: hidden states at the columns of the blocks that are being decoded.

Shapes: N canvases, n columns of a block, D hidden; G = 2 with guidance (conditional, unconditional),
otherwise 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lift_harness.decoding.batch import Batch, Canvases, FirstPass, bounds
from lift_harness.decoding.caches import View
from lift_harness.decoding.row import Row
from lift_harness.decoding.transfer import numbers
from lift_harness.models.block_causal import block_causal


def hidden_states(batch: Batch, seen: Canvases, whole: bool) -> Tensor:
    """Hidden states [G, N, n, D] that predict the columns [N, n] of the canvases.

    Args:
        batch: what is decoded together.
        seen: the canvases.
        whole: whether all columns that are seen are computed, and not only the windows of a cache.
    """
    if any(row.passes == 0 for row in seen.rows):
        hidden = with_first_passes(batch, seen, whole)
    else:
        hidden = forward(batch, seen, whole)
    for row in seen.rows:
        row.passes += 1
    return hidden


# ---------------------------------------------------------------- a pass


def forward(batch: Batch, seen: Canvases, whole: bool) -> Tensor:
    """`hidden_states` of one pass that all canvases take."""
    device, number = seen.ids.device, len(seen.rows)
    if batch.static and number < batch.slots:  # more of the same, to keep the shape
        seen = seen.take([*range(number), *[number - 1] * (batch.slots - number)])
    lengths = [batch.seen(row) for row in seen.rows]
    longest = batch.width if batch.static else max(lengths)
    visible = None
    if batch.static or min(lengths) < longest:
        visible = torch.arange(longest, device=device) < numbers(lengths, device)[:, None]
    position = torch.arange(longest, device=device)[None] if whole else window(batch, seen.rows)
    if batch.has_blocks and not in_one_block(batch, seen.rows, position):
        visible = between_blocks(batch, seen.rows, position, longest, visible)
    # A model with a shift of 1 predicts token i at i - 1.
    at = seen.columns - batch.model.logit_shift - position[:, :1]
    at = at.clamp(0, position.shape[1] - 1)
    every = position.expand(len(seen.rows), -1)  # [N, S]
    inputs = seen.ids.gather(1, every)
    if batch.guided:  # the second half sees the prompt masked
        given = batch.given[seen.slots].gather(1, every)
        inputs = torch.cat((inputs, inputs.masked_fill(given, batch.mask_id)))
        at, visible = torch.cat((at, at)), None if visible is None else torch.cat((visible, visible))
        position = position if whole else torch.cat((position, position))
    cache: dict[str, Any] = {}
    if batch.store:
        cache["cache"] = View(batch.store, batch.kept_in(seen.rows), position, longest, whole)
    batch.counts.update(calls=1, canvases=len(inputs), columns=inputs.numel())
    hidden = batch.hidden_states(inputs, visible, position, at=at, **cache)  # [G N, n, D]
    return hidden.unflatten(0, (1 + batch.guided, -1))[:, :number]


def window(batch: Batch, rows: list[Row]) -> Tensor:
    """The columns [N, S] that each row computes under a cache; scratch where its window is narrower."""
    windows = [batch.computed(row) for row in rows]
    size = max(end - first for first, end in windows)
    if batch.static and size > 64:
        size = -(-size // 64) * 64
    first, end = bounds(windows, batch.ids.device)
    position = first + torch.arange(size, device=batch.ids.device)
    return torch.where(position < end, position, batch.width)


def in_one_block(batch: Batch, rows: list[Row], position: Tensor) -> bool:
    """Whether each row computes columns of one block only, the last that it sees: they see all that it does.

    position [N, S] are those columns.
    """
    size = batch.model.block_size
    if batch.store is None or position.shape[1] > size:
        return False
    for row in rows:
        first, end = batch.computed(row)
        if (first + row.offset) // size != (end - 1 + row.offset) // size:
            return False
    return True


def between_blocks(
    batch: Batch, rows: list[Row], position: Tensor, longest: int, visible: Tensor | None
) -> Tensor:
    """Who sees whom, bool [N, S, longest], when the columns `position` [1 or N, S] are computed.

    The engine says it and not the model, which counts blocks from column 0.
    """
    offset = numbers((row.offset for row in rows), batch.ids.device)[:, None]
    keys = torch.arange(longest, device=batch.ids.device)[None]
    sees = block_causal(position + offset, keys + offset, batch.model.block_size)
    return sees if visible is None else sees & visible[:, None]


# ---------------------------------------------------------------- first passes, shared by samples


def with_first_passes(batch: Batch, seen: Canvases, whole: bool) -> Tensor:
    """`hidden_states` where some rows begin.

    The samples of one problem begin with the same canvas: it goes through the model once (that of its
    leader), and the others (followers) take its hidden states, keys and values over.
    """
    leaders: dict[Any, int] = {}
    followers: dict[int, Any] = {}
    for n, row in enumerate(seen.rows):
        if row.passes == 0:
            canvas = row.first_canvas
            batch.waiting[canvas] -= 1
            if canvas in leaders or canvas in batch.first_passes:
                followers[n] = canvas
            else:
                leaders[canvas] = n
    own = [n for n in range(len(seen.rows)) if n not in followers]
    hidden = seen.ids.new_empty(0)
    if own:
        hidden = forward(batch, seen.take(own) if followers else seen, whole)
    for canvas, n in leaders.items():
        if batch.waiting[canvas] or canvas in followers.values():
            batch.first_passes[canvas] = first_pass(batch, seen.rows[n], hidden[:, own.index(n)])
    if followers:
        hidden = take_over(batch, seen, own, hidden, followers)
    for canvas in [canvas for canvas in batch.first_passes if not batch.waiting[canvas]]:
        del batch.first_passes[canvas]
    return hidden


def first_pass(batch: Batch, row: Row, hidden: Tensor) -> FirstPass:
    """A copy of what a row's first pass gave; hidden [G, n, D]."""
    kept = batch.store.read(batch.kept_in([row]), batch.seen(row)) if batch.store else []
    return FirstPass(hidden[:, : row.candidates].clone(), kept)


def take_over(
    batch: Batch, seen: Canvases, own: list[int], hidden: Tensor, followers: dict[int, Any]
) -> Tensor:
    """Hidden states of all rows from those of `own` and from the first passes that the others follow."""
    like = next(iter(batch.first_passes.values())).hidden
    together = like.new_zeros(len(like), *seen.columns.shape, like.shape[-1])
    if own:
        together[:, numbers(own, like.device)] = hidden
    for n, canvas in followers.items():
        first = batch.first_passes[canvas]
        together[:, n, : first.hidden.shape[1]] = first.hidden
        if batch.store:
            batch.store.write(batch.kept_in([seen.rows[n]]), first.kept)
    return together
