"""The configuration of Dream checkpoints, key for key as Dream-org/Dream-v0-Instruct-7B writes it."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from lift_harness.errors import LiftError

# Keys with the values that mean what this implementation computes; the official one first.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "attention_dropout": (0.0,),
    "hidden_act": ("silu",),
    "rope_scaling": (None,),
    "use_sliding_window": (False,),
}
# Keys of the official class that change no logits, with the reason.
WITHOUT_EFFECT = {
    "max_window_layers": "of use_sliding_window, which is refused",
    "sliding_window": "of use_sliding_window, which is refused",
}


class DreamConfig(PretrainedConfig):
    """Shape and special ids of a Dream model (Ye et al. 2025, arXiv 2508.15487); the names are Qwen2's.

    Raises:
        LiftError: a key holds a value that this implementation does not compute.
    """

    model_type = "Dream"
    supported, without_effect = SUPPORTED, WITHOUT_EFFECT

    def __init__(
        self,
        vocab_size: int = 152064,
        hidden_size: int = 3584,
        intermediate_size: int = 18944,
        num_hidden_layers: int = 28,
        num_attention_heads: int = 28,
        num_key_value_heads: int | None = 4,
        max_position_embeddings: int = 131072,
        initializer_range: float = 0.02,
        rms_norm_eps: float = 1e-6,
        rope_theta: float = 1000000.0,
        tie_word_embeddings: bool = False,
        rope_parameters: dict[str, Any] | None = None,
        mask_token_id: int = 151666,
        bos_token_id: int = 151643,
        eos_token_id: int = 151643,
        pad_token_id: int = 151643,
        **kwargs: Any,
    ) -> None:
        for key, supported in SUPPORTED.items():
            value = kwargs.setdefault(key, supported[0])
            if value not in supported:
                raise LiftError(
                    f"config.json: {key}={value!r} is not supported for Dream (expected {supported[0]!r}); "
                    "this checkpoint is not one of the Dream-v0 family"
                )
        kwargs.pop("rope_scaling")  # None; transformers 5 has another name for it
        rope = rope_parameters or {}  # transformers 5's form of rope_theta
        if rope.get("rope_type", "default") != "default" or rope.get("rope_theta", rope_theta) != rope_theta:
            raise LiftError(
                f"config.json: rope_parameters={rope!r} is not supported for Dream, rope_theta={rope_theta}"
            )
        key_value_heads = num_key_value_heads or num_attention_heads
        if hidden_size % num_attention_heads or num_attention_heads % key_value_heads:
            raise LiftError(
                f"config.json: hidden_size={hidden_size}, num_attention_heads={num_attention_heads}, "
                f"num_key_value_heads={key_value_heads} do not divide; heads must divide hidden_size, "
                "key/value heads must divide heads"
            )
        if hidden_size // num_attention_heads % 2:
            raise LiftError(
                f"config.json: hidden_size={hidden_size} in num_attention_heads={num_attention_heads} makes "
                "heads of an odd size"
            )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = key_value_heads
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.mask_token_id = mask_token_id
        self.use_cache = kwargs.pop("use_cache", False)
        super().__init__(
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            pad_token_id=pad_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **kwargs,
        )
