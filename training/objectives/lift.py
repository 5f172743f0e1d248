"""LIFT: learnability-informed fine-tuning (arXiv 2605.22939, section 4).

The model first sees the text with more masked than is trained on (t + rho), and K = floor(t L) of the
masked tokens are chosen to be learnt: while little is hidden (t < 1/H) the ones it finds hardest, while
almost all is (t >= 1 - 1/H) the easiest, between at random. The others are shown again.

L = E_t,rho [ 1/t * sum over kept i of -log p(x0_i | x0 with the kept masked) ], rho ~ U(0, 1 - t).
"""

from __future__ import annotations

import torch
from torch import nn

from lift_harness.errors import LiftError
from lift_harness.training.objectives.base import EPS, Batch, Loss, NoiseKey
from lift_harness.training.objectives.definition import Options, Passes, objective
from lift_harness.training.objectives.lookahead import (
    RANDOM,
    Lookahead,
    in_two_passes,
    look_ahead,
    regimes,
    rho_strategy,
)
from lift_harness.training.objectives.options import one_of, regime_count


def two_of_H(options: Options) -> Passes:
    """A first pass without gradient where t decides for the hardest or the easiest: 2 of H regimes.

    With a `t_range` it is the share of that range.
    """
    low, high = options["t_range"] or (0.0, 1.0)
    first, last = 1 / options["H"], 1 - 1 / options["H"]
    ranked = max(min(high, first) - low, 0.0) + max(high - max(low, last), 0.0)
    return Passes(trained=1, scored=ranked / (high - low))


def refuse_rho_of_release(given: Options) -> None:
    """Refuse a `rho` beside `variant: release`, which has its own."""
    if given.get("variant") == "release" and given.get("rho", "uniform") != "uniform":
        raise LiftError(
            f"objective.rho={given['rho']!r}: variant: release has a rho of its own; leave out one"
        )


OPTIONS = {
    "H": regime_count.means("regimes of t: hardest tokens below 1/H, easiest from 1 - 1/H, any between"),
    "rho": rho_strategy,
    "variant": one_of("paper", "release").means("release: what the authors' code does"),
}


@objective(passes=two_of_H, options=OPTIONS, together=refuse_rho_of_release)
def lift(
    model: nn.Module,
    batch: Batch,
    key: NoiseKey,
    num_items: int | None = None,
    *,
    H: int = 3,
    rho: str = "uniform",
    variant: str = "paper",
) -> Loss:
    """LIFT with H regimes (H = 2 is LIFT-2, without the random one).

    `variant="release"` computes what the authors' released code does (`draw_release`).
    """
    drawn = draw_release(batch, key, H) if variant == "release" else draw_paper(batch, key, H, rho)
    return in_two_passes(model, batch, key, drawn, num_items)


def draw_paper(batch: Batch, key: NoiseKey, H: int, rho: str) -> Lookahead:
    """The draw of the paper: each row's regime by its own t."""
    return look_ahead(batch, key, regimes(key.t(batch), H), rho)


def draw_release(batch: Batch, key: NoiseKey, H: int) -> Lookahead:
    """The draw of the released code, where it differs from the paper.

    One regime for the whole batch, by the mean of its t; rho ~ U(0.1, 1 - t), or U(0, 1 - t) where
    1 - t <= 0.1, with the t from before the epsilon (so t + rho may be 1.001);
    K = round(n_masked t / (t + rho)), halves to even, in the random regime at least 1. The regime depends on
    which rows share the batch, so that here batch size and number of processes change what is learnt. Rows
    without response tokens (fillers) have no part in the mean.
    """
    t = key.t(batch)
    room = 1 - (t - EPS) / (1 - EPS)
    low = 0.1 * (room > 0.1).double()
    rho = low + key.rho(batch) * (room - low)
    masked = key.mask_below(t + rho, batch)
    real = batch.response.any(-1)
    mean = (t * real).sum() / real.sum().clamp(min=1)
    regime = regimes(mean, H).expand_as(batch.example_id)
    hidden = masked.sum(-1)
    share = (t / (t + rho)).clamp(min=1e-3)
    k = torch.maximum((hidden * share).round().long(), (regime == RANDOM).long())
    return Lookahead(t, rho, masked, regime, torch.minimum(k, hidden))
