"""One step of training as the Trainer takes it, without the Trainer: what train.py and gpu.py time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lift_harness.training.objectives import Batch, Loss, NoiseKey, get_objective
from lift_harness.training.objectives.base import EPS

Objective = Callable[..., Loss]


@dataclass(frozen=True)
class Spread(NoiseKey):
    """Noise whose times are (row + 1/2) / rows over the rows of a step, in an order that mixes them.

    The step moves them by a fraction of their distance, so that over the rounds they cover the interval.
    """

    rows: int = 8

    def t(self, batch: Batch) -> Tensor:
        """Times [B] of examples numbered step * rows + row."""
        step, row = batch.example_id // self.rows, batch.example_id % self.rows
        strides = range(max(2, self.rows // 3), 2 * self.rows)
        stride = next((n for n in strides if math.gcd(n, self.rows) == 1), 1)
        u = ((row * stride % self.rows) + (step * 0.618 + 0.5) % 1) / self.rows
        return EPS + (1 - EPS) * u.double()


def plain(model: nn.Module, batch: Batch, key: NoiseKey, num_items: int | None = None) -> Loss:
    """Vanilla with the logits of all positions, as the usual trainer has it."""
    t = key.t(batch)
    masked = key.mask_below(t, batch)
    inputs = batch.x0.masked_fill(masked, batch.mask_id)
    logits = model(input_ids=inputs).logits.float()  # [B, N, V]
    labels = batch.x0.masked_fill(~masked, -100)
    nll = F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1), reduction="none")
    weight = (masked / t[:, None]).float()
    loss = (nll.view_as(weight) * weight).sum() / num_items
    return Loss(loss, inputs, masked, weight, t, torch.zeros_like(t))


def bidirectional(model: Any, batch: Batch, key: NoiseKey, num_items: int | None = None) -> Loss:
    """Vanilla of a model with blocks as if it had none."""
    config = getattr(model, "get_base_model", lambda: model)().config
    size, config.block_size = config.block_size, None
    try:
        return get_objective("vanilla")(model, batch, key, num_items)
    finally:
        config.block_size = size


def objective_of(name: str) -> Objective:
    """`plain`, `bidirectional`, or an objective by name; a number behind it is its H (`lift-2`)."""
    if name == "plain":
        return plain
    if name == "bidirectional":
        return bidirectional
    method, _, H = name.partition("-")
    return get_objective(method, **({"H": int(H)} if H else {}))


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """The Trainer's optimiser, its state already there (as after the first step)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, weight_decay=0.1, fused=True)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return optimizer


def update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The end of a step."""
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
