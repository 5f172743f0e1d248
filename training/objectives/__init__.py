"""Training objectives: `get_objective(name, **options)` gives objective(model, batch, key) -> Loss.

One file a method (docs/training.md), each a function of the model, the clean text and the noise key.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.training.objectives.ablations import bottomk, random2, random3, topk
from lift_harness.training.objectives.base import Batch, Loss, NoiseKey
from lift_harness.training.objectives.cart import cart
from lift_harness.training.objectives.density import density
from lift_harness.training.objectives.gift import gift
from lift_harness.training.objectives.lift import lift
from lift_harness.training.objectives.lift_a import lift_a
from lift_harness.training.objectives.options import check_options
from lift_harness.training.objectives.vanilla import vanilla

Objective = Callable[..., Loss]

OBJECTIVES: dict[str, Objective] = {
    method.__name__: method
    for method in (vanilla, lift, lift_a, topk, bottomk, random2, random3, gift, cart, density)
}


def get_objective(name: str, **options: Any) -> Objective:
    """The objective called `name` with its options set: objective(model, batch, key, num_items=None).

    Raises:
        LiftError: unknown name or option, or an option's value of the wrong type or out of range.
    """
    if not isinstance(name, str) or name not in OBJECTIVES:
        raise LiftError(f"unknown objective {name!r}; {did_you_mean(str(name), OBJECTIVES)}")
    known = option_names(OBJECTIVES[name])
    for option in options:
        if option not in known:
            raise LiftError(
                f"objective {name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}"
            )
    check_options(options)
    return partial(OBJECTIVES[name], **options)


def option_names(objective: Objective) -> list[str]:
    """The options of an objective: its keyword-only parameters."""
    return [p.name for p in inspect.signature(objective).parameters.values() if p.kind is p.KEYWORD_ONLY]


def needs_reference(objective: Objective) -> bool:
    """Whether an objective asks the initial model too (gift with `reference: true`).

    With LoRA that is the model with its adapters disabled, and nothing more is needed. In full fine-tuning
    the trainer keeps a frozen copy, on the model's device, and gives it to the objective (`with_reference`).
    """
    return bool(getattr(objective, "keywords", {}).get("reference"))


def with_reference(objective: Objective, frozen: nn.Module) -> Objective:
    """An objective that `needs_reference`, with a frozen copy of the initial model."""
    return partial(objective, reference_model=frozen)


__all__ = [
    "OBJECTIVES",
    "Batch",
    "Loss",
    "NoiseKey",
    "Objective",
    "get_objective",
    "needs_reference",
    "option_names",
    "with_reference",
]
