"""How many positions of a block a forward pass commits.

A schedule is a function of the confidences of a block, sorted down, and of how far the block has come;
the positions it counts are taken from the top. Shapes: B rows, W positions a block.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lift_harness.decoding.config import DecodingConfig

Schedule = Callable[[DecodingConfig, Tensor, Tensor, int], Tensor]


def fixed(config: DecodingConfig, ranked: Tensor, masks: Tensor, step: int) -> Tensor:
    """n masks over s steps: n // s each, the remainder one each on the first steps (LLaDA)."""
    steps = config.steps // config.blocks
    return masks // steps + (step < masks % steps).long()


def threshold(config: DecodingConfig, ranked: Tensor, masks: Tensor, step: int) -> Tensor:
    """All whose confidence reaches the threshold, at least one (Fast-dLLM, arXiv 2505.22618)."""
    assert config.threshold is not None
    return (ranked >= config.threshold).sum(-1).clamp(min=1)


def factor(config: DecodingConfig, ranked: Tensor, masks: Tensor, step: int) -> Tensor:
    """As many ranks r = 1, 2, ... as have confidence >= 1 - f / (r + 1); rank 1 always (Fast-dLLM)."""
    assert config.factor is not None
    rank = torch.arange(1, ranked.shape[-1] + 1, device=ranked.device)
    passes = ranked >= 1 - config.factor / (rank + 1)
    passes[:, 0] = True
    return passes.sum(-1)


SCHEDULES: dict[str, Schedule] = {"fixed": fixed, "threshold": threshold, "factor": factor}


def commit(config: DecodingConfig, confidence: Tensor, open_: Tensor, masks: Tensor, step: int) -> Tensor:
    """The positions that this pass commits, bool [B, W].

    Args:
        config: names the schedule.
        confidence: [B, W], -inf where not open.
        open_: bool [B, W], positions still masked.
        masks: int64 [B], positions that were masked when the block began.
        step: passes over this block so far.

    Equal confidences go to the leftmost position first.
    """
    ranked, order = confidence.sort(dim=-1, descending=True, stable=True)
    count = SCHEDULES[config.schedule](config, ranked, masks, step)
    rank = torch.arange(order.shape[-1], device=order.device)
    chosen = torch.zeros_like(open_).scatter_(-1, order, rank < count[:, None])
    return chosen & open_
