"""Clocks, peaks of memory, and what the machine can do at most."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

Device = torch.device | str


def on_gpu(device: Device) -> bool:
    """Whether it is a CUDA device."""
    return torch.device(device).type == "cuda"


def finish(device: Device) -> None:
    """Wait for all work that the device was given."""
    if on_gpu(device):
        torch.cuda.synchronize()


def seconds(function: Callable[[], Any], device: Device) -> float:
    """Wall time of one call, its work on the device included."""
    finish(device)
    start = time.perf_counter()
    function()
    finish(device)
    return time.perf_counter() - start


def median_seconds(function: Callable[[], Any], device: Device, times: int = 5, warm_up: int = 1) -> float:
    """Median time of a call; on a GPU by its own clock, between events."""
    for _ in range(warm_up):
        function()
    if not on_gpu(device):
        return statistics.median(seconds(function, device) for _ in range(times))
    spent = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        function()
        end.record()
        end.synchronize()
        spent.append(begin.elapsed_time(end) / 1000)
    return statistics.median(spent)


def product_rate(dtype: torch.dtype, device: Device, n: int | None = None) -> float:
    """Floating point operations a second of a large product of random matrices."""
    n = n or (8192 if on_gpu(device) else 1536)
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / median_seconds(lambda: a @ b, device, times=10, warm_up=3)


def copy_rate(device: Device, gib: float) -> float:
    """Bytes a second of a copy within the device's memory, those read and those written together."""
    source = torch.ones(int(gib * 2**30) // 4, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    return moved / median_seconds(lambda: target.copy_(source), device, times=10, warm_up=2)


def peak_memory(device: Device) -> float:
    """MB in use at most since `reset_peak`."""
    if on_gpu(device):
        return torch.cuda.max_memory_allocated() / 2**20
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def reset_peak(device: Device) -> None:
    """Forget the peak so far (Linux, CUDA)."""
    if on_gpu(device):
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        with suppress(OSError):  # a container may forbid it; then the peak is that of the whole process
            Path("/proc/self/clear_refs").write_text("5")
