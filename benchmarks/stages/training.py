"""Seconds a step of the methods, against vanilla: LoRA of an 8B shape, all weights of a 1B shape."""

from __future__ import annotations

import math
import statistics
from functools import partial
from typing import Any

import torch
from measure import peak_memory, reset_peak, seconds
from operations import needed_counted
from shapes import random_model, to_train
from training_step import Spread, adamw, objective_of, update

from lift_harness.training.objectives import Batch
from stages.bench import Bench, Figures

METHODS = ("vanilla", "lift-3", "lift-2", "lift_a-3", "gift")
ROUNDS = 3


def lora(bench: Bench) -> None:
    """Rank 128 on q, k, v; 2 rows of 4096; without checkpoints one row too, since two may be too many."""
    rank, length = bench.small(4, 128), bench.small(64, 4096)
    base = random_model(*bench.small(("nano", torch.float32), ("8b", torch.bfloat16)), bench.device)
    model = to_train(base, lora_rank=rank, checkpointing=True)
    methods(bench, model, 2, length, METHODS, "checkpoints")
    base.gradient_checkpointing_disable()
    for rows in (2, 1):
        methods(bench, model, rows, length, ("vanilla", "lift-3"), "no checkpoints")


def full(bench: Bench) -> None:
    """All weights, float32 under autocast as the Trainer has them; 2 rows of 2048."""
    model = to_train(random_model(bench.small("nano", "1b"), torch.float32, bench.device), checkpointing=True)
    methods(bench, model, 2, bench.small(64, 2048), METHODS, "checkpoints")


def methods(bench: Bench, model: Any, rows: int, length: int, names: tuple[str, ...], how: str) -> None:
    """Each method in turn, and its ratio to vanilla, which is the first."""
    vanilla: Figures = {}
    for name in names:
        variant = f"{how}, {rows} rows, {name}"
        figures = bench.attempt(variant, one_method, bench, model, name, rows, length, vanilla, needs=6)
        vanilla = vanilla or figures


def one_method(bench: Bench, model: Any, name: str, rows: int, length: int, vanilla: Figures) -> Figures:
    """Mean seconds of a step (one micro-batch, clipping, AdamW), and what it reaches and needs.

    The mean: each step has other times t, and only together do they have each regime's share.
    """
    optimizer, objective = adamw(model), objective_of(name)

    def step(number: int) -> None:
        batch = batch_of(bench, model, number, rows, length)
        key = Spread(seed=0, epoch=0, rows=rows * ROUNDS)
        with torch.autocast(bench.device, torch.bfloat16, enabled=not bench.rehearse):
            loss = objective(model, batch, key, int(batch.response.sum())).loss
        loss.backward()
        update(model, optimizer)
        optimizer.zero_grad(set_to_none=True)

    step(0)  # warms up
    reset_peak(bench.device)
    numbers = range(1, bench.small(1, ROUNDS) + 1)
    with needed_counted(model) as operations:
        spent = statistics.mean(seconds(partial(step, number), bench.device) for number in numbers)
    rate = bench.rate("product bfloat16", "TFLOP/s") * 1e12
    return {
        "s/step": spent,
        "x_vanilla": spent / vanilla.get("s/step", spent if name == "vanilla" else math.nan),
        "tokens/s": rows * length / spent,
        "mfu": operations.needed / len(numbers) / spent / rate,
        "peak_GiB": peak_memory(bench.device) / 2**10,
    }


def batch_of(bench: Bench, model: Any, number: int, rows: int, length: int) -> Batch:
    """Random rows, a quarter prompt; example ids that spread t over the rows of three steps."""
    draw = torch.Generator().manual_seed(number)
    x0 = torch.randint(model.config.mask_token_id - 1, (rows, length), generator=draw).to(bench.device)
    response = (torch.arange(length, device=bench.device) >= length // 4).expand(rows, -1)
    ids = torch.arange(rows, device=bench.device) + rows * number
    return Batch(x0, response, ids, model.config.mask_token_id)
