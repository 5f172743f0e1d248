"""The requests that are being decoded together, and their canvases.

Continuous batching: each request has a row (a slot) of the batch and a place of its own in its blocks;
one that is finished leaves at its block's end and the next takes its slot. Canvases begin at column 0 of
their row, so that a column is a position, and what is right of a shorter one is padding.
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
from lift_harness.decoding.schedules import PLANNED
from lift_harness.decoding.transfer import numbers, on_device


@dataclass(eq=False)
class Row:
    """A request in a slot, and how far it has come."""

    index: int  # in the list of requests
    request: Request
    slot: int
    blocks: list[tuple[int, int, int]]
    block: int = 0  # which of them
    left: int = 0  # masks left in it
    step: int = 0  # of its schedule, the next one
    steps: int = 0  # taken in all
    passes: int = 0
    fresh: bool = True  # whether the block had no pass yet
    leading: bool = False  # whether a block's first pass commits just its first mask (`Batch.lay_out`)

    @property
    def here(self) -> tuple[int, int, int]:
        """First column, end and number of masks of the present block."""
        return self.blocks[self.block]

    @property
    def candidates(self) -> int:
        """Masks of the block, from the left, that the next pass may commit."""
        return 1 if self.leading and self.fresh else self.left

    def begin_block(self) -> None:
        """Go to the start of block `self.block`."""
        self.left, self.step, self.fresh = self.here[2], 0, True
        self.skip_empty_steps()

    def advance(self, count: int) -> None:
        """Take a step that commits `count` positions."""
        self.left -= count
        self.step += 1
        self.steps += 1
        self.fresh = False
        self.skip_empty_steps()

    def skip_empty_steps(self) -> None:
        """Go past steps that commit nothing (Dream's schedule has some): a pass would change nothing."""
        while self.left and self.planned() == 0:
            self.step += 1

    def planned(self) -> int | None:
        """What the schedule commits at the next step; None: only the logits tell."""
        if self.leading and self.fresh:
            return 1
        config = self.request.config
        schedule = PLANNED.get(config.schedule)
        return (
            None if schedule is None else min(self.left, schedule(config, self.here[2], self.left, self.step))
        )

    @property
    def first_canvas(self) -> tuple[Any, ...]:
        """Equal for requests whose first pass sees the same canvas: the samples of one problem."""
        return self.request.ids, self.request.length, self.blocks[0]


class Canvases(NamedTuple):
    """What a pass sees of N rows.

    Attributes:
        rows: the N rows.
        slots: int64 [N], theirs.
        ids: int64 [N, width + 1].
        columns: int64 [N, n], of each row's block, the masked ones first; n is the most that any may commit.
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
        counts: positions that each row commits, known to the host.
    """

    commits: Tensor
    tokens: Tensor
    confidence: Tensor
    counts: list[int]

    def take(self, which: list[int]) -> Decision:
        """That of some rows."""
        index = numbers(which, self.commits.device)
        counts = [self.counts[n] for n in which]
        return Decision(self.commits[index], self.tokens[index], self.confidence[index], counts)


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
        self.window, self.guided = CACHES[like.config.cache], like.guided
        shape, device = (slots, width + 1), model.device
        self.ids = torch.zeros(shape, dtype=torch.int64, device=device)
        self.step = torch.full(shape, -1, device=device)
        self.confidence = torch.zeros(shape, device=device)
        self.given = torch.zeros(shape, dtype=torch.bool, device=device)
        self.store = Store(model, slots * (1 + self.guided), width + 1) if self.window else None
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
        rest (Fast-dLLM, for Dream).
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
        row.slot, row.leading = slot, self.window is not None and self.model.logit_shift > 0
        row.begin_block()
        self.rows.append(row)

    def canvases(self, rows: list[Row]) -> Canvases:
        """What a pass over some rows sees."""
        slots = numbers((row.slot for row in rows), self.ids.device)
        ids = self.ids[slots]
        return Canvases(rows, slots, ids, self.columns(rows, ids))

    def columns(self, rows: Sequence[Row], ids: Tensor) -> Tensor:
        """The columns [N, n] of each row's block in canvases `ids` [N, width + 1], the masked ones first."""
        first, end = bounds((row.here[:2] for row in rows), ids.device)
        widest = max(row.request.config.block_length for row in rows)
        columns = first + torch.arange(widest, device=ids.device)
        inside, columns = columns < end, columns.clamp(max=self.width)
        masked = (ids.gather(1, columns) == self.mask_id) & inside
        order = (~masked).byte().argsort(dim=-1, stable=True)
        n = widest if self.static else max(row.candidates for row in rows)
        return columns.gather(1, order[:, :n])

    def commit(self, seen: Canvases, decision: Decision) -> None:
        """Write what a pass decided, and take the rows a step further."""
        where = (seen.slots[:, None], seen.columns)
        steps = numbers((row.steps for row in seen.rows), self.ids.device)[:, None]
        self.ids[where] = torch.where(decision.commits, decision.tokens, self.ids[where])
        self.step[where] = torch.where(decision.commits, steps, self.step[where])
        self.confidence[where] = torch.where(decision.commits, decision.confidence, self.confidence[where])
        for row, count in zip(seen.rows, decision.counts, strict=True):
            row.advance(count)

    def kept_in(self, rows: Sequence[Row]) -> list[int]:
        """Slots of the store: those of the rows, and of their guided halves."""
        halves = range(1 + self.guided)
        return [row.slot + half * self.slots for half in halves for row in rows]

    def so_far(self, row: Row) -> Generation:
        """A request's result as it stands: where it is still masked, the mask's id, step -1, confidence 0."""
        request = row.request
        text = slice(0 if request.infill else len(request.ids), request.length)
        tables = (self.ids, self.step, self.confidence)
        ids, step, confidence = (table[row.slot, text].tolist() for table in tables)
        return Generation(ids, step, confidence, row.passes)

    def end_blocks(self, stop_ids: frozenset[int]) -> list[tuple[int, Generation]]:
        """Move the rows whose block is full to their next; (index, result) of those that are finished.

        Raises:
            LiftError: a finished one was decoded from logits that are no numbers.
        """
        full = [row for row in self.rows if row.left == 0]
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
            text = slice(first, request.length if request.infill else end)
            step, confidence = (table[row.slot, text].tolist() for table in (self.step, self.confidence))
            check_finite(request.name or f"request {row.index}", confidence)
            finished.append((row.index, Generation(ids[text], step, confidence, row.passes)))
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
