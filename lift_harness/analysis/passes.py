"""The model's part: p(x0) of the masked tokens of each example at each diffusion time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lift_harness.errors import LiftError
from lift_harness.training.data import Example
from lift_harness.training.objectives.base import Batch, NoiseKey, scoring
from lift_harness.training.vocabulary import token_nll

# Canvas tokens in a pass. On a CPU: what stays in its caches.
TOKENS = {"cpu": 4096, "cuda": 2**15}


class Seen(NamedTuple):
    """The masked tokens of one example at one time: ids [M] and the model's probability of each [M]."""

    tokens: NDArray[np.int64]
    confidence: NDArray[np.float64]


def batches(examples: Sequence[Example], times: int, tokens: int) -> list[list[int]]:
    """Numbers of examples that share a pass, shortest first: of one length, so that there is no padding.

    Padding would change what an example is conditioned on, and so make its result depend on its company.

    Args:
        examples: in the order that numbers them.
        times: copies of each in a pass.
        tokens: that a pass may have.
    """
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i]), i))
    together = []
    for length, alike in groupby(order, key=lambda i: len(examples[i])):
        same, size = list(alike), max(1, tokens // (times * length))
        together += [same[start : start + size] for start in range(0, len(same), size)]
    return together


def masked_confidences(
    model: Any,
    examples: Sequence[Example],
    times: Sequence[float],
    *,
    mask_id: int,
    seed: int,
    tokens: int | None = None,
) -> Iterator[list[Seen]]:
    """For each example (all of one length) what was masked at each time, and the probability of x0 there.

    At time t each token of the response is masked with probability t. Whether it is depends on the seed, the
    example, the position and t alone; what is masked at some t is masked at every larger one.
    """
    ids = torch.tensor([[*example.prompt, *example.response] for example in examples], device=model.device)
    keys = torch.tensor([example.id for example in examples], device=model.device)
    response = torch.zeros_like(ids, dtype=torch.bool)
    for row, example in enumerate(examples):
        response[row, len(example.prompt) :] = True
    copies = len(times)
    batch = Batch(
        x0=ids.repeat_interleave(copies, dim=0),  # [B * T, N]
        response=response.repeat_interleave(copies, dim=0),
        example_id=keys.repeat_interleave(copies),
        mask_id=mask_id,
    )
    rate = torch.tensor(list(times), dtype=torch.float64, device=model.device).repeat(len(examples))
    masked = NoiseKey(seed, epoch=0).mask_below(rate, batch)
    inputs = torch.where(masked, mask_id, batch.x0)
    p = torch.zeros(masked.shape, dtype=torch.float64)
    rows = max(1, (tokens or ids.numel() * copies) // ids.shape[1])
    for start in range(0, len(inputs), rows):
        at = slice(start, start + rows)
        some = replace(batch, x0=batch.x0[at])
        p[at][masked[at].cpu()] = probabilities(model, some, inputs[at], masked[at])
    masked, x0 = masked.cpu(), batch.x0.cpu()
    for first in range(0, len(masked), copies):
        copies_of_one = range(first, first + copies)
        yield [Seen(x0[row][masked[row]].numpy(), p[row][masked[row]].numpy()) for row in copies_of_one]


def probabilities(model: Any, batch: Batch, inputs: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """p(x0) at the True positions of `masked` [B, N], in row-major order: float64 [M] on the CPU.

    Raises:
        LiftError: not enough memory for one pass.
    """
    if not masked.any():
        return torch.zeros(0, dtype=torch.float64)
    try:
        with scoring(model):
            return token_nll(model, batch, inputs, masked).double().neg().exp().cpu()
    except torch.OutOfMemoryError as error:
        raise LiftError(
            f"out of memory with {inputs.numel()} tokens in a pass; lower --batch-tokens, or analyse shorter "
            "examples"
        ) from error


def pass_tokens(model: Any) -> int:
    """Canvas tokens in a pass by default."""
    return TOKENS.get(model.device.type, TOKENS["cuda"])
