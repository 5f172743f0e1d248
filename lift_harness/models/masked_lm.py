"""Any masked language model of transformers (BERT, RoBERTa, ModernBERT) as a diffusion language model.

An example of what a new architecture has to bring (docs/adding-a-model.md), and of use: an encoder that was
trained to fill masks decodes and fine-tunes as a diffusion model does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lift_harness.errors import LiftError
from lift_harness.models.base import DiffusionLM
from lift_harness.models.layers import default_positions, take

# How hidden states become logits, by model_type; transformers has no common name for it.
HEADS: dict[str, Any] = {
    "bert": lambda model, h: model.cls(h),
    "roberta": lambda model, h: model.lm_head(h),
    "xlm-roberta": lambda model, h: model.lm_head(h),
    "modernbert": lambda model, h: model.decoder(model.head(h)),
}


class MaskedLM(nn.Module):
    """A `...ForMaskedLM` of transformers with the interface of `DiffusionLM`; it takes no cache."""

    logit_shift = 0
    cache_shape = None
    block_size: int | None = None

    def __init__(self, model: Any) -> None:
        """Wrap a loaded model.

        Raises:
            LiftError: its output head is not known here.
        """
        super().__init__()
        self.inner, self.config = model, model.config
        if self.config.model_type not in HEADS:
            raise LiftError(
                f"model_type={self.config.model_type!r}: no head is known for it; known: {', '.join(HEADS)}. "
                "Add one to HEADS in lift_harness/models/masked_lm.py"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.inner.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.inner.dtype

    def num_parameters(self) -> int:
        """Of all weights."""
        return self.inner.num_parameters()

    def save_pretrained(self, folder: Any, **kwargs: Any) -> None:
        """Save under transformers' own names."""
        self.inner.save_pretrained(folder, **kwargs)

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Final hidden states [B, L, D], or [B, Q, D] at the columns `at`; as `DiffusionLM.hidden_states`."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if position_ids is None:
            position_ids = default_positions(input_ids, attention_mask)
        if self.config.model_type in ("roberta", "xlm-roberta"):
            position_ids = position_ids + self.config.pad_token_id + 1  # these count from there
        states = self.inner.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask.long(),
            position_ids=position_ids.expand(input_ids.shape),
        ).last_hidden_state
        return take(states, at)

    def logits_at(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D]."""
        return HEADS[self.config.model_type](self.inner, hidden)

    def output_matrix(self) -> None:
        """As `DiffusionLM.output_matrix`: these heads are more than a matrix."""

    forward = DiffusionLM.forward  # of the same two halves
