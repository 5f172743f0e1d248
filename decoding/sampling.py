"""From logits to a candidate token for each position, and how sure the model is of it.

Shapes: M positions, V vocabulary. Keys are int64 [M] columns (request, sample, position, step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lift_harness.decoding.transfer import numbers
from lift_harness.keyed_random import DECODING_GUMBEL, DECODING_ORDER, keyed_uniform

if TYPE_CHECKING:
    from lift_harness.decoding.config import DecodingConfig


class Choice(NamedTuple):
    """For each position: the candidate, int64 [M]; its confidence, float32 [M]; the entropy if asked for."""

    token: Tensor
    confidence: Tensor
    entropy: Tensor | None


def choose(logits: Tensor, config: DecodingConfig, mask_id: int, keys: Sequence[Tensor]) -> Choice:
    """Candidates and confidences from logits [M, V], which are overwritten.

    Suppressed tokens are out from the start. The mask is never a candidate; in the probabilities of the
    model it counts, as in the published code.
    """
    logits = logits.float()
    if config.suppress_tokens:
        logits.index_fill_(1, numbers(config.suppress_tokens, logits.device), -torch.inf)
    masks = logits[:, mask_id].clone()
    logits[:, mask_id] = -torch.inf
    sampled = filtered(logits, config)
    token = draw(sampled, config, keys)
    if config.confidence_from == "sampling":
        measured = sampled
    else:
        measured = logits
        measured[:, mask_id] = masks
    log_total = measured.logsumexp(-1)  # [M]; NaN or infinite where any logit is NaN or +inf
    entropy = None
    if config.remasking == "entropy" or config.schedule == "entropy_bound":
        entropy = -negative_entropy(measured, log_total)
    if config.remasking == "random":
        confidence = keyed_uniform(DECODING_ORDER, config.seed, *keys).float()
    elif config.remasking == "entropy":
        assert entropy is not None
        confidence = -entropy
    else:
        confidence = MEASURES[config.remasking](measured, log_total, token)
    # 0, or NaN: whatever the measure, logits that are no numbers show in what is kept (`check_finite`).
    confidence = confidence + 0 * log_total
    return Choice(token, confidence, entropy if config.schedule == "entropy_bound" else None)


# ---------------------------------------------------------------- candidates


def filtered(logits: Tensor, config: DecodingConfig) -> Tensor:
    """Logits [M, V] divided by the temperature (if there is one), cut to `top_k` and `top_p`."""
    scaled = logits / config.temperature if config.temperature else logits
    return nucleus(most_probable(scaled, config.top_k), config.top_p)


def draw(logits: Tensor, config: DecodingConfig, keys: Sequence[Tensor]) -> Tensor:
    """A token for each position, int64 [M], from `filtered` logits [M, V] (-inf: never).

    At temperature 0 the most probable one. Otherwise a sample from their softmax by the Gumbel-max trick,
    with noise keyed by (seed, request, sample, position, step, token).
    """
    if config.temperature == 0:
        return logits.argmax(-1)
    return gumbel(logits.shape[-1], config.seed, keys).add_(logits).argmax(-1)


def gumbel(vocabulary: int, seed: int, keys: Sequence[Tensor]) -> Tensor:
    """Standard Gumbel noise, float32 [M, V], keyed by (seed, *key, token)."""
    tokens = torch.arange(vocabulary, device=keys[0].device)
    uniform = keyed_uniform(DECODING_GUMBEL, seed, *(key[:, None] for key in keys), tokens)
    # Small numbers keep their precision in float32, and they make the large noise that wins:
    # -log(-log(1 - u)).
    return uniform.float().neg_().log1p_().neg_().log_().neg_()


def most_probable(logits: Tensor, k: int) -> Tensor:
    """Logits [M, V] with all but the k largest (and what equals the k-th) at -inf; 0 keeps all."""
    if not 0 < k < logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k, dim=-1).values[:, -1:], -torch.inf)


def nucleus(logits: Tensor, p: float) -> Tensor:
    """Logits [M, V] with all but the fewest most probable tokens that reach p at -inf (Holtzman et al.)."""
    if p >= 1:
        return logits
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)
    probability = ranked.softmax(-1)
    beyond = probability.cumsum(-1) - probability >= p  # what stands before it is already enough
    return logits.masked_fill(torch.zeros_like(beyond).scatter_(-1, order, beyond), -torch.inf)


# ---------------------------------------------------------------- confidence


def probability(logits: Tensor, log_total: Tensor, token: Tensor) -> Tensor:
    """p(candidate) under softmax at temperature 1 (LLaDA's low-confidence remasking)."""
    return (logits.gather(-1, token[:, None])[:, 0] - log_total).exp()


def margin(logits: Tensor, log_total: Tensor, token: Tensor) -> Tensor:
    """Probability of the first minus that of the second most probable token (Dream's topk_margin)."""
    top = (logits.topk(2, dim=-1).values - log_total[:, None]).exp()
    return top[:, 0] - top[:, 1]


def negative_entropy(logits: Tensor, log_total: Tensor) -> Tensor:
    """Sum of p log p, in nats (Dream's entropy)."""
    log_p = logits - log_total[:, None]
    return log_p.exp().mul_(log_p.clamp_(min=-1e4)).sum(-1)  # 0 log 0 = 0, not nan


MEASURES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "low_confidence": probability,
    "margin": margin,
}
CONFIDENCE_FROM = ("model", "sampling")
REMASKING = (*MEASURES, "entropy", "random")
