"""The parts that the native models share.

Shapes: B rows, L columns a row (L_all with those of a cache), Q wanted columns, D hidden size, H heads, C
head size, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# Where a mask and grouped heads together leave SDPA only its slow kernel ("math"), keys and values are
# repeated, as in transformers (use_gqa_in_sdpa).
REPEATS_KEYS = ("cuda",)

Rope = tuple[Tensor, Tensor]  # cosines and sines, float32 [1 or B, 1, L, R], R <= C


class KeyValueCache(Protocol):
    """What a model asks of a cache: given a layer's new keys and values, all that are to be seen."""

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Take [B, H_kv, L, C] of the present pass (keys rotated), return [B, H_kv, L_all, C]."""
        ...


class RMSNorm(nn.Module):
    """Root mean square norm, computed in float32 whatever the dtype of the model."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of x."""
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * h.to(x.dtype)


# ---------------------------------------------------------------- positions


def default_positions(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Positions [1 or B, L] that count from each row's first real token (padding left of it gets 0).

    A mask [B, L, L_all] does not say which tokens are real: positions are then the columns.
    """
    if attention_mask is None or attention_mask.ndim == 3:
        return torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]


def rope_tables(position_ids: Tensor, rotary_size: int, theta: float) -> Rope:
    """Cosines and sines of the rotary angles of the first R numbers of a head, float32, [1 or B, 1, L, R]."""
    power = torch.arange(0, rotary_size, 2, device=position_ids.device, dtype=torch.float32) / rotary_size
    angles = position_ids[:, None, :, None].float() * (1.0 / theta**power)  # [B, 1, L, R/2]
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rope: Rope, full_precision: bool) -> Tensor:
    """Apply rotary position embedding to x [B, H, L, C] (halves convention of GPT-NeoX).

    Tables of R < C numbers turn the first R of each head, the others pass.
    """
    size = rope[0].shape[-1]
    if size < x.shape[-1]:
        return torch.cat((rotate(x[..., :size], rope, full_precision), x[..., size:]), dim=-1)
    dtype = torch.float32 if full_precision else x.dtype
    cos, sin = (table.to(dtype) for table in rope)
    h = x.to(dtype)
    first, second = h.chunk(2, dim=-1)
    return (h * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


# ---------------------------------------------------------------- attention


def take(x: Tensor, at: Tensor | None) -> Tensor:
    """Columns `at` [B, Q] of x [B, L, D]; all of them with None."""
    return x if at is None else x.gather(1, at[:, :, None].expand(-1, -1, x.shape[-1]))


def attend(
    module: Any,
    h: Tensor,
    rope: Rope,
    mask: Tensor | None,
    cache: KeyValueCache | None,
    at: Tensor | None,
) -> Tensor:
    """Attention of h [B, L, D] over its own and the cached keys: [B, L or Q, H C].

    Args:
        module: has `queries_keys_values`, `head_size`, `layer` (its number), `rope_full_precision` and
            `config`.
        h: normalised hidden states.
        rope: rotary tables of its columns.
        mask: bool [B, L_all], True where a key is real, or [B, L, L_all], True where a query sees it; None
            when all queries see all keys.
        cache: sees and supplements the keys and values.
        at: int64 [B, Q], the columns whose output is wanted; the keys of all are needed.
    """
    q, k, v = module.queries_keys_values(h, at)
    k = rotate(k, rope, module.rope_full_precision)
    if cache is not None:
        k, v = cache.update(module.layer, k, v)
    if at is not None:
        cos, sin = (take(table[:, 0].expand(len(at), -1, -1), at)[:, None] for table in rope)
        rope = cos, sin
        if mask is not None and mask.ndim == 3:
            mask = take(mask.expand(len(at), -1, -1), at)
    q = rotate(q, rope, module.rope_full_precision)
    backend = module.config._attn_implementation
    # transformers' unpadding for flash-attn takes fewer queries than keys for the last columns of the mask,
    # and knows no mask of queries and keys.
    ours = mask is not None and (mask.ndim == 3 or q.shape[2] != k.shape[2])
    if backend in (None, "sdpa", "eager") or ours:
        seen = None if mask is None else mask[:, None] if mask.ndim == 3 else mask[:, None, None, :]
        grouped = q.shape[1] != k.shape[1]
        if grouped and mask is not None and q.device.type in REPEATS_KEYS:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
            grouped = False
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=grouped).transpose(1, 2)
    else:  # flash_attention_2 and others that transformers knows; they take the mask as it is
        out, _ = ALL_ATTENTION_FUNCTIONS[backend](module, q, k, v, mask, is_causal=False)
    return out.flatten(2)


def projected(module: Any, h: Tensor, at: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Heads of `q_proj` (at the columns `at`), `k_proj`, `v_proj`: [B, H, L or Q, C], [B, H_kv, L, C] twice.

    As `queries_keys_values` of a module that has these three and nothing to do behind them.
    """
    k, v = (heads(project(h), module.head_size) for project in (module.k_proj, module.v_proj))
    return heads(module.q_proj(take(h, at)), module.head_size), k, v


def heads(h: Tensor, head_size: int) -> Tensor:
    """Split a projection [B, L, H C] into heads [B, H, L, C]."""
    return h.view(*h.shape[:2], -1, head_size).transpose(1, 2)


# ---------------------------------------------------------------- vocabulary


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, faster for a few rows on a CPU.

    There the time goes into reading the weight, and the product that has it on the left reads it better:
    1.5 to 2 times as fast for up to 64 rows of a vocabulary of 32,000 (docs/performance.md).
    """
    few = x.ndim == 2 and len(x) <= 64 and x.device.type == "cpu" and weight.numel() > 2**20
    if not few or bias is not None or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    return (weight @ x.t()).t().contiguous()
