"""Decoding settings, checked where they are made."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from lift_harness.errors import LiftError, did_you_mean

REMASKING = ("low_confidence", "margin", "entropy", "random")
SCHEDULES = ("fixed", "threshold", "factor")
CACHES = ("none",)


@dataclass(frozen=True)
class DecodingConfig:
    """How a masked canvas is turned into text (DESIGN: block-wise low-confidence remasking).

    Attributes:
        gen_length: tokens to generate, in blocks from left to right.
        block_length: tokens a block; divides `gen_length`.
        steps: forward passes over all blocks under the `fixed` schedule; a multiple of the number of blocks.
        temperature: of Gumbel-max sampling; 0 takes the most probable token.
        remasking: confidence that ranks positions: low_confidence (probability of the candidate),
            margin (top-1 minus top-2), entropy (negative), random.
        schedule: which positions a pass commits: fixed (equal shares), threshold (confidence at least
            `threshold`), factor (rank r passes at confidence >= 1 - factor / (r + 1)).
        threshold: of the threshold schedule, in [0, 1].
        factor: of the factor schedule, > 0.
        cache: none (every pass sees the whole canvas: exact).
        cfg_scale: classifier-free guidance; 0 is off.
        early_stop: stop a request at the block boundary after its first end-of-text token.
        seed: of all random numbers.

    Raises:
        LiftError: a value out of range, or lengths that do not divide.
    """

    gen_length: int = 128
    block_length: int = 32
    steps: int = 64
    temperature: float = 0.0
    remasking: str = "low_confidence"
    schedule: str = "fixed"
    threshold: float | None = None
    factor: float | None = None
    cache: str = "none"
    cfg_scale: float = 0.0
    early_stop: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("gen_length", "block_length", "steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise LiftError(f"{name}={value!r} must be a whole number of at least 1")
        if self.gen_length % self.block_length:
            multiple = self.block_length * (self.gen_length // self.block_length + 1)
            raise LiftError(
                f"gen_length={self.gen_length} is not divisible by block_length={self.block_length}; "
                f"use a multiple, e.g. gen_length={multiple}"
            )
        if self.schedule == "fixed" and self.steps % self.blocks:
            raise LiftError(
                f"steps={self.steps} is not divisible by the number of blocks ({self.gen_length} / "
                f"{self.block_length} = {self.blocks}); use a multiple of {self.blocks}"
            )
        if not 0 <= self.temperature < math.inf:
            raise LiftError(f"temperature={self.temperature} must be 0 or more")
        if not 0 <= self.cfg_scale < math.inf:
            raise LiftError(f"cfg_scale={self.cfg_scale} must be 0 (off) or more")
        for name, known in (("remasking", REMASKING), ("schedule", SCHEDULES), ("cache", CACHES)):
            value = getattr(self, name)
            if value not in known:
                raise LiftError(f"{name}={value!r} is not known; {did_you_mean(str(value), known)}")
        self._check_schedule_option("threshold", lambda value: 0 <= value <= 1, "in [0, 1]")
        self._check_schedule_option("factor", lambda value: value > 0, "above 0")

    def _check_schedule_option(self, name: str, holds: Any, wanted: str) -> None:
        value = getattr(self, name)
        if self.schedule == name and (value is None or not holds(value)):
            raise LiftError(f"schedule={name!r} needs {name} {wanted}; got {name}={value!r}")
        if self.schedule != name and value is not None:
            raise LiftError(
                f"{name}={value!r} has no effect with schedule={self.schedule!r}; set schedule={name}"
            )

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.gen_length // self.block_length

    def replace(self, **changes: Any) -> DecodingConfig:
        """A copy with other values; an unknown name is a LiftError."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise LiftError(f"unknown decoding setting {name!r}; {did_you_mean(name, known)}")
        return dataclasses.replace(self, **changes)
