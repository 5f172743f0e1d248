"""How many positions of a block a forward pass commits: those with the highest confidence.

A planned schedule knows the number before the pass, from how many masks the block had and has. An
adaptive one reads it off the confidences. A new schedule is a function in one of the two tables; what else
is to be known of it is said below them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lift_harness.decoding.config import DecodingConfig

Planned = Callable[["DecodingConfig", int, int, int], int]
Adaptive = Callable[["DecodingConfig", Tensor, Tensor, Tensor], Tensor]


# ---- planned: (config, masks when the block began, masks left, step of the block from 0) -> number


def fixed(config: DecodingConfig, masks: int, left: int, step: int) -> int:
    """n masks over s steps: n // s each, the remainder one each on the first steps (LLaDA)."""
    steps = config.steps // config.blocks
    return left if step >= steps - 1 else masks // steps + (step < masks % steps)


def dream(config: DecodingConfig, masks: int, left: int, step: int) -> int:
    """floor(left (1 - s / t)) on the grid t = linspace(1, eps, steps + 1), all at the last step (Dream).

    `steps` are those of a block; Dream itself has one block, the whole canvas. In float32, as Dream's code
    computes it: in exact arithmetic some floors differ. 0 is possible; such a step needs no pass.
    """
    steps = config.steps // config.blocks
    if step >= steps - 1:
        return left
    time = time_grid(config.eps, steps)
    return int(torch.tensor(float(left)) * (1 - time[step + 1] / time[step]))


def mdlm(config: DecodingConfig, masks: int, left: int, step: int) -> int:
    """round(left (1 - s / t)) on the grid t = n / steps, s = (n - 1) / steps from n = steps down to 1 (dllm).

    s / t in float32, as dllm's code computes it, so that an exact half goes either way. As with `dream`, a
    step that commits nothing needs no pass.
    """
    steps = config.steps // config.blocks
    if step >= steps - 1:
        return left
    t, s = (torch.tensor((steps - step - before) / steps) for before in (0, 1))
    return int((left * (1 - s / t).double()).round())


def quota(config: DecodingConfig, masks: int, left: int, step: int) -> int:
    """B tokens of a block over s steps: B // s each, the remainder one each on the first steps (SDAR).

    B counts the whole block, whatever of it the prompt has filled.
    """
    each, more = divmod(config.block_length, config.steps // config.blocks)
    return each + (step < more)


@lru_cache(maxsize=64)
def time_grid(eps: float, steps: int) -> Tensor:
    """t = linspace(1, eps, steps + 1), float32; asked for several times a step."""
    return torch.linspace(1, eps, steps + 1)


# ---- adaptive: (config, confidences [R, N] sorted down, entropies [R, N] in that order, what `quota`
# says of each row's step, int64 [R]) -> int64 [R]
# Positions that are not masked stand at the end, with confidence -inf and entropy +inf.


def threshold(config: DecodingConfig, ranked: Tensor, entropy: Tensor, at_least: Tensor) -> Tensor:
    """All whose confidence reaches the threshold, at least one (Fast-dLLM, arXiv 2505.22618)."""
    assert config.threshold is not None
    return (ranked >= config.threshold).sum(-1).clamp(min=1)


def factor(config: DecodingConfig, ranked: Tensor, entropy: Tensor, at_least: Tensor) -> Tensor:
    """As many ranks r = 1, 2, ... as have confidence >= 1 - f / (r + 1); rank 1 always (Fast-dLLM)."""
    assert config.factor is not None
    rank = torch.arange(1, ranked.shape[-1] + 1, device=ranked.device)
    return (ranked >= 1 - config.factor / (rank + 1)).sum(-1).clamp(min=1)


def entropy_bound(config: DecodingConfig, ranked: Tensor, entropy: Tensor, at_least: Tensor) -> Tensor:
    """The most k with H_1 + ... + H_k - max H_i <= bound, at least one (EB-Sampler, arXiv 2505.24857, eq. 7).

    The left side bounds the information lost by committing k tokens as if they were independent. It grows
    with k, so counting where it holds gives the largest k.
    """
    assert config.entropy_bound is not None
    lost = entropy.cumsum(-1) - entropy.cummax(-1).values  # inf - inf at the end: nan, which does not hold
    return (lost <= config.entropy_bound).sum(-1).clamp(min=1)


def above_or_quota(config: DecodingConfig, ranked: Tensor, entropy: Tensor, at_least: Tensor) -> Tensor:
    """All above the threshold if they number at least the quota, else the quota's (LLaDA2.0, SDAR)."""
    assert config.threshold is not None
    above = (ranked > config.threshold).sum(-1)
    return torch.maximum(above, at_least).clamp(max=(ranked != -torch.inf).sum(-1))  # NaN counts


def above_or_best(config: DecodingConfig, ranked: Tensor, entropy: Tensor, at_least: Tensor) -> Tensor:
    """All above the threshold, at least one (Fast-dLLM v2)."""
    assert config.threshold is not None
    return (ranked > config.threshold).sum(-1).clamp(min=1)


PLANNED: dict[str, Planned] = {
    "fixed": fixed,
    "dream": dream,
    "sdar_static": quota,
    "sdar_sequential": quota,
    "bd3lm": mdlm,
    "mdlm": mdlm,
}
ADAPTIVE: dict[str, Adaptive] = {
    "threshold": threshold,
    "factor": factor,
    "entropy_bound": entropy_bound,
    "llada2": above_or_quota,
    "llada21": above_or_quota,  # with a quota of `num_to_transfer`, and edits (`decision.edited`)
    "sdar_dynamic": above_or_quota,
    "fastdllm_v2": above_or_best,  # in one sub-block at a time (`batch.Row.candidates`)
}
# Their options with the values of the published code; None: to be given.
OPTIONS: dict[str, dict[str, float | None]] = {
    "threshold": {"threshold": None},
    "factor": {"factor": None},
    "entropy_bound": {"entropy_bound": None},
    "llada2": {"threshold": 0.95},
    "llada21": {"threshold": 0.95, "editing_threshold": 0.9, "num_to_transfer": 1, "max_post_steps": 16},
    "sdar_dynamic": {"threshold": 0.85},
    "fastdllm_v2": {"threshold": 1.0, "sub_block_length": 8},
}
STEPPED = (*PLANNED, "llada2", "sdar_dynamic")  # whose numbers follow from `steps`
# Of block diffusion: by default a token a step, and the last block may be short.
BLOCKWISE = (
    *("llada2", "llada21", "sdar_static", "sdar_dynamic", "sdar_sequential"),
    *("fastdllm_v2", "bd3lm", "mdlm"),
)
FROM_THE_LEFT = ("sdar_sequential",)  # commits the first masks, whatever their confidence
EDITING = ("llada21",)  # replaces tokens of the block too


def highest(confidence: Tensor, count: Tensor | Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The `count` [R] positions of highest confidence, bool [R, N]; equal ones from the left.

    `count` may be a function of the sorted confidences and their order, each [R, N].
    """
    ranked, order = confidence.sort(dim=-1, descending=True, stable=True)
    number = count if isinstance(count, Tensor) else count(ranked, order)
    first = torch.arange(order.shape[-1], device=order.device) < number[:, None]
    return torch.zeros_like(first).scatter_(-1, order, first)
