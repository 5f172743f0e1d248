"""Dream (Ye et al. 2025, arXiv 2508.15487): Qwen2's transformer without the causal mask, logits shifted.

Parameter names are those of the official checkpoints (`model.layers.N.self_attn.q_proj.weight` and so on).
The token at position i is predicted at i - 1 (`logit_shift = 1`), as in the autoregressive model that Dream
began from.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from lift_harness.models.base import DiffusionLM
from lift_harness.models.configuration_dream import DreamConfig
from lift_harness.models.layers import KeyValueCache, RMSNorm, Rope, attend, take


class DreamAttention(nn.Module):
    """Grouped-query attention; queries, keys and values have biases."""

    rope_full_precision = False

    def __init__(self, config: DreamConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.head_size = config.hidden_size // config.num_attention_heads
        size, kv_size = config.hidden_size, self.head_size * config.num_key_value_heads
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, kv_size)
        self.v_proj = nn.Linear(size, kv_size)
        self.o_proj = nn.Linear(size, size, bias=False)


class DreamMLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, config: DreamConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """H [B, L, D] to [B, L, D]."""
        return self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class DreamDecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, config: DreamConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = DreamAttention(config, layer)
        self.mlp = DreamMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rope: Rope,
        mask: Tensor | None,
        cache: KeyValueCache | None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x [B, L, D] to [B, L, D], or to [B, Q, D] at the columns `at` [B, Q]."""
        attended = attend(self.self_attn, self.input_layernorm(x), rope, mask, cache, at)
        x = take(x, at) + self.self_attn.o_proj(attended)
        return x + self.mlp(self.post_attention_layernorm(x))


class DreamBaseModel(nn.Module):
    """Embeddings, layers and final norm under the official names."""

    def __init__(self, config: DreamConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DreamDecoderLayer(config, n) for n in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class DreamModel(DiffusionLM):
    """Dream with its output projection; loads and saves the official format."""

    config_class = DreamConfig
    _no_split_modules = ["DreamDecoderLayer"]  # noqa: RUF012 (transformers' own idiom)
    logit_shift = 1

    def __init__(self, config: DreamConfig) -> None:
        super().__init__(config)
        self.model = DreamBaseModel(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding [V, D]."""
        return self.model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.model.embed_tokens = value  # type: ignore[assignment]

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
        return self.model.embed_tokens(input_ids)

    @property
    def layers(self) -> Iterable[nn.Module]:
        """The decoder layers."""
        return self.model.layers

    @property
    def final_norm(self) -> nn.Module:
        """The norm before the output projection."""
        return self.model.norm
