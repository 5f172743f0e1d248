"""The configurations of what `backbone.py` computes: Qwen's keys, and those that a family adds.

A family is a class with the keys of its published checkpoints and their values (`published`), those whose
other values are not computed (`supported`), those that change nothing (`without_effect`, with the reason),
and the switches of the backbone.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PretrainedConfig

from lift_harness.errors import LiftError

SUPPORTED: dict[str, tuple[Any, ...]] = {
    "attention_dropout": (0.0,),
    "hidden_act": ("silu",),
    "rope_scaling": (None,),
    "use_sliding_window": (False,),
}
WITHOUT_EFFECT = {
    "layer_types": "full attention only: others are refused",
    "max_window_layers": "of use_sliding_window, which is refused",
    "sliding_window": "of use_sliding_window, which is refused",
}
OF_THEIR_TRAINING = "of the authors' training"


class BackboneConfig(PretrainedConfig):
    """Shape and special ids of a model with Qwen's keys.

    Every key is an attribute of the same name; a missing one has the value in `published`.

    Raises:
        LiftError: a key holds a value that this implementation does not compute.
    """

    model_type = "backbone"
    published: ClassVar[dict[str, Any]] = {}
    supported, without_effect = SUPPORTED, WITHOUT_EFFECT

    # Switches of the backbone; a subclass has its own, or a property where a key decides.
    qk_norm = False  # each head of queries and keys is normed
    qkv_bias = out_bias = mlp_bias = False
    clip_qkv = None  # queries, keys and values are clamped to +- this
    block_size = None  # attention is causal between blocks of this many columns

    def __init__(self, **kwargs: Any) -> None:
        rope = kwargs.pop("rope_parameters", None) or {}  # transformers 5's form of the rotary keys
        for key in ("rope_theta", "partial_rotary_factor"):
            if key in rope and kwargs.setdefault(key, rope[key]) != rope[key]:
                raise self._refused("rope_parameters", rope, {key: kwargs[key]})
        if rope.get("rope_type", "default") != "default":
            raise self._refused("rope_parameters", rope, "rope_type 'default'")
        scaling = kwargs.get("rope_scaling") or {}
        if scaling.get("rope_type", scaling.get("type")) == "default" and scaling.get("factor", 1.0) == 1.0:
            kwargs["rope_scaling"] = None
        for key, values in self.supported.items():
            if kwargs.setdefault(key, values[0]) not in values:
                raise self._refused(key, kwargs[key], repr(values[0]))
        kwargs.pop("rope_scaling", None)  # None; transformers 5 has another name for it
        if set(kwargs.get("layer_types") or ()) - {"full_attention"}:
            raise self._refused("layer_types", kwargs["layer_types"], "'full_attention' only")
        own = {key: kwargs.pop(key, value) for key, value in self.published.items()}
        own["num_key_value_heads"] = own["num_key_value_heads"] or own["num_attention_heads"]
        for key, value in own.items():
            setattr(self, key, value)
        self.use_cache = kwargs.pop("use_cache", False)
        if kwargs.get("attn_implementation") == "flex_attention":
            del kwargs["attn_implementation"]  # the authors' kernel for training
        self._check_shape()
        super().__init__(tie_word_embeddings=self.tie_word_embeddings, **kwargs)

    @classmethod
    def takes_block_size(cls) -> bool:
        """Whether the family can have blocks."""
        return cls.attribute_map.get("block_size", "block_size") in cls.published

    @property
    def head_size(self) -> int:
        """Numbers of an attention head."""
        return getattr(self, "head_dim", None) or self.hidden_size // self.num_attention_heads

    @property
    def rotary_size(self) -> int:
        """Numbers of a head that are rotated: the first ones."""
        return int(self.head_size * (getattr(self, "partial_rotary_factor", None) or 1))

    @property
    def mixed_layers(self) -> list[bool]:
        """Of each layer, whether its feed-forward is a mixture of experts."""
        return [False] * self.num_hidden_layers

    def _refused(self, key: str, value: Any, expected: Any) -> LiftError:
        return LiftError(
            f"config.json: {key}={value!r} is not supported for {self.model_type} (expected {expected}); "
            "this checkpoint is not one of the family"
        )

    def _check_shape(self) -> None:
        heads, of_keys = self.num_attention_heads, self.num_key_value_heads
        own_size = getattr(self, "head_dim", None)  # else the heads share the hidden size
        if (not own_size and self.hidden_size % heads) or heads % of_keys:
            raise LiftError(
                f"config.json: hidden_size={self.hidden_size}, num_attention_heads={heads}, "
                f"num_key_value_heads={of_keys} do not divide; heads must divide hidden_size, "
                "key/value heads must divide heads"
            )
        if self.head_size % 2:
            shared = f"hidden_size={self.hidden_size} in num_attention_heads={heads}"
            of = f"head_dim={own_size}" if own_size else shared
            raise LiftError(f"config.json: {of} makes heads of an odd size")
        if self.rotary_size < 2 or self.rotary_size % 2:
            raise LiftError(
                f"config.json: partial_rotary_factor={self.partial_rotary_factor} of {self.head_size} "
                f"makes {self.rotary_size} rotated numbers; it must be even and at least 2"
            )
        key = self.attribute_map.get("block_size", "block_size")
        if self.block_size is not None or self.published.get(key) is not None:
            check_block_size(self.block_size, f"config.json: {key}")


def check_block_size(value: Any, key: str = "block_size") -> None:
    """Refuse a number of columns that makes no block."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LiftError(f"{key}={value!r} must be a positive whole number")


