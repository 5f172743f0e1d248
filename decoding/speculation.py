"""Self-speculation: several steps of the fixed schedule for one pass, with the same tokens.

In the manner of SSD (Gao et al. 2025, arXiv 2510.04147). The logits of a pass say what the next steps would
commit if nothing changed. The canvases of these drafts are sent through the model together; a canvas whose
predecessors came out as drafted is the true canvas of its step, and what it commits counts.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lift_harness.decoding.batch import Batch, Canvases, Decision, bounds
from lift_harness.decoding.decision import decide
from lift_harness.decoding.forward import hidden_states
from lift_harness.decoding.row import Row
from lift_harness.decoding.schedules import highest
from lift_harness.decoding.transfer import numbers


class Speculation:
    """Drafts of the rows of a batch.

    Attributes:
        tokens, confidence: [slots, width + 1], what the last pass would commit at the columns still masked.
        drafted: by slot, the (request, block, step) that there is a draft for.
    """

    def __init__(self, batch: Batch) -> None:
        self.tokens, self.confidence = torch.zeros_like(batch.ids), torch.zeros_like(batch.confidence)
        self.drafted: dict[int, tuple[int, int, int]] = {}

    def advance(self, batch: Batch, rows: list[Row], whole: bool) -> None:
        """One pass over the rows and their drafts: every row commits the steps that came out as drafted."""
        drafts, owners = [], []
        for row in rows:
            of_row = self.drafts(row)
            drafts += of_row
            owners += [row] * len(of_row)
        seen = self.filled_in(batch, batch.canvases(drafts), owners)
        decision = decide(batch, seen, hidden_states(batch, seen, whole))
        ahead = [draft.steps - owner.steps for draft, owner in zip(drafts, owners, strict=True)]
        true = came_true(seen, decision, ahead)
        for distance in range(1 + max(ahead)):
            now = [n for n, steps in enumerate(ahead) if true[n] and steps == distance]
            if now:
                taken = seen.take(now)._replace(rows=[owners[n] for n in now])
                self.commit(batch, taken, decision.take(now))

    def drafts(self, row: Row) -> list[Row]:
        """The row, and what it will be after each of the next steps if the last pass was right."""
        drafts = [row]
        if self.drafted.get(row.slot) != (row.index, row.block, row.step):
            return drafts
        while len(drafts) < row.request.config.speculate:
            draft = replace(drafts[-1])
            draft.advance(draft.planned() or 0)
            if draft.left == 0:
                break
            drafts.append(draft)
        return drafts

    def filled_in(self, batch: Batch, seen: Canvases, owners: list[Row]) -> Canvases:
        """The canvases with the drafted tokens."""
        filled = [owner.left - draft.left for draft, owner in zip(seen.rows, owners, strict=True)]
        if not any(filled):
            return seen
        device = seen.ids.device
        start, end = bounds((row.here[:2] for row in seen.rows), device)
        column = torch.arange(seen.ids.shape[1], device=device)
        masked = (seen.ids == batch.mask_id) & (column >= start) & (column < end)
        confidence = self.confidence[seen.slots].masked_fill(~masked, -torch.inf)
        drafted = highest(confidence, numbers(filled, device))
        ids = torch.where(drafted, self.tokens[seen.slots], seen.ids)
        return seen._replace(ids=ids, columns=batch.columns(seen.rows, seen.slots, ids))

    def commit(self, batch: Batch, seen: Canvases, decision: Decision) -> None:
        """Take the rows a step further, and keep the rest of their choices as drafts."""
        where = (seen.slots[:, None], seen.columns)
        self.tokens[where], self.confidence[where] = decision.tokens, decision.confidence
        batch.commit(seen, decision)
        for row in seen.rows:
            self.drafted[row.slot] = (row.index, row.block, row.step)


def came_true(seen: Canvases, decision: Decision, ahead: list[int]) -> list[bool]:
    """Which canvases count: a row's own, and each draft that the one before it, itself true, became.

    The host waits for the device here, once a pass.
    """
    if not any(ahead):
        return [True] * len(ahead)
    tokens = torch.where(decision.commits, decision.tokens, seen.ids.gather(1, seen.columns))
    became: Tensor = seen.ids.scatter(1, seen.columns, tokens)
    matches = (became[:-1] == seen.ids[1:]).all(-1).tolist()
    true: list[bool] = []
    for n, steps in enumerate(ahead):
        true.append(steps == 0 or (true[-1] and matches[n - 1]))
    return true
