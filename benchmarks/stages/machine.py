"""What the machine is, and what it can do at most: the ceilings that later stages compare with."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from measure import copy_rate, on_gpu, product_rate

from stages.bench import Bench, Figures


def machine(bench: Bench) -> None:
    """Name, versions, bandwidth, product rates."""
    bench.attempt("card", card, bench)
    bench.attempt("versions", versions)
    bench.attempt("copy", copy, bench)
    for name, dtype in bench.dtypes.items():
        bench.attempt(f"product {name}", product, bench, dtype)


def card(bench: Bench) -> Figures:
    """The device."""
    if not on_gpu(bench.device):
        return {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "GiB": properties.total_memory / 2**30,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def versions() -> Figures:
    """Of what the results depend on; whether faster kernels are installed."""
    found: Figures = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for name in ("torch", "transformers", "peft", "triton", "flash_attn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "present" if importlib.util.find_spec(name) else None
    return found


def copy(bench: Bench) -> Figures:
    """Memory bandwidth, bytes read and written together."""
    return {"GB/s": copy_rate(bench.device, bench.small(1 / 16, 4)) / 1e9}


def product(bench: Bench, dtype: torch.dtype) -> Figures:
    """Rate of a large product."""
    return {"TFLOP/s": product_rate(dtype, bench.device, bench.small(256, 8192)) / 1e12}
