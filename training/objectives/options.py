"""Checks that the options of several objectives share; each is named beside the option (`@objective`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from lift_harness.errors import LiftError


class Check(NamedTuple):
    """What values an option takes, and what it means; called with (option, value) it refuses all others.

    Attributes:
        wanted: the values, as an error and the reference of settings (docs/reference.md) say it.
        holds: whether a value is one of them; it may raise an error of its own.
        about: what the option does (`means`).
    """

    wanted: str
    holds: Callable[[Any], bool]
    about: str = ""

    def __call__(self, option: str, value: Any) -> None:
        """Refuse a bad value.

        Raises:
            LiftError: the option, the value and what it must be.
        """
        try:
            good = self.holds(value)
        except LiftError as error:
            raise LiftError(f"objective.{option}={value!r}: {error}") from None
        if not good:
            raise LiftError(f"objective.{option}={value!r}: must be {self.wanted}")

    def means(self, about: str) -> Check:
        """The same of an option that means this."""
        return self._replace(about=about)


boolean = Check("true or false", lambda value: isinstance(value, bool))
regime_count = Check(
    "a whole number of regimes, at least 2 (the paper: 2, 3)",
    lambda value: type(value) is int and value >= 2,  # True is an int too
)


def one_of(*known: str) -> Check:
    """A check that refuses all but the known words."""
    return Check(" or ".join(known), lambda value: isinstance(value, str) and value in known)


def number(range_: str, inside: Callable[[float], bool]) -> Check:
    """A check that refuses what is not a finite number in a range."""

    def holds(value: Any) -> bool:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        return real and math.isfinite(value) and inside(value)

    return Check(f"a number {range_}", holds)


def is_time_range(value: Any) -> bool:
    """Whether it is nothing (all times) or a lowest and a highest diffusion time within (0, 1]."""
    if value is None:
        return True
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    if not pair or not all(isinstance(t, (int, float)) and not isinstance(t, bool) for t in value):
        raise LiftError("give the lowest and the highest t, e.g. [0.3, 0.8]")
    return 0 < value[0] < value[1] <= 1  # NaN is in no order


time_range = Check("a lower and a higher t within (0, 1], e.g. [0.3, 0.8]", is_time_range)
