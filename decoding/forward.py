"""A forward pass: hidden states at the columns of the blocks that are being decoded.

Shapes: N canvases, n columns of a block, D hidden; G = 2 with guidance (conditional, unconditional),
otherwise 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lift_harness.decoding.batch import Batch, FirstPass, Lane, numbers, slots
from lift_harness.decoding.caches import View


def hidden_states(batch: Batch, lanes: list[Lane], ids: Tensor, columns: Tensor, whole: bool) -> Tensor:
    """Hidden states [G, N, n, D] that predict `columns` [N, n] of the canvases `ids` [N, width + 1].

    The samples of one problem begin with the same canvas: it goes through the model once, and they take its
    hidden states, keys and values over.
    """
    leaders: dict[Any, int] = {}
    followers: dict[int, Any] = {}
    for n, lane in enumerate(lanes):
        if lane.row.passes == 0:
            canvas = lane.row.first_canvas
            batch.waiting[canvas] -= 1
            if canvas in leaders or canvas in batch.first_passes:
                followers[n] = canvas
            else:
                leaders[canvas] = n
    own = [n for n in range(len(lanes)) if n not in followers]
    hidden = columns.new_empty(0)
    if own:
        hidden = forward(batch, [lanes[n] for n in own], ids[own], columns[own], whole)
    for canvas, n in leaders.items():
        if batch.waiting[canvas] or canvas in followers.values():
            batch.first_passes[canvas] = first_pass(batch, lanes[n], hidden[:, own.index(n)])
    if followers:
        hidden = take_over(batch, lanes, columns, own, hidden, followers)
    for canvas in [canvas for canvas in batch.first_passes if not batch.waiting[canvas]]:
        del batch.first_passes[canvas]
    return hidden


def first_pass(batch: Batch, lane: Lane, hidden: Tensor) -> FirstPass:
    """A copy of what a lane's first pass gave; hidden [G, n, D]."""
    kept = batch.store.read(batch.kept_in([lane]), lane.row.request.length) if batch.store else []
    return FirstPass(hidden[:, : lane.left].clone(), kept)


def take_over(
    batch: Batch,
    lanes: list[Lane],
    columns: Tensor,
    own: list[int],
    hidden: Tensor,
    followers: dict[int, Any],
) -> Tensor:
    """Hidden states of all lanes from those of `own` and from the first passes that the others follow."""
    like = next(iter(batch.first_passes.values())).hidden
    together = like.new_zeros(len(like), len(lanes), columns.shape[1], like.shape[-1])
    if own:
        together[:, own] = hidden
    for n, canvas in followers.items():
        first = batch.first_passes[canvas]
        together[:, n, : first.hidden.shape[1]] = first.hidden
        if batch.store:
            batch.store.write(batch.kept_in([lanes[n]]), first.kept)
    return together


def forward(batch: Batch, lanes: list[Lane], ids: Tensor, columns: Tensor, whole: bool) -> Tensor:
    """Hidden states [G, N, n, D] that predict `columns` [N, n], of one pass over canvases `ids`."""
    n, shift = len(lanes), batch.model.logit_shift  # shift 1: token i is predicted at i - 1
    if batch.static and n < batch.slots:  # more of the same, to keep the shape
        lanes = [*lanes, *[lanes[-1]] * (batch.slots - n)]
        index = numbers([*range(n), *[n - 1] * (batch.slots - n)], ids.device)
        ids, columns = ids[index], columns[index]
    lengths = [lane.row.request.length for lane in lanes]
    longest = batch.width if batch.static else max(lengths)
    visible = None
    if batch.static or min(lengths) < longest:
        visible = torch.arange(longest, device=ids.device) < numbers(lengths, ids.device)[:, None]
    position = torch.arange(longest, device=ids.device)[None] if whole else window(batch, lanes)
    at = (columns - shift - position[:, :1]).clamp(0, position.shape[1] - 1)
    every = position.expand(len(lanes), -1)  # [N, S]
    inputs = ids.gather(1, every)
    if batch.guided:  # the second half sees the prompt masked
        given = batch.given[slots(lanes)].gather(1, every)
        inputs = torch.cat((inputs, inputs.masked_fill(given, batch.mask_id)))
        at, visible = torch.cat((at, at)), None if visible is None else torch.cat((visible, visible))
        position = position if whole else torch.cat((position, position))
    cache: dict[str, Any] = {}
    if batch.store:
        cache["cache"] = View(batch.store, batch.kept_in(lanes), position, longest, whole)
    batch.counts.update(calls=1, canvases=len(inputs), columns=inputs.numel())
    hidden = batch.hidden_states(inputs, visible, position, at=at, **cache)  # [G N, n, D]
    return hidden.unflatten(0, (1 + batch.guided, -1))[:, :n]


def window(batch: Batch, lanes: list[Lane]) -> Tensor:
    """The columns [N, S] that each canvas computes under a cache; scratch where its window is narrower."""
    assert batch.window is not None
    found = []
    for lane in lanes:
        start, end, _ = lane.row.here
        found.append(batch.window(start, end, lane.row.request.length))
    size = max(last - first for first, last in found)
    if batch.static and size > 64:
        size = -(-size // 64) * 64
    begin, end_ = numbers((n for pair in found for n in pair), batch.ids.device).view(-1, 2, 1).unbind(1)
    position = begin + torch.arange(size, device=batch.ids.device)
    return torch.where(position < end_, position, batch.width)
