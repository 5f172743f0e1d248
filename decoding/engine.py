"""Block-wise decoding of masked diffusion language models (LLaDA, arXiv 2502.09992, algorithm 5).

A canvas per request: its prompt, then `gen_length` masks, filled block by block from the left. Requests
share passes whatever their lengths, blocks and steps. Padding is hidden from attention, positions count
from a request's first token and random numbers are keyed by request, so that what comes out does not
depend on the company. Logits are projected only at the masked positions of the block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from lift_harness.decoding.batch import Batch, Row
from lift_harness.decoding.decision import decide
from lift_harness.decoding.forward import hidden_states
from lift_harness.decoding.request import Generation
from lift_harness.decoding.speculation import Speculation


def decode(
    batch: Batch,
    queue: deque[Row],
    stop_ids: frozenset[int],
    on_step: Callable[[int, Generation], None] | None = None,
) -> Iterator[tuple[int, Generation]]:
    """Fill the canvases of the rows in `queue`; yields (index, result) as requests finish."""
    batch.expect(queue)
    speculates = any(row.request.config.speculate > 1 for row in queue)
    advance = Speculation(batch).advance if speculates else take_step
    while queue or batch.rows:
        batch.admit(queue)
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
    fresh = [row for row in batch.rows if row.fresh]
    others = [row for row in batch.rows if not row.fresh]
    return [(rows, whole) for rows, whole in ((fresh, True), (others, False)) if rows]


def take_step(batch: Batch, rows: list[Row], whole: bool) -> None:
    """One pass: every row commits what its schedule says."""
    seen = batch.canvases(rows)
    hidden = hidden_states(batch, seen, whole)
    batch.commit(seen, decide(batch, seen, hidden))