# ---------------------------------------------------------------- the dense families

QWEN = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
    "mask_token_id": None,
}
QWEN3 = QWEN | {"head_dim": 128, "attention_bias": False}
SDAR = QWEN3 | {"block_size": 4}
WITHOUT_EFFECT_IN_SDAR = WITHOUT_EFFECT | dict.fromkeys(
    ("debug", "ep_size", "fuse_cross_entropy", "micro_forward", "skip_checkpoint", "use_deepep"),
    OF_THEIR_TRAINING,
)


class Qwen3Config(BackboneConfig):
    """Qwen3's layers: normed heads, `attention_bias` on all four projections."""

    published = QWEN3  # noqa: RUF012
    qk_norm = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @property
    def qkv_bias(self) -> bool:  # type: ignore[override]
        """Whether queries, keys and values have biases."""
        return self.attention_bias

    @property
    def out_bias(self) -> bool:  # type: ignore[override]
        """Whether the output projection of attention has a bias."""
        return self.attention_bias


class SDARConfig(Qwen3Config):
    """SDAR and TraDo (Cheng et al. 2025, arXiv 2510.06303), key for key as JetLM/SDAR-4B-Chat writes it."""

    model_type = "sdar"
    published = SDAR  # noqa: RUF012
    without_effect = WITHOUT_EFFECT_IN_SDAR

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class A2DQwen3Config(Qwen3Config):
    """Qwen3 turned into a diffusion model by dllm: MDLM (no `block_size`) or BD3LM (with one).

    dllm's files do not say which of the two they are; ours have the key `block_size`.
    """

    model_type = "a2d-qwen3"
    published = QWEN3 | {"block_size": None}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class Qwen2Config(BackboneConfig):
    """Qwen2's layers: biases of queries, keys and values."""

    published = QWEN
    qkv_bias = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class A2DQwen2Config(Qwen2Config):
    """Qwen2 turned into a diffusion model by dllm; as `A2DQwen3Config`."""

    model_type = "a2d-qwen2"
    published = QWEN | {"block_size": None}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class FastDLLMConfig(Qwen2Config):
    """Fast-dLLM v2 (Wu et al. 2025, arXiv 2509.26328), key for key as Fast_dLLM_v2_7B writes it."""

    model_type = "Fast_dLLM_Qwen"
    published = QWEN | {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "bd_size": 32,
    }
    without_effect = WITHOUT_EFFECT | {"conplemenrary_mask": OF_THEIR_TRAINING}
    attribute_map = {"block_size": "bd_size"}  # noqa: RUF012

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class A2DLlamaConfig(BackboneConfig):
    """Llama turned into a diffusion model by dllm; as `A2DQwen3Config`."""

    model_type = "a2d-llama"
    published = QWEN3 | {"head_dim": None, "mlp_bias": False, "block_size": None}
    supported = {key: SUPPORTED[key] for key in ("attention_dropout", "hidden_act", "rope_scaling")} | {
        "pretraining_tp": (1,)
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    qkv_bias, out_bias = Qwen3Config.qkv_bias, Qwen3Config.out_bias


class ILLaDAConfig(BackboneConfig):
    """iLLaDA (Nie et al. 2026, arXiv 2606.25331): LLaDA's successor has Llama's layers, and Qwen's names."""

    model_type = "illada"
    published = QWEN | {
        "vocab_size": 155136,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
    }
    supported = {key: SUPPORTED[key] for key in ("attention_dropout", "hidden_act", "rope_scaling")} | {
        "layer_norm_eps": (None,),
        "resid_pdrop": (0.0,),
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    qkv_bias, out_bias = Qwen3Config.qkv_bias, Qwen3Config.out_bias
