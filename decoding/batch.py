"""The requests that are being decoded together, and their canvases.

Continuous batching: each request has a row (a slot) of the batch and a place of its own in its blocks;
one that is finished leaves at its block's end and the next takes its slot. Canvases begin at column 0 of
their row, so that a column is a position, and what is right of a shorter one is padding. To a model with
blocks what is right of the present block is not there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lift_harness.decoding.caches import CACHES, Store
from lift_harness.decoding.request import Generation, Request, check_finite
from lift_harness.decoding.row import Row
from lift_harness.decoding.transfer import numbers, on_device


class Canvases(NamedTuple):
    """What a pass sees of N rows.

    Attributes:
        rows: the N rows.
        slots: int64 [N], theirs.
        ids: int64 [N, width + 1].
        columns: int64 [N, n], of each row's block, the masked ones first, then those that were filled; n is
            the most that any may commit or replace.
    """

    rows: list[Row]
    slots: Tensor
    ids: Tensor
    columns: Tensor

    def take(self, which: list[int]) -> Canvases:
        """Some of them."""
        index = numbers(which, self.ids.device)
        return Canvases(
            [self.rows[n] for n in which], self.slots[index], self.ids[index], self.columns[index]
        )


class Decision(NamedTuple):
    """What each of N rows commits.

    Attributes:
        commits: bool [N, n].
        tokens: int64 [N, n], the candidates; anything where not masked.
        confidence: float32 [N, n], theirs; -inf where not masked.
        counts: masks that each row fills, known to the host.
        edited: tokens that each row replaces, known to the host.
    """

    commits: Tensor
    tokens: Tensor
    confidence: Tensor
    counts: list[int]
    edited: list[int]

    def take(self, which: list[int]) -> Decision:
        """That of some rows."""
        index = numbers(which, self.commits.device)
        counts, edited = ([numbers[n] for n in which] for numbers in (self.counts, self.edited))
        return Decision(self.commits[index], self.tokens[index], self.confidence[index], counts, edited)


@dataclass
class FirstPass:
    """What a first pass gave: hidden states [G, W, D] at the block's columns, keys and values."""

    hidden: Tensor
    kept: list[tuple[Tensor, Tensor]]


