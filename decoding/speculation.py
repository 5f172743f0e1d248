"""Self-speculation: several steps of the fixed schedule for one pass, with the same tokens.

In the manner of SSD (Gao et al. 2025, arXiv 2510.04147). The logits of a pass say what the next steps would
commit if nothing changed. The canvases of these drafts are sent through the model together; a canvas whose
predecessors came out as drafted is the true canvas of its step, and what it commits counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lift_harness.decoding.batch import Batch, Lane, Row, bounds, numbers, slots
from lift_harness.decoding.schedules import highest


def lanes(batch: Batch, row: Row) -> list[Lane]:
    """The canvases that a row sends through the next pass."""
    if batch.leads(row):
        return [Lane(row, 0, 1, leads=True)]
    found = [Lane(row, 0, row.left)]
    while row.drafted and len(found) < row.request.config.speculate:
        last = found[-1]
        count = last.planned() or 0
        if count == last.left:
            break
        found.append(Lane(row, last.ahead + 1, last.left - count))
    return found


def lay_out(batch: Batch, lanes: list[Lane]) -> Tensor:
    """The canvases [N, width + 1] of the lanes, with the drafted tokens filled in."""
    rows = numbers(slots(lanes), batch.ids.device)
    ids = batch.ids[rows]
    filled = [0 if lane.ahead == 0 else lane.row.left - lane.left for lane in lanes]
    if not any(filled):
        return ids
    start, end = bounds(lanes, ids.device)
    column = torch.arange(ids.shape[1], device=ids.device)
    open_ = (ids == batch.mask_id) & (column >= start) & (column < end)
    sure = batch.draft_confidence[rows].masked_fill(~open_, -torch.inf)
    drafted = highest(sure, numbers(filled, ids.device))
    return torch.where(drafted, batch.draft[rows], ids)


def accepted(lanes: list[Lane], before: Tensor, after: Tensor) -> list[bool]:
    """Which lanes count: a row's own, and each draft that the lane before it, itself accepted, became.

    `before` and `after` are the canvases [N, L] that the lanes had and have with what they commit.
    """
    if all(lane.ahead == 0 for lane in lanes):
        return [True] * len(lanes)
    came_true = (after[:-1] == before[1:]).all(-1).tolist()
    found: list[bool] = []
    for n, lane in enumerate(lanes):
        found.append(lane.ahead == 0 or (found[-1] and came_true[n - 1]))
    return found
