"""Counts the operations of matrix products that a step of training computes, and those that it needs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Operations:
    """Of everything within `counted`.

    Attributes:
        computed: what really ran, products and attention.
        needed: without what ran twice (checkpoints, logits in the backward pass), but with the last layer at
            all positions: what the share of a machine's rate is usually reckoned from.
    """

    computed: float = 0.0
    needed: float = 0.0


@contextmanager
def counted(model: Any) -> Iterator[Operations]:
    """Count what the passes of `model` (native, with or without adapters) and their backward passes do.

    Slow: every operation is looked at. `needed_counted` costs nothing.
    """
    aten = torch.ops.aten
    own = {  # torch's counter does not know these
        aten.addmm_: lambda total, a, b, out_shape=None, **_: 2 * a[0] * a[1] * b[1],
        aten._scaled_dot_product_flash_attention_for_cpu: attention_forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    }
    with needed_counted(model) as found, FlopCounterMode(display=False, custom_mapping=own) as seen:
        yield found
    found.computed = seen.get_total_flops()


@contextmanager
def needed_counted(model: Any) -> Iterator[Operations]:
    """Count the operations that the passes of `model` and their backward passes need.

    Forward, towards the input and towards the weight a product takes one unit each: 3 where the weight is
    trained, 2 where it is frozen, 1 without gradient.
    """
    found = Operations()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config
    adapters = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
    of_layers = (p for layer in base.layers for p in layer.parameters())
    matrices = sum(p.numel() for p in of_layers if p.ndim > 1) - adapters

    def add(module: nn.Module, inputs: Any, kwargs: dict[str, Any]) -> None:
        rows, length = kwargs["input_ids"].shape
        wanted = rows * length if kwargs.get("logits_mask") is None else int(kwargs["logits_mask"].sum())
        frozen, trained = (2 if adapters else 3, 3) if torch.is_grad_enabled() else (1, 1)
        head = base.get_output_embeddings().weight.numel()
        attention = (
            2 * config.num_hidden_layers * config.hidden_size * length
        )  # scores and their use, of one position
        found.needed += 2 * frozen * (matrices * rows * length + head * wanted)
        found.needed += 2 * trained * (adapters + attention) * rows * length

    handle = base.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def attention_forward(query: Any, key: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Scores and their use, from the shapes [B, H, L, C] of queries and keys."""
    return 4 * math.prod(query) * key[-2]


def attention_backward(grad: Any, query: Any, key: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Five products, the scores again among them."""
    return 10 * math.prod(query) * key[-2]
