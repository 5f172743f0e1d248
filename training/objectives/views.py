"""What vanilla and density share: one view of a row or two complementary ones, their weights and divisors.

The complementary view masks exactly the response tokens that the first did not. Its mean rate is 1 - t, so
it is a sample at time 1 - t, and each view is weighted by one over its mean rate (1 - t at least EPS, as t
is), or by nothing. With both the loss is the mean of the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lift_harness.errors import LiftError
from lift_harness.training.objectives.base import EPS, Batch, Loss, NoiseKey, items, weighted_loss
from lift_harness.training.objectives.definition import Options, Passes
from lift_harness.training.objectives.options import boolean, one_of

# What the sum is divided by: response tokens; masked ones; each row by its response tokens, then rows; rows.
DIVISORS = ("response", "masked", "sequence", "batch")
OPTIONS = {
    "complementary": boolean.means("learn the tokens that were shown as well, from a second view"),
    "weight": one_of("one_over_t", "none").means("of a masked token"),
    "normalise": one_of(*DIVISORS).means(
        "what the sum is divided by: response tokens, masked ones, a row's response tokens and rows, rows"
    ),
}


def views(options: Options) -> Passes:
    """Both views of a row go through the model, where they are trained."""
    return Passes(trained=2 if options["complementary"] else 1)


def refuse_rows_of_blocks(given: Options) -> None:
    """Refuse a divisor that counts sequences beside noise of blocks, each of which is on its own."""
    divisor = given.get("normalise")
    if given.get("noise") == "block" and divisor in ("sequence", "batch"):
        raise LiftError(
            f"objective.normalise={divisor!r}: noise: block draws no noise of a sequence; take response or "
            "masked"
        )


def learn_views(
    model: nn.Module,
    batch: Batch,
    key: NoiseKey,
    num_items: Tensor | int | None,
    rate: Tensor,
    complementary: bool,
    weight: str,
    normalise: str,
) -> Loss:
    """Mask each token with its probability `rate` ([B] or [B, N], t on average), and learn what is masked.

    The result's rows are the B views at t, then, if asked for, the B complements at 1 - t.
    """
    t = key.t(batch)
    masked = key.mask_below(rate, batch)
    weights = masked / t[:, None] if weight == "one_over_t" else masked.double()
    seen = batch
    if complementary:
        rest = batch.response & ~masked
        of_rest = rest / (1 - t).clamp(min=EPS)[:, None] if weight == "one_over_t" else rest.double()
        weights, masked, t = (torch.cat(both) for both in ((weights, of_rest), (masked, rest), (t, 1 - t)))
        seen = batch.twice()
    weights = (weights * share(normalise, batch, seen, masked)).float()
    inputs = seen.x0.masked_fill(masked, batch.mask_id)
    loss = weighted_loss(model, seen, inputs, masked, weights, items(batch, num_items))
    return Loss(loss, inputs, masked, weights, t, t.new_zeros(t.shape))


def share(normalise: str, batch: Batch, seen: Batch, masked: Tensor) -> Tensor | float:
    """The factor of weights that makes of a division by response tokens one by something else.

    `weighted_loss` divides by the response tokens of the whole step: a micro-batch then has the part of its
    response tokens in the step.

    Args:
        normalise: one of DIVISORS.
        batch: the rows that are counted.
        seen: the views of them that are learnt.
        masked: bool, of the views.
    """
    response, rows = batch.response.sum(), seen.response.any(-1).sum().clamp(min=1)
    if normalise == "masked":
        return response / masked.sum().clamp(min=1)
    if normalise == "sequence":
        return response / (seen.lengths.clamp(min=1) * rows).double()[:, None]
    if normalise == "batch":
        return response / rows
    return len(batch.x0) / len(seen.x0)
