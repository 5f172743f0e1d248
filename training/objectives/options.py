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
