"""What the objectives ask about tokens: -log p and entropy, at chosen positions of one forward pass.

The output projection of masked diffusion models is wide (LLaDA: 126,464 tokens), so the logits of all
positions are the largest tensor of a training step. Nothing outside this module sees logits.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


def shifted(model: Any) -> int:
    """1 if the model predicts token i at position i - 1 (Dream), else 0 (LLaDA)."""
    model = getattr(model, "module", model)  # inside DistributedDataParallel
    return int(getattr(model, "logit_shift", 0))


def token_logits(model: nn.Module, inputs: Tensor, at: Tensor) -> Tensor:
    """Logits [M, V] for the tokens where `at` [B, N] is True, in row-major order."""
    where = at.roll(-shifted(model), dims=1) if shifted(model) else at
    return model(input_ids=inputs, logits_mask=where).logits


def token_nll(model: nn.Module, inputs: Tensor, at: Tensor, targets: Tensor) -> Tensor:
    """-log p of the tokens `targets` [M] at the M True positions of `at`, with gradient: float32 [M].

    Args:
        model: called once on `inputs` [B, N].
        inputs: int64 [B, N], noised text.
        at: bool [B, N].
        targets: int64 [M], in row-major order.
    """
    return F.cross_entropy(token_logits(model, inputs, at).float(), targets, reduction="none")


def token_entropy(model: nn.Module, inputs: Tensor, at: Tensor) -> Tensor:
    """Entropy in nats of the prediction at the M True positions of `at`: float32 [M], no gradient needed."""
    log_p = token_logits(model, inputs, at).float().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
