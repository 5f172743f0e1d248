"""LLaDA (Nie et al. 2025, arXiv 2502.09992): a bidirectional transformer over masked text.

Parameter names are those of the official checkpoints (`model.transformer.blocks.N.q_proj.weight`
and so on), so their files load and ours load there. Three things differ from the official code, none
in what is computed for an unpadded batch:

* the attention mask is honoured, and positions count from the first real token of a row;
* keys and values pass through an optional cache (`KeyValueCache`), which decoding implements;
* logits are projected where they are asked for (`logits_at`), not over the whole canvas.

Shapes: B rows, L tokens a row, D = d_model, H heads, C = D / H, V = embedding_size.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from lift_harness.models.configuration_llada import LLaDAConfig


class KeyValueCache(Protocol):
    """What the model asks of a cache: given a layer's new keys and values, all that are to be seen."""

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Take [B, H_kv, L, C] of the present pass (keys rotated), return [B, H_kv, L_all, C]."""
        ...


def project(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, faster for a few rows on a CPU.

    There the time goes into reading the weight, and the product that has it on the left reads it better:
    1.5 to 2 times as fast for up to 64 rows of a vocabulary of 32,000 (docs/performance.md).
    """
    few = x.ndim == 2 and len(x) <= 64 and x.device.type == "cpu" and weight.numel() > 2**20
    if not few or bias is not None or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    return (weight @ x.t()).t().contiguous()


class RMSNorm(nn.Module):
    """Root mean square norm, computed in float32 whatever the dtype of the model."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of x."""
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * h.to(x.dtype)


def rope_tables(position_ids: Tensor, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, float32, [B, 1, L, C]."""
    power = torch.arange(0, head_size, 2, device=position_ids.device, dtype=torch.float32) / head_size
    angles = position_ids[:, None, :, None].float() * (1.0 / theta**power)  # [B, 1, L, C/2]
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embedding to x [B, H, L, C] (halves convention of GPT-NeoX)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def take(x: Tensor, at: Tensor) -> Tensor:
    """Columns `at` [B, Q] of x [B, L, D]."""
    return x.gather(1, at[:, :, None].expand(-1, -1, x.shape[-1]))


def rope_at(rope: tuple[Tensor, Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """The tables [B, 1, Q, C] at the columns `at` [B, Q]."""
    cos, sin = (take(table[:, 0].expand(len(at), -1, -1), at)[:, None] for table in rope)
    return cos, sin


class LLaDABlock(nn.Module):
    """Pre-norm attention and SwiGLU feed-forward (`ff_proj` is the gate)."""

    def __init__(self, config: LLaDAConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.rope_full_precision = config.rope_full_precision
        self.head_size = config.d_model // config.n_heads
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

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: KeyValueCache | None,
        at: Tensor | None = None,
    ) -> Tensor:
        """x [B, L, D] to [B, L, D], or to [B, Q, D] at the columns `at` [B, Q].

        `rope` holds cosines and sines [1 or B, 1, L, C]; mask is None or bool broadcastable to
        [B, 1, L, L_all] (True: may be seen).
        """
        h = self.attn_norm(x)
        k, v = self.heads(self.k_proj(h), rope), self.heads(self.v_proj(h))
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        if at is not None:  # the keys of all columns are needed, the rest only there
            x, h, rope = take(x, at), take(h, at), rope_at(rope, at)
        q = self.heads(self.q_proj(h), rope)
        grouped = self.n_kv_heads != self.n_heads
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)
        x = x + self.attn_out(out.transpose(1, 2).reshape(x.shape))
        h = self.ff_norm(x)
        return x + self.ff_out(F.silu(self.ff_proj(h)) * self.up_proj(h))

    def heads(self, h: Tensor, rope: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Split a projection [B, L, H C] into heads [B, H, L, C] and rotate them if asked to."""
        h = h.view(*h.shape[:2], -1, self.head_size).transpose(1, 2)
        if rope is None:
            return h
        dtype = torch.float32 if self.rope_full_precision else h.dtype
        cos, sin = rope
        return rotate(h.to(dtype), cos.to(dtype), sin.to(dtype)).to(h.dtype)


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


class LLaDAModelLM(PreTrainedModel):
    """LLaDA with its output projection; loads and saves the official format.

    `forward` gives logits; `hidden_states` and `logits_at` are its two halves, for callers that
    need logits at few positions. Position i predicts the token at i (`logit_shift = 0`).
    """

    config_class = LLaDAConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["LLaDABlock"]  # noqa: RUF012 (transformers' own idiom)
    _supports_sdpa = True
    logit_shift = 0

    def __init__(self, config: LLaDAConfig) -> None:
        super().__init__(config)
        self.model = LLaDAModel(config)
        self.gradient_checkpointing = False
        self.post_init()

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """What a key/value cache keeps of a token: layers, key/value heads, head size."""
        config = self.config
        return config.n_layers, config.n_kv_heads, config.d_model // config.n_heads

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

    def hidden_states(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: KeyValueCache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Final normalised hidden states of `input_ids` [B, L]: [B, L, D], or [B, Q, D] at some columns.

        Args:
            input_ids: int64 [B, L].
            attention_mask: [B, L_all], 1 or True where a key is real; None when all are. With a
                cache L_all counts the keys that the cache returns, otherwise it is L.
            position_ids: int64 [B, L] or, the same for all rows, [1, L]; by default counted from each
                row's first real token.
            cache: sees and supplements each layer's keys and values.
            at: int64 [B, Q], the columns that are wanted; the last layer computes no others.
        """
        if position_ids is None:
            position_ids = default_positions(input_ids, attention_mask)
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        transformer = self.model.transformer
        x = transformer["wte"](input_ids)  # [B, L, D]
        if self.config.input_emb_norm:
            x = x * math.sqrt(self.config.d_model)
        rope = rope_tables(position_ids, self.config.d_model // self.config.n_heads, self.config.rope_theta)
        blocks = transformer["blocks"]
        for block in blocks:  # type: ignore[attr-defined]
            wanted = at if block is blocks[-1] else None  # type: ignore[index]
            if self.gradient_checkpointing and self.training:
                x = self._gradient_checkpointing_func(block.__call__, x, rope, mask, cache, wanted)
            else:
                x = block(x, rope, mask, cache, wanted)
        return transformer["ln_f"](x)

    def logits_at(self, hidden: Tensor) -> Tensor:
        """Project hidden states [..., D] onto the vocabulary: logits [..., V]."""
        head = self.get_input_embeddings() if self.config.weight_tying else self.model.transformer["ff_out"]
        logits = project(hidden, head.weight, getattr(head, "bias", None))  # type: ignore[arg-type]
        return logits / math.sqrt(self.config.d_model) if self.config.scale_logits else logits

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        logits_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> MaskedLMOutput:
        """Logits [B, L, V], or [M, V] at the M positions where `logits_mask` [B, L] is True.

        The other arguments are those of `hidden_states`. M follows row-major order.
        """
        hidden = self.hidden_states(input_ids, attention_mask, position_ids, cache)
        return MaskedLMOutput(logits=self.logits_at(hidden if logits_mask is None else hidden[logits_mask]))


def default_positions(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Positions [B, L] that count from each row's first real token (padding left of it gets 0)."""
    if attention_mask is None:
        return torch.arange(input_ids.shape[1], device=input_ids.device).expand(input_ids.shape)
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
