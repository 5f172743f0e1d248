"""LLaDA (Nie et al. 2025, arXiv 2502.09992): a bidirectional transformer over masked text.

Parameter names are those of the official checkpoints (`model.transformer.blocks.N.q_proj.weight` and so
on). Shapes: B rows, L tokens a row, Q wanted columns, D = d_model, V = embedding_size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from lift_harness.models.base import DiffusionLM
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.models.layers import KeyValueCache, RMSNorm, Rope, attend, projected, take


class LLaDABlock(nn.Module):
    """Pre-norm attention and SwiGLU feed-forward (`ff_proj` is the gate)."""

    def __init__(self, config: LLaDAConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.head_size = config.d_model // config.n_heads
        self.rope_full_precision = config.rope_full_precision
        size, kv_size = config.d_model, self.head_size * config.n_kv_heads
        bias, qkv_bias = config.include_bias, config.include_bias or config.include_qkv_bias
        self.q_proj = nn.Linear(size, size, bias=qkv_bias)
        self.k_proj = nn.Linear(size, kv_size, bias=qkv_bias)
        self.v_proj = nn.Linear(size, kv_size, bias=qkv_bias)
        self.attn_out = nn.Linear(size, size, bias=bias)
        self.ff_proj = nn.Linear(size, config.mlp_hidden_size, bias=bias)
        self.up_proj = nn.Linear(size, config.mlp_hidden_size, bias=bias)
        self.ff_out = nn.Linear(config.mlp_hidden_size, size, bias=bias)
        self.attn_norm = RMSNorm(size, config.rms_norm_eps)
        self.ff_norm = RMSNorm(size, config.rms_norm_eps)

    queries_keys_values = projected

    def forward(
        self,
        x: Tensor,
        rope: Rope,
        mask: Tensor | None,
        cache: KeyValueCache | None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x [B, L, D] to [B, L, D], or to [B, Q, D] at the columns `at` [B, Q]."""
        attended = attend(self, self.attn_norm(x), rope, mask, cache, at)
        x = take(x, at) + self.attn_out(attended)
        h = self.ff_norm(x)
        return x + self.ff_out(F.silu(self.ff_proj(h)) * self.up_proj(h))


class LLaDAModel(nn.Module):
    """Holds `transformer` (wte, blocks, ln_f and, unless tied, ff_out) under the official names."""

    def __init__(self, config: LLaDAConfig) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.embedding_size, config.d_model),
                "blocks": nn.ModuleList(LLaDABlock(config, n) for n in range(config.n_layers)),
                "ln_f": RMSNorm(config.d_model, config.rms_norm_eps),
            }
        )
        if not config.weight_tying:
            self.transformer["ff_out"] = nn.Linear(
                config.d_model, config.embedding_size, bias=config.include_bias
            )


class LLaDAModelLM(DiffusionLM):
    """LLaDA with its output projection; loads and saves the official format."""

    config_class = LLaDAConfig
    _no_split_modules = ["LLaDABlock"]  # noqa: RUF012 (transformers' own idiom)

    def __init__(self, config: LLaDAConfig) -> None:
        super().__init__(config)
        self.model = LLaDAModel(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding [V, D]."""
        return self.model.transformer["wte"]

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.model.transformer["wte"] = value

    def get_output_embeddings(self) -> nn.Module | None:
        """The output projection, None where it is the embedding itself (`weight_tying`)."""
        return None if self.config.weight_tying else self.model.transformer["ff_out"]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            std = self.config.init_std
            if self.config.init_fn == "mitchell":
                std = 1 / math.sqrt(module.weight.shape[-1])
            nn.init.trunc_normal_(module.weight, std=std, a=-3 * std, b=3 * std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Input embeddings [B, L, D]."""
        x = self.model.transformer["wte"](input_ids)
        return x * math.sqrt(self.config.d_model) if self.config.input_emb_norm else x

    @property
    def layers(self) -> Iterable[nn.Module]:
        """The transformer blocks."""
        return self.model.transformer["blocks"]  # type: ignore[return-value]

    @property
    def final_norm(self) -> nn.Module:
        """The norm before the output projection."""
        return self.model.transformer["ln_f"]

    def logits_at(self, hidden: Tensor) -> Tensor:
        """Project hidden states [..., D] onto the vocabulary: logits [..., V]."""
        logits = super().logits_at(hidden)
        return logits / math.sqrt(self.config.d_model) if self.config.scale_logits else logits
