"""Vanilla masked diffusion fine-tuning (LLaDA, arXiv 2502.09992, equation 5).

L = E_t [ 1/t * sum over masked i of -log p(x0_i | x_t) ], t ~ U(0, 1), each response token masked with
probability t.
"""

from __future__ import annotations

from torch import nn

from lift_harness.training.objectives.base import Batch, Loss, NoiseKey, weighted_loss
from lift_harness.training.objectives.definition import Passes, objective


@objective(passes=Passes(trained=1))
def vanilla(model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None) -> Loss:
    """The negative evidence lower bound of the response given the prompt, one sample of t a row."""
    t = key.t(batch)
    masked = key.mask_below(t, batch)
    inputs = batch.x0.masked_fill(masked, batch.mask_id)
    weight = (masked / t[:, None]).float()
    loss = weighted_loss(model, batch, inputs, masked, weight, num_items)
    return Loss(loss, inputs, masked, weight, t, t.new_zeros(t.shape))