class Batch:
    """Slots for `slots` requests of up to `width` columns that share passes (one cache, all or none guided).

    Attributes:
        ids: int64 [slots, width + 1], the canvases; the last column is scratch.
        step, confidence: [slots, width + 1], when and how surely each column was committed.
        model, hidden_states: the model, and its `hidden_states`, perhaps compiled.
        has_blocks: whether the model sees nothing right of the present block.
        static: whether the shapes of passes are constant.
        given: bool, columns that are masked for the unconditional half of guidance.
        store: keys and values, of the guided passes in the second half of its slots.
        counts: what was computed (see `run`).
        first_passes: those that other samples of their problem still wait for, by `Row.first_canvas`.
    """

    def __init__(
        self,
        model: Any,
        hidden_states: Any,
        like: Request,
        slots: int,
        width: int,
        mask_id: int,
        static: bool,
        counts: Counter[str],
    ) -> None:
        self.model, self.hidden_states = model, hidden_states
        self.slots, self.width, self.mask_id, self.static = slots, width, mask_id, static
        self.has_blocks = getattr(model, "block_size", None) is not None
        self.window, self.guided = CACHES[like.config.cache], like.guided
        shape, device = (slots, width + 1), model.device
        self.ids = torch.zeros(shape, dtype=torch.int64, device=device)
        self.step = torch.full(shape, -1, device=device)
        self.confidence = torch.zeros(shape, device=device)
        self.given = torch.zeros(shape, dtype=torch.bool, device=device)
        keeps = like.config.cache != "none"
        self.store = Store(model, slots * (1 + self.guided), width + 1) if keeps else None
        if static and self.store:
            self.store.keep_in_place()
        self.rows: list[Row] = []
        self.first_passes: dict[Any, FirstPass] = {}
        self.waiting: Counter[Any] = Counter()
        self.counts = counts

    def expect(self, rows: Sequence[Row]) -> None:
        """Learn which requests will come, to know whose first pass is worth keeping."""
        self.waiting = Counter(row.first_canvas for row in rows)

    def admit(self, queue: deque[Row]) -> None:
        """Give free slots to the next requests."""
        taken = {row.slot for row in self.rows}
        free = [slot for slot in range(self.slots) if slot not in taken]
        for slot in free[: len(queue)]:
            self.lay_out(queue.popleft(), slot)
        # Those with the same settings side by side: they are decided together.
        self.rows.sort(key=lambda row: (hash(row.request.config), row.slot))

    def lay_out(self, row: Row, slot: int) -> None:
        """Put a request's canvas into a slot.

        Where a token is predicted one position before it, the block's first token is out of reach of passes
        that compute nothing left of the block. So a block's first pass commits this one and the others the
        rest (Fast-dLLM, for Dream). In a model with blocks that first pass computes nothing of the block
        (Fast-dLLM v2's pass that keeps the block before it).
        """
        request, prompt = row.request, len(row.request.ids)
        canvas = torch.zeros(self.width + 1, dtype=torch.int64)
        canvas[:prompt] = torch.tensor(request.ids)
        canvas[prompt : request.length] = self.mask_id
        given = torch.zeros(self.width + 1, dtype=torch.bool)
        given[:prompt] = True
        if request.infill:
            given &= canvas != self.mask_id
        self.ids[slot] = on_device(canvas, self.ids.device)
        self.given[slot] = on_device(given, self.ids.device)
        self.step[slot], self.confidence[slot] = -1, 0.0
        row.slot = slot
        if self.model.logit_shift and self.has_blocks:
            fillable = (canvas == self.mask_id) & ~given
            row.led = frozenset(n for n, (start, _, _) in enumerate(row.blocks) if start and fillable[start])
        elif self.model.logit_shift and self.store:
            row.led = frozenset(range(len(row.blocks)))
        row.begin_block()
        self.rows.append(row)

    def seen(self, row: Row) -> int:
        """The columns, from 0, that a row's next pass sees."""
        if not self.has_blocks:
            return row.request.length
        return row.here[0] if row.leads else row.here[1]

    def computed(self, row: Row) -> tuple[int, int]:
        """First column and end of what a row's next pass computes."""
        return self.window(row, self.seen(row))

    def find_begun(self) -> None:
        """Learn whose sub-block has its first token, if the cache asks for it (the device is waited for)."""
        if self.window is not CACHES["sub_blocks"]:
            return
        slots = numbers((row.slot for row in self.rows), self.ids.device)
        firsts = numbers((row.sub_block[0] for row in self.rows), self.ids.device)
        masked = (self.ids[slots, firsts] == self.mask_id).tolist()
        for row, begins_masked in zip(self.rows, masked, strict=True):
            whole_block = begins_masked or row.step == (row.block in row.led)  # the first that computes it
            row.begun = None if whole_block else row.sub_block

    def canvases(self, rows: list[Row]) -> Canvases:
        """What a pass over some rows sees."""
        slots = numbers((row.slot for row in rows), self.ids.device)
        ids = self.ids[slots]
        return Canvases(rows, slots, ids, self.columns(rows, slots, ids))

    def columns(self, rows: Sequence[Row], slots: Tensor, ids: Tensor) -> Tensor:
        """The columns [N, n] of each row's block in canvases `ids` [N, width + 1].

        The masked ones stand first, then those that were filled; what was given comes last.
        """
        first, end = bounds((row.here[:2] for row in rows), ids.device)
        widest = max(row.request.config.block_length for row in rows)
        columns = first + torch.arange(widest, device=ids.device)
        inside, columns = columns < end, columns.clamp(max=self.width)
        ours = inside & ~self.given[slots].gather(1, columns)
        masked = ours & (ids.gather(1, columns) == self.mask_id)
        order = (2 - masked.byte() - ours.byte()).argsort(dim=-1, stable=True)
        n = widest if self.static else max(row.candidates for row in rows)
        return columns.gather(1, order[:, :n])

    def commit(self, seen: Canvases, decision: Decision) -> None:
        """Write what a pass decided, and take the rows a step further."""
        where = (seen.slots[:, None], seen.columns)
        if any(decision.edited):
            self.keep_replaced(seen, decision)
        steps = numbers((row.steps for row in seen.rows), self.ids.device)[:, None]
        self.ids[where] = torch.where(decision.commits, decision.tokens, self.ids[where])
        self.step[where] = torch.where(decision.commits, steps, self.step[where])
        self.confidence[where] = torch.where(decision.commits, decision.confidence, self.confidence[where])
        for row, count, edited in zip(seen.rows, decision.counts, decision.edited, strict=True):
            row.advance(count, edited)

    def keep_replaced(self, seen: Canvases, decision: Decision) -> None:
        """Remember the tokens that are about to be edited away; the host waits for them once."""
        rows = [n for n, edited in enumerate(decision.edited) if edited]
        index = numbers(rows, self.ids.device)
        where = (seen.slots[index, None], seen.columns[index])
        tables = [table[where] for table in (self.ids, self.step, self.confidence)]
        edited = decision.commits[index] & (tables[0] != self.mask_id)
        values = torch.stack([table.double() for table in (edited, where[1], *tables)], dim=-1).tolist()
        for n, of_row in zip(rows, values, strict=True):
            for is_edited, column, token, step, sure in of_row:
                if is_edited:
                    seen.rows[n].replaced.append((int(column), int(token), int(step), sure))

    def kept_in(self, rows: Sequence[Row]) -> list[int]:
        """Slots of the store: those of the rows, and of their guided halves."""
        halves = range(1 + self.guided)
        return [row.slot + half * self.slots for half in halves for row in rows]

    def so_far(self, row: Row) -> Generation:
        """A request's result as it stands: where it is still masked, the mask's id, step -1, confidence 0."""
        return self.result(row, self.ids[row.slot].tolist(), row.request.end)

    def result(self, row: Row, canvas: list[int], end: int) -> Generation:
        """A request's result up to column `end` of its canvas."""
        first = 0 if row.request.infill else len(row.request.ids)
        step, confidence = (table[row.slot, first:end].tolist() for table in (self.step, self.confidence))
        inside = [edit for edit in row.replaced if edit[0] < end]
        replaced = [(column - first, token, step, sure) for column, token, step, sure in inside]
        return Generation(canvas[first:end], step, confidence, row.passes, replaced)

    def end_blocks(self, stop_ids: frozenset[int]) -> list[tuple[int, Generation]]:
        """Move the rows whose block is full to their next; (index, result) of those that are finished.

        Raises:
            LiftError: a finished one was decoded from logits that are no numbers.
        """
        full = [row for row in self.rows if row.full]
        if not full:
            return []
        # The host waits for the device here, once a block. Steps and confidences only of what is finished.
        canvases = self.ids[numbers((row.slot for row in full), self.ids.device)].tolist()
        finished = []
        for row, ids in zip(full, canvases, strict=True):
            request, end = row.request, row.here[1]
            first = 0 if request.infill else len(request.ids)
            row.block += 1
            if row.block < len(row.blocks) and not ends(request, ids[first:end], stop_ids):
                row.begin_block()
                continue
            result = self.result(row, ids, request.end if request.infill else min(end, request.end))
            check_finite(request.name or f"request {row.index}", result.confidence)
            finished.append((row.index, result))
            self.rows.remove(row)
        return finished


def ends(request: Request, tokens: list[int], stop_ids: frozenset[int]) -> bool:
    """Whether the tokens up to the end of a block settle the request's text."""
    if request.infill:
        return False
    if request.config.early_stop and not stop_ids.isdisjoint(tokens[-request.config.block_length :]):
        return True
    return request.finished is not None and request.finished(tokens)


def bounds(ranges: Iterable[tuple[int, int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """First column and end of N ranges of columns, each int64 [N, 1]."""
    ends = [end for pair in ranges for end in pair]
    first, end = numbers(ends, device).view(-1, 2, 1).unbind(1)
    return first, end
