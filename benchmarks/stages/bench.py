"""What a stage is given: the device, the time it has, and somewhere to put its results."""

from __future__ import annotations

import gc
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from measure import on_gpu

from lift_harness.errors import out_of_memory

Figures = dict[str, Any]  # of a variant: name -> number, text or truth


@dataclass
class Bench:
    """A stage's surroundings.

    Attributes:
        device: "cuda", or "cpu" in a rehearsal.
        rehearse: whether shapes are to be tiny.
        deadline: when the stage is ended, on `time.monotonic`'s clock.
        machine: what the first stage found, by variant.
        send: takes (variant, figures).
    """

    device: str
    rehearse: bool
    deadline: float
    machine: dict[str, Figures]
    send: Callable[[str, Figures], None]

    def attempt(
        self, variant: str, function: Callable[..., Figures], *args: Any, needs: float = 3
    ) -> Figures:
        """Send what a variant finds: figures, or that it ran out of memory, failed or was skipped.

        `needs` is about how many seconds it takes.
        """
        if self.left() < needs:
            figures: Figures = {"skipped": f"{self.left():.0f} s left"}
        else:
            figures = self._figures(function, *args)
        self.send(variant, figures)
        return figures

    def _figures(self, function: Callable[..., Figures], *args: Any) -> Figures:
        try:
            return function(*args)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            where = traceback.extract_tb(error.__traceback__)[-1]
            memory = out_of_memory(error) or out_of_memory(error.__cause__ or error)
        # Outside the handler, whose traceback keeps every tensor of the frames it passed.
        self.free()
        if memory:
            return {"out_of_memory": True}
        return {"error": text, "at": f"{where.filename.split('/')[-1]}:{where.lineno}"}

    def free(self) -> None:
        """Give memory back that nothing refers to any more."""
        gc.collect()
        if on_gpu(self.device):
            torch.cuda.empty_cache()

    def left(self) -> float:
        """Seconds until the stage is ended."""
        return self.deadline - time.monotonic()

    def small(self, tiny: Any, real: Any) -> Any:
        """A size: `real`, or `tiny` in a rehearsal."""
        return tiny if self.rehearse else real

    def rate(self, variant: str, figure: str) -> float:
        """A figure of the machine; NaN if it was not measured."""
        return float(self.machine.get(variant, {}).get(figure) or math.nan)

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The dtypes that correctness is checked in."""
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}
