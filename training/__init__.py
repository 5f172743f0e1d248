"""Training of masked diffusion language models: `get_objective`, `train`, `TrainSettings`.

The names are loaded when first used, so that reading a recipe does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lift_harness.training.fine_tuning import train
    from lift_harness.training.objectives import Batch, Loss, NoiseKey, get_objective
    from lift_harness.training.settings import LoraSettings, TrainSettings

_WHERE = {
    "Batch": "objectives",
    "Loss": "objectives",
    "LoraSettings": "settings",
    "NoiseKey": "objectives",
    "TrainSettings": "settings",
    "get_objective": "objectives",
    "train": "fine_tuning",
}

__all__ = ["Batch", "Loss", "LoraSettings", "NoiseKey", "TrainSettings", "get_objective", "train"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
