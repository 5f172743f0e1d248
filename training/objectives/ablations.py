"""Ablations of LIFT (arXiv 2605.22939): the side that is learnt does not depend on t.

topk and bottomk always learn the same side, random2 and random3 draw one of the regimes of H = 2 or H = 3
for each row, with the share of [0, 1] that t would give it (1/2 each, 1/3 each). All else is LIFT.
"""

from __future__ import annotations

import torch
from torch import nn

from lift_harness.training.objectives.base import Batch, Loss, NoiseKey
from lift_harness.training.objectives.definition import Passes, objective
from lift_harness.training.objectives.lookahead import (
    EASIEST,
    HARDEST,
    in_two_passes,
    look_ahead,
    regimes,
    rho_strategy,
)

OPTIONS = {"rho": rho_strategy}
ALWAYS_ASKED = Passes(trained=1, scored=1)


@objective(passes=ALWAYS_ASKED, options=OPTIONS)
def topk(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, rho: str = "uniform"
) -> Loss:
    """Always the K masked tokens with the highest p(x0): the easiest."""
    regime = torch.full_like(batch.example_id, EASIEST)
    return in_two_passes(model, batch, key, look_ahead(batch, key, regime, rho), num_items)


@objective(passes=ALWAYS_ASKED, options=OPTIONS)
def bottomk(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, rho: str = "uniform"
) -> Loss:
    """Always the K masked tokens with the lowest p(x0): the hardest."""
    regime = torch.full_like(batch.example_id, HARDEST)
    return in_two_passes(model, batch, key, look_ahead(batch, key, regime, rho), num_items)


@objective(passes=ALWAYS_ASKED, options=OPTIONS)
def random2(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, rho: str = "uniform"
) -> Loss:
    """The hardest or the easiest, whatever t is."""
    regime = regimes(key.regime(batch), 2)
    return in_two_passes(model, batch, key, look_ahead(batch, key, regime, rho), num_items)


@objective(passes=Passes(trained=1, scored=2 / 3), options=OPTIONS)
def random3(
    model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None, *, rho: str = "uniform"
) -> Loss:
    """The hardest, some at random or the easiest, whatever t is."""
    regime = regimes(key.regime(batch), 3)
    return in_two_passes(model, batch, key, look_ahead(batch, key, regime, rho), num_items)
