"""The options of objectives: what a recipe may say, checked by name before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.training.objectives.lookahead import parse_rho

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


CHECKS: dict[str, Check] = {
    "H": regime_count,
    "rho": lambda option, value: parse_rho(value) and None,
    "variant": one_of("paper", "release"),
    "weight": one_of("published", "nelbo"),
    "reference": boolean,
    "p": number("between 0 and 1, both excluded", lambda p: 0 < p < 1),
    "w": number("of at least 1", lambda w: w >= 1),
    "hard": boolean,
    "complementary": boolean,
}


def check_options(options: Mapping[str, Any]) -> None:
    """Check each option, then those that say something about each other.

    Raises:
        LiftError: a value of the wrong type or out of range, or one without effect.
    """
    for option, value in options.items():
        CHECKS[option](option, value)
    if options.get("variant") == "release" and options.get("rho", "uniform") != "uniform":
        raise LiftError(
            f"objective.rho={options['rho']!r}: variant: release has a rho of its own; leave out one"
        )
    if options.get("hard") and "w" in options:
        raise LiftError(f"objective.w={options['w']!r}: hard: true is w -> infinity; leave out one")
