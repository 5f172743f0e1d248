"""Loss and gradients of one training step on this device against the CPU, same weights, same noise."""

from __future__ import annotations

from typing import Any

import torch
from shapes import random_model, to_train
from torch import Tensor
from training_step import objective_of

from lift_harness.training.objectives import Batch, NoiseKey
from stages.bench import Bench, Figures

METHODS = ("vanilla", "lift-3", "lift-2", "lift_a-3", "gift", "cart")
MANY_WORDS = 2**20  # a vocabulary whose logits do not fit at once: the other path of `LinearNLL`


def gradients(bench: Bench) -> None:
    """Each method in float32; then what differs in the path: adapters, checkpoints, pieces, bfloat16."""
    for method in METHODS:
        bench.attempt(method, compare, bench, method, {})
    bench.attempt(
        "lift-3, LoRA, checkpoints", compare, bench, "lift-3", {"lora_rank": 4, "checkpointing": True}
    )
    bench.attempt(
        "lift-3, in pieces", compare, bench, "lift-3", {"vocab_size": bench.small(2**17, MANY_WORDS)}
    )
    bench.attempt("lift-3, autocast", compare, bench, "lift-3", {"autocast": True})


def compare(bench: Bench, method: str, options: dict[str, Any]) -> Figures:
    """Relative differences; in float32 about 1e-5 is wanted, and the same tokens masked."""
    here, there = (step(device, method, **options) for device in (bench.device, "cpu"))
    difference = sum(float((a - b).square().sum()) for a, b in zip(here[2], there[2], strict=True))
    norm = sum(float(b.square().sum()) for b in there[2])
    return {
        "loss": here[0],
        "loss_difference": abs(here[0] - there[0]) / abs(there[0]),
        "gradient_difference": (difference / norm) ** 0.5,
        "same_inputs": bool(torch.equal(here[1], there[1])),
    }


def step(
    device: str,
    method: str,
    lora_rank: int = 0,
    checkpointing: bool = False,
    autocast: bool = False,
    vocab_size: int = 1000,
) -> tuple[float, Tensor, list[Tensor]]:
    """Loss, what the gradient pass saw, and the gradients, all on the CPU."""
    model = random_model("nano", torch.float32, "cpu", vocab_size=vocab_size)  # the same weights everywhere
    model = to_train(model, lora_rank, checkpointing).to(device)
    for module in model.modules():  # dropout is drawn by the device's own generator
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    draw = torch.Generator().manual_seed(1)
    x0 = torch.randint(990, (4, 96), generator=draw)
    response = (torch.arange(96) >= torch.tensor([[10], [20], [30], [40]])).to(device)
    batch = Batch(x0.to(device), response, torch.arange(4, device=device), model.config.mask_token_id)
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        found = objective_of(method)(model, batch, NoiseKey(seed=0, epoch=0), None)
    found.loss.backward()
    trained = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
    return found.loss.item(), found.inputs.cpu(), trained
