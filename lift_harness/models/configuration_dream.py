"""The configuration of Dream checkpoints, key for key as Dream-org/Dream-v0-Instruct-7B writes it."""

from __future__ import annotations

from typing import Any

from lift_harness.models.configuration_backbone import QWEN, Qwen2Config


class DreamConfig(Qwen2Config):
    """Shape and special ids of a Dream model (Ye et al. 2025, arXiv 2508.15487); the names are Qwen2's.

    Dream-Coder and DiffuCoder are of the same shape.

    Raises:
        LiftError: a key holds a value that this implementation does not compute.
    """

    model_type = "Dream"
    published = QWEN | {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "mask_token_id": 151666,
    }

    def __init__(
        self,
        bos_token_id: int = 151643,
        eos_token_id: int = 151643,
        pad_token_id: int = 151643,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            bos_token_id=bos_token_id, eos_token_id=eos_token_id, pad_token_id=pad_token_id, **kwargs
        )
