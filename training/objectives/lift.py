"""LIFT: learnability-informed fine-tuning (arXiv 2605.22939, section 4).

The model first sees the text with more masked than is trained on (t + rho), and K = floor(t L) of the
masked tokens are chosen to be learnt: while little is hidden (small t) the ones it finds hardest,
while almost all is (t near 1) the easiest, between at random. The others are shown again.

LIFT-A saves the second pass: one pass at t + rho, loss on the chosen tokens only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lift_harness.errors import LiftError
from lift_harness.training.objectives.base import (
    Batch,
    Loss,
    NoiseKey,
    confidences,
    lowest,
    weighted_loss,
)
from lift_harness.training.vocabulary import token_nll

HARDEST, RANDOM, EASIEST = -1, 0, 1


def regimes(t: Tensor, H: int) -> Tensor:
    """Which masked tokens are learnt at times t [B]: int64 [B] of HARDEST, RANDOM, EASIEST."""
    return (t >= 1 - 1 / H).long() * EASIEST + (t < 1 / H).long() * HARDEST


def how_many(t: Tensor, lengths: Tensor, masked: Tensor) -> Tensor:
    """K [B]: floor(t L), at least 1, at most the number masked."""
    return torch.minimum((t * lengths).floor().long().clamp(min=1), masked.sum(-1))


def keep(confidence: Tensor, regime: Tensor, masked: Tensor, k: Tensor, noise: Tensor) -> Tensor:
    """The K masked tokens of each row that are learnt: bool [B, N].

    Args:
        confidence: p(x0) [B, N]; rows of the random regime are not looked at.
        regime: [B].
        masked: bool [B, N].
        k: [B].
        noise: uniform [B, N], ranks tokens in the random regime.
    """
    ranked = torch.where((regime == RANDOM)[:, None], noise, -regime[:, None] * confidence.double())
    return lowest(ranked, masked, k)


def lift(model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, H: int = 3) -> Loss:
    """LIFT with H regimes (H = 2 is LIFT-2, without the random one).

    The no-gradient pass sees only the rows that rank by confidence: a row of the random regime equals
    vanilla masking at t, and needs none.
    """
    t = key.t(batch)
    rho = key.rho(batch) * (1 - t)
    masked = key.mask_below(t + rho, batch)
    regime = regimes(t, H)
    lookahead = batch.x0.masked_fill(masked, batch.mask_id)
    confidence = confidences(model, batch, lookahead, masked, regime != RANDOM)
    kept = keep(confidence, regime, masked, how_many(t, batch.lengths, masked), key.select(batch))
    inputs = batch.x0.masked_fill(kept, batch.mask_id)
    weight = (kept / t[:, None]).float()
    loss = weighted_loss(model, batch, inputs, kept, weight, num_items)
    return Loss(loss, inputs, kept, weight, t, rho, confidence, regime)


def lift_a(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, H: int = 3
) -> Loss:
    """LIFT-A: the pass at t + rho is the only one; its loss counts on the kept tokens, by 1/(t + rho)."""
    t = key.t(batch)
    rho = key.rho(batch) * (1 - t)
    masked = key.mask_below(t + rho, batch)
    inputs = batch.x0.masked_fill(masked, batch.mask_id)
    nll = token_nll(model, inputs, masked, batch.x0[masked])  # [M]
    confidence = torch.full(batch.x0.shape, float("nan"), device=batch.x0.device)
    confidence[masked] = (-nll.detach()).exp()
    k = how_many(t, batch.lengths, masked)
    regime = regimes(t, H)
    kept = keep(confidence, regime, masked, k, key.select(batch))
    weight = (kept / (t + rho)[:, None]).float()
    total = (nll * weight[masked]).sum()
    loss = total / (batch.response.sum() if num_items is None else num_items)
    return Loss(loss, inputs, kept, weight, t, rho, confidence, regime)


def check_H(H: int) -> None:
    """Refuse what is not a number of regimes."""
    if not isinstance(H, int) or H < 2:
        raise LiftError(
            f"objective.H={H!r}: LIFT needs a whole number of regimes, at least 2 (the paper: 2, 3)"
        )
