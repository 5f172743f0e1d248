"""Vanilla masked diffusion fine-tuning (LLaDA, arXiv 2502.09992, equation 5).

L = E_t [ 1/t * sum over masked i of -log p(x0_i | x_t) ], t ~ U(0, 1), each response token masked with
probability t.

Its options are what other trainings of block diffusion do: no 1/t and the mean over masked tokens
(LLaDA2.0's dFactory), other divisors (dllm), the complementary view beside the first (Fast-dLLM v2).
"""

from __future__ import annotations

from torch import nn

from lift_harness.training.objectives.base import Batch, Loss, NoiseKey
from lift_harness.training.objectives.definition import objective
from lift_harness.training.objectives.views import OPTIONS, learn_views, refuse_rows_of_blocks, views


@objective(passes=views, options=OPTIONS, together=refuse_rows_of_blocks)
def vanilla(
    model: nn.Module,
    batch: Batch,
    key: NoiseKey,
    num_items: int | None = None,
    *,
    complementary: bool = False,
    weight: str = "one_over_t",
    normalise: str = "response",
) -> Loss:
    """The negative evidence lower bound of the response given the prompt, one sample of t a row."""
    return learn_views(model, batch, key, num_items, key.t(batch), complementary, weight, normalise)
