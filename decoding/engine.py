"""Block-wise decoding of masked diffusion language models (LLaDA, arXiv 2502.09992, algorithm 5).

A canvas per request: its prompt, then `gen_length` masks, filled block by block from the left. Requests
share passes whatever their lengths, blocks and steps. Padding is hidden from attention, positions count
from a request's first token and random numbers are keyed by request, so that what comes out does not
depend on the company. Logits are projected only at the masked positions of the block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lift_harness.decoding import speculation
from lift_harness.decoding.batch import Batch, Lane, Row, bounds, numbers, slots
from lift_harness.decoding.decision import Decision, decide
from lift_harness.decoding.forward import hidden_states
from lift_harness.decoding.request import Generation


def decode(
    batch: Batch,
    queue: deque[Row],
    stop_ids: frozenset[int],
    on_step: Callable[[int, Generation], None] | None = None,
) -> Iterator[tuple[int, Generation]]:
    """Fill the canvases of the rows in `queue`; yields (index, result) as requests finish."""
    batch.expect(queue)
    while queue or batch.rows:
        for slot in batch.free_slots()[: len(queue)]:
            batch.admit(queue.popleft(), slot)
        for rows, whole in passes(batch):
            advance(batch, rows, whole)
            if on_step is not None:
                for row in rows:
                    on_step(row.index, batch.so_far(row))
        yield from batch.end_blocks(stop_ids)


def passes(batch: Batch) -> list[tuple[list[Row], bool]]:
    """The rows that a pass can take together: those that see their whole canvas, and those that do not."""
    if batch.window is None:
        return [(batch.rows, True)]
    begins = [row for row in batch.rows if row.step == 0]
    goes_on = [row for row in batch.rows if row.step > 0]
    return [(rows, whole) for rows, whole in ((begins, True), (goes_on, False)) if rows]


def advance(batch: Batch, rows: list[Row], whole: bool) -> None:
    """One pass: every row commits what its schedule says."""
    for row in rows:
        while not batch.leads(row) and row.planned(row.left, row.step) == 0:  # nothing would change
            row.step += 1
    lanes = [lane for row in rows for lane in speculation.lanes(batch, row)]
    ids = speculation.lay_out(batch, lanes)
    columns = open_first(batch, lanes, ids)
    hidden = hidden_states(batch, lanes, ids, columns, whole)
    commit(batch, lanes, ids, columns, decide(batch, lanes, columns, hidden))
    for row in rows:
        row.passes += 1


def open_first(batch: Batch, lanes: list[Lane], ids: Tensor) -> Tensor:
    """Columns [N, n] of each lane's block, the masked ones first; n is the most that any lane has masked."""
    first, end = bounds(lanes, ids.device)
    widest = max(lane.row.request.config.block_length for lane in lanes)
    columns = first + torch.arange(widest, device=ids.device)
    open_ = ids.gather(1, columns.clamp(max=batch.width)) == batch.mask_id
    open_ &= columns < end
    order = (~open_).int().argsort(dim=-1, stable=True)
    n = widest if batch.static else max(lane.left for lane in lanes)
    return columns.clamp(max=batch.width).gather(1, order[:, :n])


def commit(batch: Batch, lanes: list[Lane], ids: Tensor, columns: Tensor, decision: Decision) -> None:
    """Write what the accepted lanes commit, and keep the rest of their choices as drafts."""
    commits, tokens, sure, counts = decision
    after = ids.scatter(1, columns, torch.where(commits, tokens, ids.gather(1, columns)))
    accepted = speculation.accepted(lanes, ids, after)
    for ahead in range(1 + max(lane.ahead for lane in lanes)):
        now = [n for n, lane in enumerate(lanes) if accepted[n] and lane.ahead == ahead]
        if not now:
            return
        taken = [lanes[n] for n in now]
        where = (numbers(slots(taken), ids.device)[:, None], columns[now])
        batch.ids[where] = after[now].gather(1, columns[now])
        steps = numbers((lane.row.steps for lane in taken), ids.device)[:, None]
        batch.step[where] = torch.where(commits[now], steps, batch.step[where])
        batch.confidence[where] = torch.where(commits[now], sure[now], batch.confidence[where])
        if any(lane.row.request.config.speculate > 1 for lane in taken):
            batch.draft[where], batch.draft_confidence[where] = tokens[now], sure[now]
        for n, lane in zip(now, taken, strict=True):
            lane.row.advance(counts[n])
