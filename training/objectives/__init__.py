"""Training objectives: `get_objective(name, **options)` gives objective(model, batch, key) -> Loss.

One file a method (docs/training.md), each a function of the model, the clean text and the noise key, below an
`@objective(...)` that says all that others ask of it.
"""

from __future__ import annotations

from typing import Any

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.training.objectives.ablations import bottomk, random2, random3, topk
from lift_harness.training.objectives.base import Batch, Loss, NoiseKey
from lift_harness.training.objectives.cart import cart, dream
from lift_harness.training.objectives.definition import Objective, Passes, objective
from lift_harness.training.objectives.density import density
from lift_harness.training.objectives.gift import gift
from lift_harness.training.objectives.lift import lift
from lift_harness.training.objectives.lift_a import lift_a
from lift_harness.training.objectives.vanilla import vanilla

METHODS = (vanilla, lift, lift_a, topk, bottomk, random2, random3, gift, cart, dream, density)
OBJECTIVES: dict[str, Objective] = {method.name: method for method in METHODS}


def get_objective(name: str, **options: Any) -> Objective:
    """The objective called `name` with its options set: objective(model, batch, key, num_items=None).

    Raises:
        LiftError: unknown name or option, or an option's value of the wrong type or out of range.
    """
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise LiftError(f"unknown objective {name!r}; {did_you_mean(str(name), OBJECTIVES)}")
    return OBJECTIVES[name].with_options(options)


__all__ = [
    "OBJECTIVES",
    "Batch",
    "Loss",
    "NoiseKey",
    "Objective",
    "Passes",
    "get_objective",
    "objective",
]
