"""Training objectives: `get_objective(name, **options)` gives objective(model, batch, key) -> Loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.training.objectives.base import Batch, Loss, NoiseKey
from lift_harness.training.objectives.lift import check_H, lift, lift_a
from lift_harness.training.objectives.vanilla import vanilla

Objective = Callable[..., Loss]

CHECKS: dict[str, Callable[[Any], None]] = {"H": check_H}  # option -> raises on a bad value
OBJECTIVES: dict[str, Objective] = {"vanilla": vanilla, "lift": lift, "lift_a": lift_a}


def get_objective(name: str, **options: Any) -> Objective:
    """The objective called `name` with its options set (for LIFT: H).

    Raises:
        LiftError: unknown name or option, or an option's value out of range.
    """
    if name not in OBJECTIVES:
        raise LiftError(f"unknown objective {name!r}; {did_you_mean(name, OBJECTIVES)}")
    objective = OBJECTIVES[name]
    known = [p.name for p in inspect.signature(objective).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise LiftError(
                f"objective {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}"
            )
        CHECKS[option](options[option])
    return partial(objective, **options)


__all__ = ["OBJECTIVES", "Batch", "Loss", "NoiseKey", "Objective", "get_objective"]


def needs_reference(objective: Objective) -> bool:
    """Whether an objective takes entropies from the frozen initial model (`reference: true`)."""
    return bool(getattr(objective, "keywords", {}).get("reference"))


def with_reference(objective: Objective, frozen: Any) -> Objective:
    """The objective with a frozen copy of the initial model, for full fine-tuning."""
    return partial(objective, reference_model=frozen)
