"""The look-ahead of LIFT (arXiv 2605.22939, section 4): what lift, lift_a and the ablations share.

A row is masked at t + rho, more than is trained on, and K of the masked tokens are learnt: those that the
model finds hardest, those that it finds easiest, or some at random. A method is a choice of regime per row.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lift_harness.errors import LiftError
from lift_harness.training.objectives.base import (
    Batch,
    Loss,
    NoiseKey,
    confidences,
    items,
    lowest,
    weighted_loss,
)
from lift_harness.training.objectives.options import Check
from lift_harness.training.vocabulary import token_nll

HARDEST, RANDOM, EASIEST = -1, 0, 1  # which of the masked tokens are learnt
STRATEGIES = "uniform, fixed:k and truncated:k with k from 0 to 1"  # of rho


class Lookahead(NamedTuple):
    """What is drawn before the model is asked.

    Attributes:
        t: float64 [B], diffusion time.
        rho: float64 [B], look-ahead.
        masked: bool [B, N], response tokens masked with probability t + rho.
        regime: int64 [B].
        k: int64 [B], how many of the masked tokens are learnt.
    """

    t: Tensor
    rho: Tensor
    masked: Tensor
    regime: Tensor
    k: Tensor


def look_ahead(batch: Batch, key: NoiseKey, regime: Tensor, rho: str) -> Lookahead:
    """The paper's draw: the strategy's rho, and K = floor(t L)."""
    t = key.t(batch)
    extra = draw_rho(rho, t, key.rho(batch))
    masked = key.mask_below(t + extra, batch)
    return Lookahead(t, extra, masked, regime, how_many(t, batch.lengths, masked))


# ---------------------------------------------------------------- regime, rho, K


def regimes(t: Tensor, H: int) -> Tensor:
    """Which masked tokens are learnt at times t [B]: int64 [B] of HARDEST, RANDOM, EASIEST."""
    return (t >= 1 - 1 / H).long() * EASIEST + (t < 1 / H).long() * HARDEST


def draw_rho(strategy: str, t: Tensor, u: Tensor) -> Tensor:
    """Look-ahead rho [B] of a strategy, from uniform (0, 1) numbers u [B].

    uniform: U(0, 1 - t); fixed:k: min(k, 1 - t); truncated:k: U(min(k, 1 - t), 1 - t).
    """
    name, k = parse_rho(strategy)
    low = (1 - t).clamp(max=k)
    return low if name == "fixed" else low + u * (1 - t - low)


def parse_rho(strategy: str) -> tuple[str, float]:
    """("fixed", k) or ("truncated", k); uniform is truncated at 0.

    Raises:
        LiftError: none of them, or k is not in [0, 1].
    """
    if strategy == "uniform":
        return "truncated", 0.0
    name, _, number = strategy.partition(":") if isinstance(strategy, str) else ("", "", "")
    try:
        k = float(number)
    except ValueError:
        k = math.nan
    if name not in ("fixed", "truncated") or not 0 <= k <= 1:
        raise LiftError(f"known are {STRATEGIES}, e.g. fixed:0.2")
    return name, k


rho_strategy = Check(STRATEGIES, lambda value: bool(parse_rho(value))).means(
    "how much more than t is masked when the model is asked what is hard"
)


def how_many(t: Tensor, lengths: Tensor, masked: Tensor) -> Tensor:
    """K [B]: floor(t L), at least 1, at most the number masked."""
    return torch.minimum((t * lengths).floor().long().clamp(min=1), masked.sum(-1))


# ---------------------------------------------------------------- which are learnt


def keep(confidence: Tensor, drawn: Lookahead, noise: Tensor) -> Tensor:
    """The K masked tokens of each row that are learnt: bool [B, N].

    Args:
        confidence: p(x0) [B, N]; rows of the random regime are not looked at.
        drawn: K, regime and mask.
        noise: uniform [B, N], ranks tokens in the random regime.
    """
    regime = drawn.regime[:, None]
    ranked = torch.where(regime == RANDOM, noise, -regime * confidence.double())
    return lowest(ranked, drawn.masked, drawn.k)


def in_two_passes(
    model: nn.Module, batch: Batch, key: NoiseKey, drawn: Lookahead, num_items: int | None
) -> Loss:
    """Rank at t + rho without gradient, show again what is not kept, learn the rest; weight 1/t.

    The first pass sees only the rows that rank by confidence: one of the random regime equals vanilla
    masking at t, and needs none.
    """
    lookahead = batch.x0.masked_fill(drawn.masked, batch.mask_id)
    confidence = confidences(model, batch, lookahead, drawn.masked, drawn.regime != RANDOM)
    kept = keep(confidence, drawn, key.select(batch))
    inputs = batch.x0.masked_fill(kept, batch.mask_id)
    weight = (kept / drawn.t[:, None]).float()
    loss = weighted_loss(model, batch, inputs, kept, weight, num_items)
    return Loss(loss, inputs, kept, weight, drawn.t, drawn.rho, confidence, drawn.regime)


def in_one_pass(
    model: nn.Module, batch: Batch, key: NoiseKey, drawn: Lookahead, divisor: Tensor, num_items: int | None
) -> Loss:
    """The pass at t + rho is the only one; its loss counts on the kept tokens, by 1 / divisor [B]."""
    inputs = batch.x0.masked_fill(drawn.masked, batch.mask_id)
    nll = token_nll(model, batch, inputs, drawn.masked)  # [M]
    confidence = torch.full(batch.x0.shape, float("nan"), device=batch.x0.device)
    confidence[drawn.masked] = (-nll.detach()).exp()
    kept = keep(confidence, drawn, key.select(batch))
    weight = (kept / divisor[:, None]).float()
    loss = (nll * weight[drawn.masked]).sum() / items(batch, num_items)
    return Loss(loss, inputs, kept, weight, drawn.t, drawn.rho, confidence, drawn.regime)
