"""The families with experts: LLaDA2, SDAR-MoE, LLaDA-MoE; parameter names are those of their checkpoints.

Each is the backbone with its own router and its own names; what a mixture computes is in `experts.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lift_harness.models.backbone import BackboneLM, FeedForward, Layer
from lift_harness.models.configuration_experts import (
    LLaDA2Config,
    LLaDAMoeConfig,
    RenamedLLaDAMoeConfig,
    SDARMoeConfig,
)
from lift_harness.models.experts import Experts, grouped_sigmoid_router, softmax_router
from lift_harness.models.layers import KeyValueCache, RMSNorm, Rope, attend, heads
from lift_harness.models.modeling_backbone import SDAR_DECODING


class Mixture(nn.Module):
    """Router and experts of SDAR-MoE and LLaDA-MoE."""

    expert_bias: Tensor | None

    def __init__(self, config: Any, bias: bool = False, normalise: bool = False) -> None:
        super().__init__()
        self.normalise = normalise
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = Experts(config)
        self.register_buffer("expert_bias", torch.zeros(config.num_experts) if bias else None)

    def forward(self, h: Tensor) -> Tensor:
        """H [B, L, D] to [B, L, D]."""
        x = h.flatten(0, -2)
        chosen, weight = softmax_router(x, self.gate.weight, self.experts.k, self.expert_bias, self.normalise)
        return self.experts(x, chosen, weight).view_as(h)


# ---------------------------------------------------------------- SDAR-MoE


class SDARMoeLayer(Layer):
    """Qwen3-MoE's layer."""

    def feed_forward(self, config: Any, layer: int) -> nn.Module:
        """The mixture, or a dense one where the configuration says so."""
        if config.mixed_layers[layer]:
            return Mixture(config, normalise=config.norm_topk_prob)
        return super().feed_forward(config, layer)


class SDARMoeForCausalLM(BackboneLM):
    """SDAR with experts."""

    config_class = SDARMoeConfig
    decoding = SDAR_DECODING
    layer_class = SDARMoeLayer
    _no_split_modules = ["SDARMoeLayer"]  # noqa: RUF012 (transformers' own idiom, here and below)


# ---------------------------------------------------------------- LLaDA-MoE


class LLaDAMoeLayer(Layer):
    """A layer whose shared expert, where there is one, stands beside `mlp`."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__(config, layer)
        width = config.shared_expert_intermediate_size
        self.shared_expert = (
            FeedForward(config.hidden_size, width) if width and config.mixed_layers[layer] else None
        )

    def feed_forward(self, config: Any, layer: int) -> nn.Module:
        """The mixture, or a dense one where the configuration says so."""
        if config.mixed_layers[layer]:
            return Mixture(config, bias=config.moe_router_enable_expert_bias)
        return super().feed_forward(config, layer)

    def forward(
        self,
        x: Tensor,
        rope: Rope,
        mask: Tensor | None,
        cache: KeyValueCache | None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x [B, L, D] to [B, L, D], or to [B, Q, D] at the columns `at` [B, Q]."""
        x = self.attended(x, rope, mask, cache, at)
        h = self.post_attention_layernorm(x)
        shared = 0 if self.shared_expert is None else self.shared_expert(h)
        return x + self.mlp(h) + shared


class LLaDAMoEModelLM(BackboneLM):
    """LLaDA-MoE, fully bidirectional."""

    config_class = LLaDAMoeConfig
    layer_class = LLaDAMoeLayer
    _no_split_modules = ["LLaDAMoeLayer"]  # noqa: RUF012


class RenamedLLaDAMoEModelLM(LLaDAMoEModelLM):
    """The same under dllm's `model_type`."""

    config_class = RenamedLLaDAMoeConfig


RenamedLLaDAMoEModelLM.__name__ = LLaDAMoEModelLM.__name__  # which a saved config.json writes


# ---------------------------------------------------------------- LLaDA2


class FusedAttention(nn.Module):
    """Grouped-query attention whose queries, keys and values are one product."""

    rope_full_precision = False

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.config, self.layer, self.head_size = config, layer, config.head_size
        size, width = config.hidden_size, config.num_attention_heads * config.head_size
        self.parts = [config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads]
        self.query_key_value = nn.Linear(size, sum(self.parts) * config.head_size, bias=config.qkv_bias)
        self.dense = nn.Linear(width, size, bias=config.out_bias)
        if config.qk_norm:
            self.query_layernorm = RMSNorm(config.head_size, config.rms_norm_eps)
            self.key_layernorm = RMSNorm(config.head_size, config.rms_norm_eps)

    def queries_keys_values(self, h: Tensor, at: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Heads of h [B, L, D], before rotation: [B, H, L or Q, C], and twice [B, H_kv, L, C]."""
        q, k, v = heads(self.query_key_value(h), self.head_size).split(self.parts, dim=1)
        if at is not None:
            q = q.gather(2, at[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))
        if self.config.qk_norm:
            q, k = self.query_layernorm(q), self.key_layernorm(k)
        return q, k, v

    def forward(
        self, h: Tensor, rope: Rope, mask: Tensor | None, cache: KeyValueCache | None, at: Tensor | None
    ) -> Tensor:
        """H [B, L, D] to [B, L or Q, D]; the arguments are those of `layers.attend`."""
        return self.dense(attend(self, h, rope, mask, cache, at))


class LLaDA2Gate(nn.Module):
    """The router of LLaDA2: `expert_bias` decides who is chosen, not with what weight."""

    expert_bias: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))
        self.register_buffer("expert_bias", torch.zeros(config.num_experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The experts of x [T, D] and their weights: int64 [T, K], float32 [T, K]."""
        c = self.config
        return grouped_sigmoid_router(
            x,
            self.weight,
            self.expert_bias,
            c.num_experts_per_tok,
            c.n_group,
            c.topk_group,
            c.routed_scaling_factor,
        )


class LLaDA2Mixture(nn.Module):
    """Router, experts, and an expert for all tokens."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gate, self.experts = LLaDA2Gate(config), Experts(config)
        shared = config.moe_intermediate_size * (config.num_shared_experts or 0)
        self.shared_experts = FeedForward(config.hidden_size, shared) if shared else None

    def forward(self, h: Tensor) -> Tensor:
        """H [B, L, D] to [B, L, D]."""
        x = h.flatten(0, -2)
        mixed = self.experts(x, *self.gate(x)).view_as(h)
        return mixed if self.shared_experts is None else mixed + self.shared_experts(h)


class LLaDA2Layer(Layer):
    """A layer under the names of LLaDA2, its second half a mixture but in the first layers."""

    attention_class = FusedAttention
    attention_name = "attention"

    def feed_forward(self, config: Any, layer: int) -> nn.Module:
        """The mixture, or a dense one where the configuration says so."""
        if config.mixed_layers[layer]:
            return LLaDA2Mixture(config)
        return FeedForward(config.hidden_size, config.intermediate_size)


class LLaDA2MoeModelLM(BackboneLM):
    """LLaDA2.0 and LLaDA2.1."""

    config_class = LLaDA2Config
    decoding = {"schedule": "llada2", "grid": "sequence"}  # noqa: RUF012 (2.1's own is llada21)
    layer_class = LLaDA2Layer
    embedding = "word_embeddings"
    attention_modules = ("query_key_value", "dense")
    _no_split_modules = ["LLaDA2Layer"]  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LLaDA2Gate):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            nn.init.zeros_(module.expert_bias)
