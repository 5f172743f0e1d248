"""Checks that the options of several objectives share; each is named beside the option (`@objective`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lift_harness.errors import LiftError

Check = Callable[[str, Any], None]  # (option, value): raises on a bad one


def regime_count(option: str, value: Any) -> None:
    """Refuse what is not a number of regimes."""
    if type(value) is not int or value < 2:  # True is an int too
        raise LiftError(
            f"objective.{option}={value!r}: must be a whole number of regimes, at least 2 (the paper: 2, 3)"
        )


def boolean(option: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise LiftError(f"objective.{option}={value!r}: must be true or false")


def one_of(*known: str) -> Check:
    """A check that refuses all but the known words."""

    def check(option: str, value: Any) -> None:
        if not isinstance(value, str) or value not in known:
            raise LiftError(f"objective.{option}={value!r}: must be {' or '.join(known)}")

    return check


def number(range_: str, inside: Callable[[float], bool]) -> Check:
    """A check that refuses what is not a finite number in a range."""

    def check(option: str, value: Any) -> None:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or not inside(value):
            raise LiftError(f"objective.{option}={value!r}: must be a number {range_}")

    return check


def time_range(option: str, value: Any) -> None:
    """Refuse what is neither nothing (all times) nor a lowest and a highest diffusion time within (0, 1]."""
    if value is None:
        return
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    if not pair or not all(isinstance(t, (int, float)) and not isinstance(t, bool) for t in value):
        raise LiftError(f"objective.{option}={value!r}: give the lowest and the highest t, e.g. [0.3, 0.8]")
    if not 0 < value[0] < value[1] <= 1:  # NaN is in no order
        raise LiftError(
            f"objective.{option}={value!r}: must be a lower and a higher t within (0, 1], e.g. [0.3, 0.8]"
        )
