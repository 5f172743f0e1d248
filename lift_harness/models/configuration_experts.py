"""The configurations of the families with experts: LLaDA2, SDAR-MoE, LLaDA-MoE."""

from __future__ import annotations

from typing import Any

from lift_harness.errors import LiftError
from lift_harness.models.configuration_backbone import (
    QWEN,
    SDAR,
    SUPPORTED,
    WITHOUT_EFFECT,
    WITHOUT_EFFECT_IN_SDAR,
    BackboneConfig,
    Qwen3Config,
)

OF_THE_LOSS = "of a loss that no objective here has"
ABOUT_ROUTERS = {"output_router_logits": OF_THE_LOSS, "router_aux_loss_coef": OF_THE_LOSS}


class LLaDA2Config(BackboneConfig):
    """LLaDA2.0 and 2.1 (Bie et al. 2025, arXiv 2512.15745), key for key as LLaDA2.0-mini writes it.

    `block_size` is ours: the official code takes it as an argument, always 32.
    """

    model_type = "llada2_moe"
    published = QWEN | {  # noqa: RUF012
        "vocab_size": 157184,
        "hidden_size": 2048,
        "intermediate_size": 5120,
        "num_hidden_layers": 20,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "rope_theta": 600000.0,
        "partial_rotary_factor": 0.5,
        "use_bias": False,
        "use_qkv_bias": False,
        "use_qk_norm": True,
        "first_k_dense_replace": 1,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "num_shared_experts": 1,
        "moe_intermediate_size": 512,
        "n_group": 8,
        "topk_group": 4,
        "routed_scaling_factor": 2.5,
        "block_size": 32,
    }
    # The official code reads none of the keys below the first line: it computes these values.
    supported = SUPPORTED | {
        "embedding_dropout": (0.0,),
        "output_dropout": (0.0,),
        "norm_topk_prob": (True,),
        "score_function": ("sigmoid",),
        "moe_router_enable_expert_bias": (True,),
        "norm_head": (False,),
        "norm_softmax": (False,),
        "use_rmsnorm": (True,),
        "using_split_qkv_in_self_attention": (False,),
    }
    without_effect = (
        WITHOUT_EFFECT
        | ABOUT_ROUTERS
        | {
            "rotary_dim": "never read; partial_rotary_factor is",
            "router_dtype": "never read: the router is in float32",
        }
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_experts(self, self.n_group, self.topk_group)

    @property
    def qk_norm(self) -> bool:  # type: ignore[override]
        """Whether the heads of queries and keys are normed."""
        return self.use_qk_norm

    @property
    def qkv_bias(self) -> bool:  # type: ignore[override]
        """Whether queries, keys and values have biases."""
        return self.use_qkv_bias

    @property
    def out_bias(self) -> bool:  # type: ignore[override]
        """Whether the output projection of attention has a bias."""
        return self.use_bias

    @property
    def mixed_layers(self) -> list[bool]:
        """Of each layer, whether its feed-forward is a mixture of experts."""
        return [n >= self.first_k_dense_replace for n in range(self.num_hidden_layers)]


class SDARMoeConfig(Qwen3Config):
    """SDAR with Qwen3-MoE's layers, key for key as JetLM/SDAR-30B-A3B-Chat writes it."""

    model_type = "sdar_moe"
    published = SDAR | {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 48,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
    }
    without_effect = WITHOUT_EFFECT_IN_SDAR | ABOUT_ROUTERS

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_experts(self)

    @property
    def mixed_layers(self) -> list[bool]:
        """Of each layer, whether its feed-forward is a mixture of experts."""
        dense, every = self.mlp_only_layers or (), self.decoder_sparse_step
        return [n not in dense and (n + 1) % every == 0 for n in range(self.num_hidden_layers)]


class LLaDAMoeConfig(BackboneConfig):
    """LLaDA-MoE (Zhu et al. 2025, arXiv 2509.24389), key for key as its official class has them.

    Its `model_type` is that of the dense LLaDA: `loading.family_of` tells them apart.
    """

    model_type = "llada"
    published = {key: QWEN[key] for key in QWEN if key != "intermediate_size"} | {
        "vocab_size": 157184,
        "hidden_size": 2048,
        "dense_intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 50000.0,
        "partial_rotary_factor": 1.0,
        "attention_bias": False,
        "qk_layernorm": True,
        "clip_qkv": None,
        "moe_layer_freq": None,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "expert_intermediate_size": 1024,
        "shared_expert_intermediate_size": None,
        "moe_router_enable_expert_bias": False,
    }
    supported = {key: SUPPORTED[key] for key in ("attention_dropout", "hidden_act", "rope_scaling")}
    without_effect = ABOUT_ROUTERS | dict.fromkeys(
        (
            "moe_router_score_function",
            "norm_topk_prob",
            "routed_scaling_factor",
            "router_num_group",
            "router_topk_group",
        ),
        "never read: the router's weights are the softmax as it is",
    )
    attribute_map = {  # noqa: RUF012
        "intermediate_size": "dense_intermediate_size",
        "moe_intermediate_size": "expert_intermediate_size",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        every = self.moe_layer_freq or [1] * self.num_hidden_layers
        if not isinstance(every, list) or len(every) != self.num_hidden_layers or set(every) - {0, 1}:
            raise self._refused("moe_layer_freq", every, f"a list of {self.num_hidden_layers} zeros and ones")
        check_experts(self)

    qkv_bias, out_bias = Qwen3Config.qkv_bias, Qwen3Config.out_bias

    @property
    def qk_norm(self) -> bool:  # type: ignore[override]
        """Whether the heads of queries and keys are normed."""
        return self.qk_layernorm

    @property
    def mixed_layers(self) -> list[bool]:
        """Of each layer, whether its feed-forward is a mixture of experts."""
        return [bool(mixed) for mixed in self.moe_layer_freq or [1] * self.num_hidden_layers]


class RenamedLLaDAMoeConfig(LLaDAMoeConfig):
    """LLaDA-MoE under the `model_type` that dllm asks to give it."""

    model_type = "lladamoe"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def check_experts(config: Any, groups: int = 1, kept_groups: int = 1) -> None:
    """Refuse numbers of experts that make no mixture.

    Args:
        config: has `num_experts`, `num_experts_per_tok` and `moe_intermediate_size`.
        groups: runs of experts that a router chooses among first.
        kept_groups: of them, those that are left.
    """
    count, k = config.num_experts, config.num_experts_per_tok
    numbers = {"num_experts": count, "num_experts_per_tok": k, "n_group": groups, "topk_group": kept_groups}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise LiftError(f"config.json: {key}={value!r} must be a positive whole number")
    if count % groups or kept_groups > groups:
        raise LiftError(
            f"config.json: num_experts={count}, n_group={groups}, topk_group={kept_groups} do not divide; "
            "groups must divide the experts, and no more than there are can be kept"
        )
    if k > count // groups * kept_groups:
        raise LiftError(
            f"config.json: num_experts_per_tok={k} is more than the {count // groups * kept_groups} experts "
            f"to choose from (num_experts={count}, n_group={groups}, topk_group={kept_groups})"
        )
