"""Which attention kernels run: never the slow one that writes all scores to memory ("math")."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from measure import median_seconds, on_gpu
from shapes import random_model
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from stages.bench import Bench, Figures

FAMILIES = {
    "flash": "flash",
    "fmha": "efficient",
    "efficient": "efficient",
    "cudnn": "cudnn",
    "softmax": "math",
}
GROUPED = {"n_kv_heads": 2}


def attention(bench: Bench) -> None:
    """Of a model's pass with and without padding, with and without grouped heads; each backend's time."""
    for heads, changes in (("every head", {}), ("grouped heads", GROUPED)):
        for padding in (False, True):
            name = f"{heads}, {'padding' if padding else 'no padding'}"
            bench.attempt(name, used, bench, changes, padding)
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        for padding in (False, True):
            name = f"{backend.name}, {'padding' if padding else 'no padding'}"
            bench.attempt(name, forced, bench, backend, padding)
    if importlib.util.find_spec("flash_attn") is None:
        bench.send("flash_attention_2", {"skipped": "flash_attn is not installed"})
    else:
        for padding in (False, True):
            bench.attempt(f"flash_attention_2, {padding=}", flash_2, bench, padding)


@torch.inference_mode()
def used(bench: Bench, changes: dict[str, Any], padding: bool) -> Figures:
    """Names of the attention kernels in a profile of a pass."""
    model = random_model(bench.small("nano", "mid"), torch.bfloat16, bench.device, **changes)
    ids, mask = inputs(bench, padding)
    model.hidden_states(ids, mask)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu(bench.device) else [])]
    with profile(activities=kinds) as seen:
        model.hidden_states(ids, mask)
    names = {event.key for event in seen.key_averages() if "attention" in event.key or "fmha" in event.key}
    lower = [event.key.lower() for event in seen.key_averages()]
    families = {family for part, family in FAMILIES.items() if any(part in name for name in lower)}
    return {"families": sorted(families), "math": "math" in families, "kernels": sorted(names)[:6]}


def inputs(bench: Bench, padding: bool) -> tuple[Tensor, Tensor | None]:
    """4 rows of ids, of unequal lengths if padded."""
    length = bench.small(64, 1024)
    ids = torch.randint(900, (4, length), device=bench.device)
    lengths = torch.tensor([[length], [length - 7], [length // 2], [length // 3]], device=bench.device)
    return ids, torch.arange(length, device=bench.device) < lengths if padding else None


def forced(bench: Bench, backend: SDPBackend, padding: bool) -> Figures:
    """Milliseconds of a call of LLaDA-8B's attention where only this backend may run."""
    heads, length, size = bench.small((2, 64, 16), (32, 4096, 128))
    q, k, v = (
        torch.randn(2, heads, length, size, dtype=torch.bfloat16, device=bench.device) for _ in range(3)
    )
    mask = torch.ones(2, 1, 1, length, dtype=torch.bool, device=bench.device) if padding else None
    call = partial(F.scaled_dot_product_attention, q, k, v, attn_mask=mask)
    try:
        with sdpa_kernel(backend):
            return {"ms": 1000 * median_seconds(call, bench.device)}
    except RuntimeError as error:  # "No available kernel": a finding, not a failure
        return {"unavailable": str(error).splitlines()[0][:120]}


@torch.inference_mode()
def flash_2(bench: Bench, padding: bool) -> Figures:
    """Relative difference of hidden states from SDPA's, at the real columns."""
    model = random_model("mid", torch.bfloat16, bench.device)
    ids, mask = inputs(bench, padding)
    ours = model.hidden_states(ids, mask).float()
    model.set_attn_implementation("flash_attention_2")
    theirs = model.hidden_states(ids, mask).float()
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    return {"relative": float((ours - theirs)[real].norm() / ours[real].norm())}
