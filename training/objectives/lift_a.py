"""LIFT-A: LIFT without the second pass (arXiv 2605.22939, section 4).

What is kept is chosen as in LIFT, by the confidences of the very pass that is trained, at t + rho:
L = E_t,rho [ 1/(t + rho) * sum over kept i of -log p(x0_i | x_{t+rho}) ].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lift_harness.training.objectives.base import Batch, Loss, NoiseKey, lowest
from lift_harness.training.objectives.definition import Passes, objective
from lift_harness.training.objectives.lift import OPTIONS, draw_paper, draw_release, refuse_rho_of_release
from lift_harness.training.objectives.lookahead import RANDOM, Lookahead, in_one_pass


@objective(passes=Passes(trained=1), options=OPTIONS, together=refuse_rho_of_release)
def lift_a(
    model: nn.Module,
    batch: Batch,
    key: NoiseKey,
    num_items: int | None = None,
    *,
    H: int = 3,
    rho: str = "uniform",
    variant: str = "paper",
) -> Loss:
    """LIFT-A with H regimes.

    `variant="release"` draws as the authors' released code does (`lift.draw_release`: its regime depends on
    which rows share the batch), trains on x_t in the random regime, and weighs by 1/t.
    """
    if variant == "release":
        drawn = filled_in(draw_release(batch, key, H), key.select(batch))
        return in_one_pass(model, batch, key, drawn, drawn.t, num_items)
    drawn = draw_paper(batch, key, H, rho)
    return in_one_pass(model, batch, key, drawn, drawn.t + drawn.rho, num_items)


def filled_in(drawn: Lookahead, noise: Tensor) -> Lookahead:
    """Rows of the random regime with no more masked than the K that are learnt: x_t, as `lift` trains on.

    The released code ignores its flag for LIFT-A there.

    Args:
        drawn: by `draw_release`.
        noise: uniform [B, N], ranks tokens in the random regime.
    """
    learnt = lowest(noise, drawn.masked, drawn.k)
    random = (drawn.regime == RANDOM)[:, None]
    return drawn._replace(masked=torch.where(random, learnt, drawn.masked))
