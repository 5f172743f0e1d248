"""The configuration of LLaDA checkpoints, key for key as GSAI-ML/LLaDA-8B-Instruct writes it.

LLaDA's code descends from OLMo, whose configuration has many switches that no LLaDA checkpoint
uses. Each key is either honoured by `modeling_llada.py` or refused here with its name: a checkpoint
that asks for something else must not load and quietly compute another function.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from lift_harness.errors import LiftError

# Keys with a single supported value (several, where they mean the same here). The defaults of the
# official file are the first of each.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "activation_type": ("silu",),
    "alibi": (False,),
    "attention_layer_norm": (False,),
    "attention_dropout": (0.0,),
    "bias_for_layer_norm": (False, None),
    "block_group_size": (1,),
    "block_type": ("llama",),
    "clip_qkv": (None,),
    "embedding_dropout": (0.0,),
    "layer_norm_type": ("rms",),
    "layer_norm_with_affine": (True,),
    "multi_query_attention": (None, False),
    "residual_dropout": (0.0,),
    "rope": (True,),
}
# Keys of the official class that change no logits, with the reason.
WITHOUT_EFFECT = {
    "alibi_bias_max": "of alibi, which is refused",
    "attention_layer_norm_with_affine": "of attention_layer_norm, which is refused",
    "flash_attention": "another way to compute the same",
    "init_cutoff_factor": "of new weights",
    "init_device": "of new weights",
    "precision": "of the authors' training",
    "train_max_sequence_length": "of the authors' training",
}


class LLaDAConfig(PretrainedConfig):
    """Shape and special ids of a LLaDA model.

    The names are the official ones: `d_model`, `n_heads`, `n_layers`, `n_kv_heads` (None: as many
    as `n_heads`), `mlp_hidden_size` (None: `mlp_ratio * d_model`), `embedding_size` (rows of the
    embedding; None: `vocab_size`), `rope_theta`, `rope_full_precision` (rotate in float32),
    `weight_tying`, `include_bias`, `include_qkv_bias`, `scale_logits`, `input_emb_norm`,
    `init_fn` ("mitchell" or "normal"), `init_std`, `mask_token_id`, `eos_token_id`, `pad_token_id`.

    Raises:
        LiftError: a key holds a value that this implementation does not compute.
    """

    model_type = "llada"
    supported, without_effect = SUPPORTED, WITHOUT_EFFECT
    attribute_map = {  # noqa: RUF012 (transformers' own idiom)
        "hidden_size": "d_model",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "n_kv_heads",
        "num_hidden_layers": "n_layers",
        "intermediate_size": "mlp_hidden_size",
        "max_position_embeddings": "max_sequence_length",
        "tie_word_embeddings": "weight_tying",
    }

    def __init__(
        self,
        d_model: int = 4096,
        n_heads: int = 32,
        n_kv_heads: int | None = None,
        n_layers: int = 32,
        mlp_hidden_size: int | None = None,
        mlp_ratio: int = 4,
        vocab_size: int = 126464,
        embedding_size: int | None = None,
        max_sequence_length: int = 4096,
        rope_theta: float = 500000.0,
        rope_full_precision: bool = True,
        rms_norm_eps: float = 1e-5,
        include_bias: bool = False,
        include_qkv_bias: bool = False,
        input_emb_norm: bool = False,
        scale_logits: bool = False,
        weight_tying: bool = False,
        init_fn: str = "mitchell",
        init_std: float = 0.02,
        mask_token_id: int = 126336,
        eos_token_id: int = 126081,
        pad_token_id: int = 126081,
        **kwargs: Any,
    ) -> None:
        for key, supported in SUPPORTED.items():
            value = kwargs.setdefault(key, supported[0])
            if value not in supported:
                raise LiftError(
                    f"config.json: {key}={value!r} is not supported for LLaDA (expected {supported[0]!r}); "
                    "this checkpoint is not one of the LLaDA-8B family"
                )
        if d_model % n_heads or n_heads % (n_kv_heads or n_heads):
            raise LiftError(
                f"config.json: d_model={d_model}, n_heads={n_heads}, n_kv_heads={n_kv_heads} do not divide; "
                "heads must divide d_model, key/value heads must divide heads"
            )
        if d_model // n_heads % 2:
            raise LiftError(f"config.json: d_model={d_model} in n_heads={n_heads} makes heads of an odd size")
        if kwargs["multi_query_attention"] is False and (n_kv_heads or n_heads) != n_heads:
            raise LiftError(
                f"config.json: multi_query_attention=False contradicts n_kv_heads={n_kv_heads} of "
                f"n_heads={n_heads}; set it to null"
            )
        if include_bias and kwargs["bias_for_layer_norm"] is None:
            raise LiftError(
                "config.json: bias_for_layer_norm=None with include_bias=True gives the norms biases, which "
                "is not supported for LLaDA; set bias_for_layer_norm to false if they have none"
            )
        if init_fn not in ("mitchell", "normal"):
            raise LiftError(f"config.json: init_fn={init_fn!r} is not supported; use 'mitchell' or 'normal'")
        self.d_model = d_model
        self.n_heads = n_heads
        self.n_kv_heads = n_kv_heads or n_heads
        self.n_layers = n_layers
        self.mlp_ratio = mlp_ratio
        self.mlp_hidden_size = mlp_hidden_size or mlp_ratio * d_model
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size or vocab_size
        self.max_sequence_length = max_sequence_length
        self.rope_theta = rope_theta
        self.rope_full_precision = rope_full_precision
        self.rms_norm_eps = rms_norm_eps
        self.include_bias = include_bias
        self.include_qkv_bias = include_qkv_bias
        self.input_emb_norm = input_emb_norm
        self.scale_logits = scale_logits
        self.weight_tying = weight_tying
        self.init_fn = init_fn
        self.init_std = init_std
        self.mask_token_id = mask_token_id
        self.use_cache = kwargs.pop("use_cache", False)
        kwargs.pop("tie_word_embeddings", None)
        super().__init__(
            eos_token_id=eos_token_id, pad_token_id=pad_token_id, tie_word_embeddings=weight_tying, **kwargs
        )
