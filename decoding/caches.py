"""Key/value caches: which columns of the canvas a pass computes, and where their keys and values are kept.

What a pass computes is a function in a table; the rest is seen through the keys and values of earlier
passes. `prefix` and `dual` begin a block with a pass over the whole canvas (Fast-dLLM, arXiv 2505.22618,
section 3.2). `blocks` is exact, for models whose blocks see nothing to their right: keys and values of a
block are kept from a pass over its finished tokens, which is the next block's first one
(docs/decoding.md has a picture).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lift_harness.decoding.transfer import numbers

if TYPE_CHECKING:
    from lift_harness.decoding.row import Row

# (row, columns that its next pass sees) -> (first column, end) to compute
Window = Callable[["Row", int], tuple[int, int]]


def none(row: Row, seen: int) -> tuple[int, int]:
    """All that is seen."""
    return 0, seen


def prefix(row: Row, seen: int) -> tuple[int, int]:
    """The block and all that is right of it."""
    return (0 if row.fresh else row.here[0]), seen


def dual(row: Row, seen: int) -> tuple[int, int]:
    """The block."""
    return (0, seen) if row.fresh else row.here[:2]


def blocks(row: Row, seen: int) -> tuple[int, int]:
    """The block, at first with the one before it, which is finished now and to be kept."""
    return (row.before if row.fresh else row.here[0]), seen


def sub_blocks(row: Row, seen: int) -> tuple[int, int]:
    """As `blocks`, but a sub-block that is begun alone (Fast-dLLM v2, arXiv 2509.26328)."""
    return row.begun or blocks(row, seen)


AUTO = "auto"  # `blocks` for a model that has any, else `none`
CACHES: dict[str, Window] = {
    "none": none,
    "prefix": prefix,
    "dual": dual,
    "blocks": blocks,
    "sub_blocks": sub_blocks,
}
EXACT = (AUTO, "none", "blocks")
OF_BLOCKS = ("blocks", "sub_blocks")  # for models with blocks


class Store:
    """Keys and values [slots, width, H_kv, C] of every layer, allocated once.

    A slot is a row of the batch; the last column is scratch, written to and never seen.
    """

    def __init__(self, model: Any, slots: int, width: int) -> None:
        layers, heads, size = model.cache_shape
        shape = (slots, width, heads, size)
        # Zeros: a column that is hidden from attention still enters products with weight 0.
        make = partial(torch.zeros, shape, dtype=model.dtype, device=model.device)
        self.layers = [(make(), make()) for _ in range(layers)]

    def keep_in_place(self) -> None:
        """Tell the compiler that the store stays: else it makes no CUDA graph of what writes to it."""
        for pair in self.layers:
            for tensor in pair:
                torch._dynamo.mark_static_address(tensor)

    def read(self, slots: list[int], length: int) -> list[tuple[Tensor, Tensor]]:
        """A copy of the first `length` columns of some slots, layer by layer."""
        index = numbers(slots, self.layers[0][0].device)
        return [(keys[index, :length], values[index, :length]) for keys, values in self.layers]

    def write(self, slots: list[int], kept: list[tuple[Tensor, Tensor]]) -> None:
        """Put back what `read` gave."""
        index = numbers(slots, self.layers[0][0].device)
        for (keys, values), (k, v) in zip(self.layers, kept, strict=True):
            keys[index, : k.shape[1]], values[index, : v.shape[1]] = k, v


class View:
    """What the model sees of a store in one pass (`models.KeyValueCache`)."""

    def __init__(self, store: Store, slots: list[int], columns: Tensor, length: int, whole: bool) -> None:
        """Rows `slots` of the store compute `columns` [B, S] and see columns 0 to `length`.

        With `whole` the pass computes all that it sees, and reads nothing back.
        """
        self.store, self.columns, self.length, self.whole = store, columns, length, whole
        self.index = numbers(slots, columns.device)
        adjacent = slots == list(range(slots[0], slots[0] + len(slots)))
        self.rows = slice(slots[0], slots[0] + len(slots)) if adjacent else self.index

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep [B, H_kv, S, C] of this pass; returns what is seen, [B, H_kv, L_all, C]."""
        keys, values = self.store.layers[layer]
        where = (self.index[:, None], self.columns)
        keys[where], values[where] = key.transpose(1, 2), value.transpose(1, 2)
        if self.whole:
            return key, value
        return (
            keys[self.rows, : self.length].transpose(1, 2),
            values[self.rows, : self.length].transpose(1, 2),
        )
