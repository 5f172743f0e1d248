"""The model args of `lift_dlm`, as lm-eval's command line gives them."""

from __future__ import annotations

from typing import Any

import torch

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.lm.diffusion_gemma import SETTINGS as OF_GEMMA
from lift_harness.lm.requests import SETTINGS

DEFAULT_MODEL = "GSAI-ML/LLaDA-8B-Instruct"
# Model args that go to `load_model` as they are.
LOADING = (
    "device_map",
    "attn_implementation",
    "load_in_8bit",
    "load_in_4bit",
    "mask_token_id",
    "eos_token_id",
    "pad_token_id",
    "block_size",
)


def check_arguments(
    settings: dict[str, Any], truncate: Any, mc_num: Any, exact_tokens: Any, greedy_check: Any
) -> None:
    """Refuse model args that mean nothing, before the weights are loaded."""
    for name in settings:
        if name not in (*SETTINGS, *OF_GEMMA):
            near = did_you_mean(name, {*SETTINGS, *LOADING})
            raise LiftError(f"lift_dlm: unknown model arg {name!r}; {near}")
    if truncate not in (None, "left"):
        raise LiftError(f"truncate={truncate!r} must be left, or absent: a prompt too long is an error")
    for name, value, least, most in (("mc_num", mc_num, 1, 2**20), ("exact_tokens", exact_tokens, 0, 10)):
        if type(value) is not int or not least <= value <= most:
            raise LiftError(f"{name}={value!r} must be a whole number from {least} to {most}")
    if not isinstance(greedy_check, bool):
        raise LiftError(f"greedy_check={greedy_check!r} must be True or False")


def checked_batch_size(value: int | str) -> int | str:
    """A number of requests, or "auto" (lm-eval's "auto:N" means the same here)."""
    if str(value).partition(":")[0] == "auto":
        return "auto"
    if str(value).isdigit() and int(value) > 0:
        return int(value)
    raise LiftError(f"batch_size={value!r} must be auto or a whole number of at least 1")


def usable(device: str | None) -> str | None:
    """The device, unless it is the GPU that lm-eval's command line asks for by default and there is none."""
    return None if device and device.startswith("cuda") and not torch.cuda.is_available() else device
