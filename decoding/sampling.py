"""From logits to a candidate token for each position, and how sure the model is of it.

Shapes: M positions, V vocabulary. Keys are int64 [M] columns (request, sample, position, step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lift_harness.keyed_random import keyed_uniform

_GUMBEL, _ORDER = 101, 102  # streams of the noise key


def candidates(logits: Tensor, mask_id: int, temperature: float, seed: int, keys: Sequence[Tensor]) -> Tensor:
    """A token for each position, int64 [M]; never the mask id.

    At temperature 0 the most probable one. Otherwise a draw from softmax(logits / T) by the Gumbel-max
    trick, with noise keyed by (seed, request, sample, position, step, token).
    """
    allowed = logits.to(torch.float32, copy=True)  # the caller's logits go on to `confidence`
    allowed[:, mask_id] = -torch.inf
    if temperature > 0:
        tokens = torch.arange(logits.shape[-1], device=logits.device)
        uniform = keyed_uniform(_GUMBEL, seed, *(key[:, None] for key in keys), tokens)  # [M, V]
        allowed = allowed - temperature * (-uniform.log()).log().float()
    return allowed.argmax(-1)


def probability(logits: Tensor, chosen: Tensor) -> Tensor:
    """p(candidate) under softmax at temperature 1 (LLaDA's low-confidence remasking)."""
    logits = logits.float()
    return (logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)).exp()


def margin(logits: Tensor, chosen: Tensor) -> Tensor:
    """Probability of the first minus that of the second most probable token (Dream's topk_margin)."""
    top = logits.float().topk(2, dim=-1).values
    top = (top - logits.float().logsumexp(-1, keepdim=True)).exp()
    return top[:, 0] - top[:, 1]


def negative_entropy(logits: Tensor, chosen: Tensor) -> Tensor:
    """Sum of p log p (Dream's entropy)."""
    log_p = logits.float().log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1)


MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "low_confidence": probability,
    "margin": margin,
    "entropy": negative_entropy,
}


def confidence(remasking: str, logits: Tensor, chosen: Tensor, seed: int, keys: Sequence[Tensor]) -> Tensor:
    """What ranks the positions, float32 [M]: one of `MEASURES`, or keyed noise for `random`."""
    if remasking == "random":
        return keyed_uniform(_ORDER, seed, *keys).float()
    return MEASURES[remasking](logits, chosen)
