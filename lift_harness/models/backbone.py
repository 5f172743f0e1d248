"""One transformer for the families whose layers are Qwen's or Llama's with few differences.

A configuration (`configuration_backbone.py`) has the switches: norms of the heads, biases, grouped queries,
a tied output projection, partial rotation, blocks. Parameter names are Qwen's
(`model.layers.N.self_attn.q_proj.weight` and so on), which all these families but LLaDA2 have.
Shapes: B rows, L columns a row, Q wanted ones, D hidden size, H heads of C numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lift_harness.models.base import DiffusionLM
from lift_harness.models.layers import (
    KeyValueCache,
    RMSNorm,
    Rope,
    attend,
    projected,
    rope_tables,
    take,
)


class Attention(nn.Module):
    """Grouped-query attention under Qwen's names."""

    rope_full_precision = False

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.config, self.layer, self.head_size = config, layer, config.head_size
        size, width = config.hidden_size, config.num_attention_heads * config.head_size
        kv_width = config.num_key_value_heads * config.head_size
        self.q_proj = nn.Linear(size, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(size, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(size, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, size, bias=config.out_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_size, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_size, config.rms_norm_eps)

    def queries_keys_values(self, h: Tensor, at: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Heads of h [B, L, D], before rotation: [B, H, L or Q, C], and twice [B, H_kv, L, C]."""
        q, k, v = projected(self, h, at)
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.config.clip_qkv is not None:
            q, k, v = (x.clamp(-self.config.clip_qkv, self.config.clip_qkv) for x in (q, k, v))
        return q, k, v

    def forward(
        self, h: Tensor, rope: Rope, mask: Tensor | None, cache: KeyValueCache | None, at: Tensor | None
    ) -> Tensor:
        """H [B, L, D] to [B, L or Q, D]; the arguments are those of `layers.attend`."""
        return self.o_proj(attend(self, h, rope, mask, cache, at))


class FeedForward(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, size: int, width: int, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size, width, bias=bias)
        self.up_proj = nn.Linear(size, width, bias=bias)
        self.down_proj = nn.Linear(width, size, bias=bias)

    def forward(self, h: Tensor) -> Tensor:
        """H [..., D] to [..., D]."""
        return self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class Layer(nn.Module):
    """Pre-norm attention and feed-forward."""

    attention_class: type[nn.Module] = Attention
    attention_name = "self_attn"

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.add_module(self.attention_name, self.attention_class(config, layer))
        self.mlp = self.feed_forward(config, layer)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def feed_forward(self, config: Any, layer: int) -> nn.Module:
        """The second half of layer number `layer`."""
        return FeedForward(config.hidden_size, config.intermediate_size, config.mlp_bias)

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
        return x + self.mlp(self.post_attention_layernorm(x))

    def attended(
        self, x: Tensor, rope: Rope, mask: Tensor | None, cache: KeyValueCache | None, at: Tensor | None
    ) -> Tensor:
        """The first half, as `forward`."""
        attention = getattr(self, self.attention_name)
        return take(x, at) + attention(self.input_layernorm(x), rope, mask, cache, at)


class Backbone(nn.Module):
    """Embeddings, layers and final norm under the official names."""

    def __init__(self, config: Any, layer_class: type[nn.Module], embedding: str) -> None:
        super().__init__()
        self.add_module(embedding, nn.Embedding(config.vocab_size, config.hidden_size))
        self.layers = nn.ModuleList(layer_class(config, n) for n in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class BackboneLM(DiffusionLM):
    """The backbone with its output projection; loads and saves the official format of its family."""

    layer_class: type[nn.Module] = Layer
    embedding = "embed_tokens"  # its name in `model`
    _no_split_modules = ["Layer"]  # noqa: RUF012 (transformers' own idiom)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Backbone(config, self.layer_class, self.embedding)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding [V, D]."""
        return getattr(self.model, self.embedding)

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        setattr(self.model, self.embedding, value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The output projection, None where it is the embedding itself."""
        return None if self.config.tie_word_embeddings else self.lm_head

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Input embeddings [B, L, D]."""
        return self.get_input_embeddings()(input_ids)

    def rope(self, position_ids: Tensor) -> Rope:
        """Rotary tables of positions [1 or B, L]."""
        return rope_tables(position_ids, self.config.rotary_size, self.config.rope_theta)

    @property
    def head_size(self) -> int:
        """Numbers of an attention head."""
        return self.config.head_size

    @property
    def layers(self) -> Iterable[nn.Module]:
        """The decoder layers."""
        return self.model.layers  # type: ignore[return-value]

    @property
    def final_norm(self) -> nn.Module:
        """The norm before the output projection."""
        return self.model.norm  # type: ignore[return-value]
