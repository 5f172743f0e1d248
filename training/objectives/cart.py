"""CART: context-adaptive rescheduling of the noise at token level (Dream 7B, arXiv 2508.15487).

Vanilla, each masked token weighted by how much is shown near it:
L = E_t [ 1/t * sum over masked i of w_i * -log p(x0_i | x_t) ],
w_i = 1/2 * sum over unmasked j of Geo(p; |i - j| - 1), Geo(p; k) = p (1 - p)^k.

Every token that is shown counts, the prompt's and the padding's too. A model with blocks is shown the tokens
of earlier blocks, all of them, those of its own that are not masked, and none of later ones.

Dream's own training uses w_i in the place of 1/t: that is `dream`, which the GIFT paper compares with (arXiv
2509.20863, equation 16). In `cart`, as in the LIFT paper's comparison, it multiplies 1/t.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lift_harness.training.objectives.base import Batch, Loss, NoiseKey, blocks, weighted_loss
from lift_harness.training.objectives.definition import Passes, objective
from lift_harness.training.objectives.options import number

OPTIONS = {
    "p": number("between 0 and 1, both excluded", lambda p: 0 < p < 1).means(
        "how fast the context around a token fades: Geo(p)"
    )
}


@objective(passes=Passes(trained=1), options=OPTIONS)
def cart(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, p: float = 0.1
) -> Loss:
    """Vanilla masking, the loss of a token weighted by the context around it."""
    return by_context(model, batch, key, num_items, p, scale=1 / key.t(batch))


@objective(passes=Passes(trained=1), options=OPTIONS)
def dream(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, p: float = 0.3
) -> Loss:
    """Vanilla masking, the loss of a token weighted by the context around it and by nothing else."""
    return by_context(model, batch, key, num_items, p, scale=torch.ones_like(key.t(batch)))


def by_context(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None, p: float, scale: Tensor
) -> Loss:
    """Vanilla masking, each token weighted by `scale` [B] times its context."""
    t = key.t(batch)
    masked = key.mask_below(t, batch)
    inputs = batch.x0.masked_fill(masked, batch.mask_id)
    weight = (masked * context_in(batch, masked, p) * scale[:, None]).float()
    loss = weighted_loss(model, batch, inputs, masked, weight, num_items)
    return Loss(loss, inputs, masked, weight, t, t.new_zeros(t.shape))


def context_in(batch: Batch, masked: Tensor, p: float) -> Tensor:
    """w_i at every position of a batch's rows, by what the model is shown: float64 [B, N].

    Of the text before its block, S tokens, the token at place k of the block has the context
    1/2 sum over j < S of p (1 - p)^(k + j) = 1/2 (1 - p)^k (1 - (1 - p)^S).
    """
    if batch.block_size is None:
        return context(~masked, p)
    shown = batch.whole_rows(~masked)
    if batch.place is not None:
        shown = shown & (batch.place >= 0)
    inside = blocks(shown, batch.block_size)
    number = len(inside) // len(shown)
    place = torch.arange(inside.shape[1], device=shown.device)
    before = torch.arange(number, device=shown.device).repeat(len(shown))[:, None] * inside.shape[1]
    found = context(inside, p) + (1 - p) ** place * (1 - (1 - p) ** before.double()) / 2
    if masked.shape == inside.shape:
        return found
    return found.view(len(shown), -1)[:, : shown.shape[1]]


def context(shown: Tensor, p: float) -> Tensor:
    """w_i at every position of `shown` bool [B, N]: float64 [B, N]. A token is no context of itself."""
    shown = shown.double()
    left = to_the_right(geometric_sum(shown, 1 - p), 1)
    right = to_the_right(geometric_sum(shown.flip(-1), 1 - p), 1).flip(-1)
    return p / 2 * (left + right)


def geometric_sum(x: Tensor, q: float) -> Tensor:
    """y_i = sum over j <= i of q^(i - j) x_j, for x [B, N].

    By doubling, in log2(N) steps: the sum over the last 2n tokens is the one over the last n, plus q^n times
    the one over the n before them.
    """
    n = 1
    while n < x.shape[-1]:
        x = x + q**n * to_the_right(x, n)
        n *= 2
    return x


def to_the_right(x: Tensor, n: int) -> Tensor:
    """[B, N] moved n places to the right, zeros from the left."""
    return F.pad(x, (n, 0))[..., : x.shape[-1]]
