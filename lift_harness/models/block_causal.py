"""Who sees whom in block diffusion: attention is causal between blocks of B columns, and full inside one.

A mask is bool, True where a query may see a key. (Arriola et al. 2025, arXiv 2503.09573, section 3.1 and
figure 3.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def block_causal(queries: Tensor, keys: Tensor, block_size: int) -> Tensor:
    """The mask [B, L, L_all] of queries at columns [B, L] and keys at columns [B, L_all], of a text.

    A query of block b sees the keys of the blocks 0 to b.
    """
    return keys[:, None, :] // block_size <= queries[:, :, None] // block_size


def noisy_and_clean(length: int, block_size: int, device: torch.device | str | None = None) -> Tensor:
    """The mask [2 L, 2 L] of a training row: L noisy tokens, then the same L clean ones.

    A noisy token sees the noisy ones of its own block and the clean ones of the blocks before it, which is
    what it sees while its block is decoded. A clean token sees the clean ones of its own and earlier blocks.
    """
    block = torch.arange(length, device=device) // block_size
    query, key = block[:, None], block[None]
    noisy = torch.cat((query == key, query > key), dim=1)
    clean = torch.cat((torch.zeros_like(query == key), query >= key), dim=1)
    return torch.cat((noisy, clean))


def visible_keys(
    attention_mask: Tensor | None, columns: Tensor, block_size: int | None, counted: bool, cached: bool
) -> Tensor | None:
    """The mask of one pass: None (all keys), bool [B, L_all] (these keys) or bool [B, L, L_all].

    Decided from shapes alone, so that no device is waited for.

    Args:
        attention_mask: as it was given: None, which keys are real [B, L_all], or who sees whom [B, L, L_all].
        columns: of the queries, int64 [1 or B, L].
        block_size: of the model; None: bidirectional.
        counted: the columns are 0 to L - 1 in every row.
        cached: keys of earlier passes are seen too, those of columns 0 to L_all - 1. At most a block's
            columns are then taken as (part of) the last block of their row, which sees all that is cached.
    """
    mask = None if attention_mask is None else attention_mask.bool()
    if block_size is None or (mask is not None and mask.ndim == 3):
        return mask
    if columns.shape[1] <= block_size and (cached or counted):
        return mask
    keys = columns
    if cached:
        total = int(columns.max()) + 1 if mask is None else mask.shape[1]
        keys = torch.arange(total, device=columns.device)[None]
    seen = block_causal(columns, keys, block_size)
    return seen if mask is None else seen & mask[:, None]
