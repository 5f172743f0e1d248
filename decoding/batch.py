"""The requests that are being decoded together, and their canvases.

Continuous batching: each request has a row (a slot) of the batch and a place of its own in its blocks;
one that is finished leaves at its block's end and the next takes its slot. Canvases begin at column 0 of
their row, so that a column is a position, and what is right of a shorter one is padding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lift_harness.decoding.caches import CACHES, Store
from lift_harness.decoding.request import Generation, Request
from lift_harness.decoding.schedules import PLANNED


@dataclass(eq=False)
class Row:
    """A request in a slot, and how far it has come."""

    index: int  # in the list of requests
    request: Request
    slot: int
    blocks: list[tuple[int, int, int]]
    block: int = 0  # which of them
    left: int = 0  # masks left in it
    step: int = 0  # steps taken in it
    steps: int = 0  # steps taken in all
    passes: int = 0
    drafted: bool = False  # whether there is a draft of the block's next steps

    @property
    def here(self) -> tuple[int, int, int]:
        """First column, end and number of masks of the present block."""
        return self.blocks[self.block]

    def begin_block(self) -> None:
        """Go to the start of block `self.block`."""
        self.left, self.step, self.drafted = self.here[2], 0, False

    def advance(self, count: int) -> None:
        """Take a step that commits `count` positions."""
        self.left -= count
        self.step += 1
        self.steps += 1
        self.drafted = self.request.config.speculate > 1

    def planned(self, left: int, step: int) -> int | None:
        """What the schedule commits at a step of the block; None: only the logits tell."""
        schedule = PLANNED.get(self.request.config.schedule)
        return (
            None if schedule is None else min(left, schedule(self.request.config, self.here[2], left, step))
        )

    @property
    def first_canvas(self) -> tuple[Any, ...]:
        """Equal for requests whose first pass sees the same canvas: the samples of one problem."""
        return self.request.ids, self.request.length, self.blocks[0]


@dataclass
class Lane:
    """One canvas of a pass: that of a row, or a draft of it some steps ahead (`speculation`)."""

    row: Row
    ahead: int  # steps drafted
    left: int  # masks left in the block, of which the pass may commit some
    leads: bool = False  # whether it may commit only the first of them (`Batch.leads`)

    def planned(self) -> int | None:
        """What the schedule commits; None: read it off the logits."""
        return 1 if self.leads else self.row.planned(self.left, self.row.step + self.ahead)


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
        draft, draft_confidence: what the last pass would commit at the columns still masked.
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
        self.draft, self.draft_confidence = torch.zeros_like(self.ids), torch.zeros_like(self.confidence)
        self.store = Store(model, slots * (1 + self.guided), width + 1) if self.window else None
        self.rows: list[Row] = []
        self.first_passes: dict[Any, FirstPass] = {}
        self.waiting: Counter[Any] = Counter()
        self.counts = counts

    def expect(self, rows: Sequence[Row]) -> None:
        """Learn which requests will come, to know whose first pass is worth keeping."""
        self.waiting = Counter(row.first_canvas for row in rows)

    def admit(self, row: Row, slot: int) -> None:
        """Lay a request out in a free slot."""
        request, row.slot = row.request, slot
        canvas = torch.zeros(self.width + 1, dtype=torch.int64)
        canvas[: len(request.ids)] = torch.tensor(request.ids)
        canvas[len(request.ids) : request.length] = self.mask_id
        given = torch.zeros(self.width + 1, dtype=torch.bool)
        given[: len(request.ids)] = True
        if request.infill:
            given &= canvas != self.mask_id
        self.ids[slot], self.given[slot] = canvas.to(self.ids.device), given.to(self.ids.device)
        self.step[slot], self.confidence[slot] = -1, 0.0
        row.begin_block()
        # Those with the same settings side by side: they are decided together.
        self.rows = sorted([*self.rows, row], key=lambda row: (hash(row.request.config), row.slot))

    def leads(self, row: Row) -> bool:
        """Whether a row's next pass commits just the first mask of its block.

        Where a token is predicted one position before it, the block's first token is out of reach of passes
        that compute nothing left of the block. So a block's first pass commits this one and the others the
        rest (Fast-dLLM, for Dream).
        """
        return self.window is not None and self.model.logit_shift > 0 and row.step == 0

    def kept_in(self, lanes: Sequence[Lane]) -> list[int]:
        """Slots of the store: those of the rows, and of their guided halves."""
        return [slot + half * self.slots for half in range(1 + self.guided) for slot in slots(lanes)]

    def free_slots(self) -> list[int]:
        """Slots without a request."""
        taken = {row.slot for row in self.rows}
        return [slot for slot in range(self.slots) if slot not in taken]

    def so_far(self, row: Row) -> Generation:
        """A request's result as it stands: where it is still masked, the mask's id, step -1, confidence 0."""
        request = row.request
        found = slice(0 if request.infill else len(request.ids), request.length)
        ids, step, sure = (x[row.slot, found].tolist() for x in (self.ids, self.step, self.confidence))
        return Generation(ids, step, sure, row.passes)

    def end_blocks(self, stop_ids: frozenset[int]) -> list[tuple[int, Generation]]:
        """Move the rows whose block is full to their next; (index, result) of those that are finished."""
        full = [row for row in self.rows if row.left == 0]
        if not full:
            return []
        slots = [row.slot for row in full]
        ids, step, sure = (x[slots].tolist() for x in (self.ids, self.step, self.confidence))
        finished = []
        for n, row in enumerate(full):
            request, end = row.request, row.here[1]
            first = 0 if request.infill else len(request.ids)
            done = ids[n][first:end]
            row.block += 1
            if row.block == len(row.blocks) or ends(request, done, stop_ids):
                end = request.length if request.infill else end
                found = (ids[n][first:end], step[n][first:end], sure[n][first:end])
                finished.append((row.index, Generation(*found, row.passes)))
                self.rows.remove(row)
            else:
                row.begin_block()
        return finished


def ends(request: Request, tokens: list[int], stop_ids: frozenset[int]) -> bool:
    """Whether the tokens up to the end of a block settle the request's text."""
    if request.infill:
        return False
    if request.config.early_stop and not stop_ids.isdisjoint(tokens[-request.config.block_length :]):
        return True
    return request.finished is not None and request.finished(tokens)


def slots(lanes: Sequence[Lane]) -> list[int]:
    """The slot of each lane's row."""
    return [lane.row.slot for lane in lanes]


def numbers(values: Iterable[int], device: torch.device) -> Tensor:
    """Integers of the host on the device, int64."""
    return torch.tensor(list(values), dtype=torch.int64, device=device)


def bounds(lanes: Sequence[Lane], device: torch.device) -> tuple[Tensor, Tensor]:
    """First column and end of each lane's block, each int64 [N, 1]."""
    first, end, _ = numbers((n for lane in lanes for n in lane.row.here), device).view(-1, 3, 1).unbind(1)
    return first, end
