"""Block-wise decoding of masked diffusion language models (LLaDA, arXiv 2502.09992, algorithm 5).

A canvas per request: its prompt, then `gen_length` masks, filled block by block from the left. A model with
blocks sees nothing right of the present one; to any other the whole canvas is one. Requests share passes
whatever their lengths, blocks and steps. Padding is hidden from attention, positions count
from a request's first token and random numbers are keyed by request, so that what comes out does not
depend on the company. Logits are projected only at the masked positions of the block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from lift_harness.decoding.batch import Batch
from lift_harness.decoding.decision import decide
from lift_harness.decoding.forward import hidden_states
from lift_harness.decoding.request import Generation
from lift_harness.decoding.row import Row
from lift_harness.decoding.speculation import Speculation


def decode(
    batch: Batch,
    queue: deque[Row],
    stop_ids: frozenset[int],
    on_step: Callable[[int, Generation], None] | None = None,
    on_pass: Callable[[int], None] | None = None,
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
        if on_pass is not None:
            on_pass(sum(row.filled for row in batch.rows))
        yield from batch.end_blocks(stop_ids)


def passes(batch: Batch) -> list[tuple[list[Row], bool]]:
    """The rows that a pass can take together, and whether they compute all that they see.

    Those that begin a block compute more columns than the others and go apart: padded to the widest, the
    others would cost as much.
    """
    batch.find_begun()
    kinds: dict[tuple[bool, bool, bool], list[Row]] = {}
    for row in batch.rows:
        whole = batch.store is None or (row.fresh and batch.computed(row) == (0, batch.seen(row)))
        kind = not whole, not row.fresh and not whole, row.begun is not None
        kinds.setdefault(kind, []).append(row)
    return [(kinds[kind], not kind[0]) for kind in sorted(kinds)]


def take_step(batch: Batch, rows: list[Row], whole: bool) -> None:
    """One pass: every row commits what its schedule says."""
    seen = batch.canvases(rows)
    hidden = hidden_states(batch, seen, whole)
    batch.commit(seen, decide(batch, seen, hidden))
