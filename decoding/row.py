"""A request that is being decoded, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lift_harness.decoding.request import Request
from lift_harness.decoding.schedules import EDITING, PLANNED


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
    led: frozenset[int] = frozenset()  # blocks whose first pass commits just its first mask (`Batch.lay_out`)
    begun: tuple[int, int] | None = None  # the present sub-block, where its first token is there
    idle: int = 0  # passes over the block without masks
    settled: bool = False  # whether there is nothing left to edit in it
    # Columns, tokens, steps and confidences that were edited away.
    replaced: list[tuple[int, int, int, float]] = field(default_factory=list)

    @property
    def here(self) -> tuple[int, int, int]:
        """First column, end and number of masks of the present block."""
        return self.blocks[self.block]

    @property
    def filled(self) -> int:
        """Masks that were filled, of all blocks."""
        return sum(masks for _, _, masks in self.blocks[: self.block + 1]) - self.left

    @property
    def offset(self) -> int:
        """What is missing of a block left of column 0: column c is in block (c + offset) // block_length."""
        return -self.blocks[0][0] % self.request.config.block_length

    @property
    def before(self) -> int:
        """First column of the block before it."""
        return self.blocks[self.block - 1][0] if self.block else 0

    @property
    def leads(self) -> bool:
        """Whether the next pass commits just the block's first mask."""
        return self.fresh and self.block in self.led

    @property
    def edits(self) -> bool:
        """Whether passes replace tokens too."""
        return self.request.config.schedule in EDITING

    @property
    def full(self) -> bool:
        """Whether the block is done with."""
        return self.left == 0 and (self.settled or not self.edits)

    @property
    def fillable(self) -> int:
        """Masks of the block, from the left, that the next pass may commit."""
        if self.leads:
            return 1
        if not self.request.config.sub_block_length:
            return self.left
        return self.left - (self.here[1] - self.sub_block[1])

    @property
    def sub_block(self) -> tuple[int, int]:
        """First column and end of the sub-block that is being filled: right of it all is masked."""
        size, (start, end, _) = self.request.config.sub_block_length or self.left, self.here
        short = (start - end) % size  # what the last one lacks
        stop = end + short - (self.left + short - 1) // size * size
        return stop - size, min(stop, end)

    @property
    def candidates(self) -> int:
        """Columns, as `Batch.columns` has them, that the next pass may commit or replace."""
        return self.here[2] if self.edits and not self.leads else self.fillable

    def begin_block(self) -> None:
        """Go to the start of block `self.block`."""
        self.left, self.step, self.fresh = self.here[2], 0, True
        self.idle, self.settled = 0, False
        self.skip_empty_steps()

    def advance(self, count: int, edited: int = 0) -> None:
        """Take a step that commits `count` positions and replaces `edited`."""
        if self.left == 0 and not edited:
            self.settled = True
        self.left -= count
        self.step += 1
        self.steps += 1
        self.fresh = False
        if self.edits and self.left == 0:
            self.idle += 1
            self.settled |= self.idle > (self.request.config.max_post_steps or 0)
        self.skip_empty_steps()

    def skip_empty_steps(self) -> None:
        """Go past steps that commit nothing (Dream's schedule has some): a pass would change nothing."""
        while self.left and self.planned() == 0:
            self.step += 1

    def planned(self) -> int | None:
        """What the schedule commits at the next step; None: only the logits tell."""
        if self.leads:
            return 1
        config = self.request.config
        schedule = PLANNED.get(config.schedule)
        return (
            None if schedule is None else min(self.left, schedule(config, self.here[2], self.left, self.step))
        )

    @property
    def first_canvas(self) -> tuple[Any, ...]:
        """Equal for requests whose first pass sees the same canvas: the samples of one problem."""
        request = self.request
        return request.ids, request.length, self.blocks[0], request.config.sub_block_length
