"""LIFT-A: LIFT without the second pass (arXiv 2605.22939, section 4).

What is kept is chosen as in LIFT, by the confidences of the very pass that is trained, at t + rho:
L = E_t,rho [ 1/(t + rho) * sum over kept i of -log p(x0_i | x_{t+rho}) ].
"""

from __future__ import annotations

from torch import nn

from lift_harness.training.objectives.base import Batch, Loss, NoiseKey
from lift_harness.training.objectives.definition import Passes, objective
from lift_harness.training.objectives.lift import OPTIONS, draw_paper, draw_release, refuse_rho_of_release
from lift_harness.training.objectives.lookahead import in_one_pass


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
    which rows share the batch), and weighs by 1/t.
    """
    if variant == "release":
        drawn = draw_release(batch, key, H)
        return in_one_pass(model, batch, key, drawn, drawn.t, num_items)
    drawn = draw_paper(batch, key, H, rho)
    return in_one_pass(model, batch, key, drawn, drawn.t + drawn.rho, num_items)
