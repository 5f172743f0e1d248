"""Numbers of the host on the device, without waiting for it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device.

    From ordinary memory a copy to a GPU makes the host wait until the GPU has done all it was asked for, and
    the GPU then waits for the host. From pinned memory the copy is queued like any other work.
    """
    if device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def numbers(values: Iterable[int], device: torch.device) -> Tensor:
    """Integers of the host on the device, int64 (a list as an index would be copied as above)."""
    return on_device(torch.tensor(list(values), dtype=torch.int64), device)
