"""What decoding, training and evaluation ask of a model (docs/adding-a-model.md).

`hidden_states` and `logits_at` are the two halves of `forward`, for callers that need logits at few
positions. A native model fills in `embed`, `layers` and `final_norm`; its parameter names are those of the
official checkpoints, so that their files load and ours load there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput

from lift_harness.models.block_causal import visible_keys
from lift_harness.models.clean_text import CleanText, Keeper
from lift_harness.models.layers import KeyValueCache, Rope, default_positions, project, rope_tables


class DiffusionLM(PreTrainedModel):
    """A transformer over masked text, bidirectional or block-causal.

    Three things differ from the official codes, none in what is computed for an unpadded batch:

    * the attention mask is honoured, and positions count from the first real token of a row;
    * keys and values pass through an optional cache (`KeyValueCache`), which decoding implements;
    * logits are projected where they are asked for (`logits_at`), not over the whole canvas.

    Attributes:
        logit_shift: 1 where the token at i is predicted at i - 1 (Dream, Fast-dLLM v2), else 0.
        block_size: columns of a block, whose tokens see each other and the blocks before it; None: all tokens
            see all others.
        attention_modules: projections that LoRA adapts by default.
        cache_shape: (layers, key/value heads, head size) of a cache; None: takes none.
        decoding: decoding settings of a model with blocks, as its authors publish them.
    """

    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flash_attn_2 = True  # transformers 4
    attention_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    logit_shift = 0
    decoding: Mapping[str, Any] = {}
    gradient_checkpointing = False

    # ------------------------------------------------------------ what a native model fills in

    def embed(self, input_ids: Tensor) -> Tensor:
        """Input embeddings [B, L, D] of ids [B, L]."""
        raise NotImplementedError

    @property
    def layers(self) -> Iterable[nn.Module]:
        """Modules `layer(x, rope, mask, cache, at)`, in order."""
        raise NotImplementedError

    @property
    def final_norm(self) -> nn.Module:
        """The norm before the output projection."""
        raise NotImplementedError

    def rope(self, position_ids: Tensor) -> Rope:
        """Rotary tables of positions [1 or B, L]."""
        return rope_tables(position_ids, self.head_size, self.config.rope_theta)

    @property
    def block_size(self) -> int | None:
        """Columns of a block; None: bidirectional."""
        return getattr(self.config, "block_size", None)

    @property
    def head_size(self) -> int:
        """Numbers of an attention head."""
        return self.config.hidden_size // self.config.num_attention_heads

    @property
    def cache_shape(self) -> tuple[int, int, int] | None:
        """What a key/value cache keeps of a token: layers, key/value heads, head size."""
        return self.config.num_hidden_layers, self.config.num_key_value_heads, self.head_size

    # ------------------------------------------------------------ what everybody calls

    def read(self, clean: CleanText) -> tuple[CleanText, Tensor]:
        """A clean text with its keys and values; and no hidden states, [0, D], behind all of its layers."""
        keeper = Keeper()
        first = clean.ids.new_zeros(len(clean.ids), 1)  # the one column that the last layer computes
        hidden = self.hidden_states(**clean.pass_of_its_own, cache=keeper, at=first)
        return replace(clean, kept=keeper.kept), hidden.flatten(0, 1)[:0]

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
                cache L_all counts the keys that the cache returns, otherwise it is L. Or [1 or B, L, L_all],
                True where a query sees a key; otherwise a model with a `block_size` sees block-causally.
            position_ids: int64 [B, L] or, the same for all rows, [1, L]; by default counted from each
                row's first real token. Blocks are counted on them.
            cache: sees and supplements each layer's keys and values. With a `block_size` the keys that it
                returns are those of the columns 0 to L_all - 1, and up to `block_size` input columns are
                taken as (part of) the last block, which sees them all.
            at: int64 [B, Q], the columns that are wanted; the last layer computes no others.
        """
        counted = position_ids is None and cache is None
        if position_ids is None:
            position_ids = default_positions(input_ids, attention_mask)
        mask = visible_keys(attention_mask, position_ids, self.block_size, counted, cache is not None)
        rope, x, layers = self.rope(position_ids), self.embed(input_ids), list(self.layers)
        for layer in layers:
            wanted = at if layer is layers[-1] else None
            if self.gradient_checkpointing and self.training:
                x = self._gradient_checkpointing_func(layer.__call__, x, rope, mask, cache, wanted)
            else:
                x = layer(x, rope, mask, cache, wanted)
        return self.final_norm(x)

    def logits_at(self, hidden: Tensor) -> Tensor:
        """Project hidden states [..., D] onto the vocabulary: logits [..., V]."""
        matrix = plain_matrix(self._head)
        if matrix is None:  # quantised, placed elsewhere by accelerate, or an adapter around it
            return self._head(hidden)
        return project(hidden, *matrix)

    def output_matrix(self) -> tuple[Tensor, Tensor | None] | None:
        """Weight [V, D] and bias [V] or None, where `logits_at` is nothing but the product with them.

        None otherwise. To be asked for inside `forward`: elsewhere a wrapper may hold the weight in parts.
        """
        own = type(self).logits_at is not DiffusionLM.logits_at  # may do more than the product
        if own and getattr(self.config, "scale_logits", True):  # LLaDA's does only with this key
            return None
        return plain_matrix(self._head)

    @property
    def _head(self) -> Any:
        return self.get_output_embeddings() or self.get_input_embeddings()  # tied: the same matrix

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        logits_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        reduce: Callable[[Any, Tensor], Tensor] | None = None,
        clean: CleanText | None = None,
    ) -> MaskedLMOutput:
        """Logits [B, L, V], or [M, V] at the M positions where `logits_mask` [B, L] is True.

        The other arguments are those of `hidden_states`. M follows row-major order. Position i holds the
        prediction of the token at i + `logit_shift`.

        With `reduce`, no logits: the output's `loss` is `reduce(self, hidden [M, D])`. There training works
        on hidden states and output projection inside the pass, where a wrapper (FSDP) has gathered them.

        With `clean`, `input_ids` are its `noised` columns of a noised copy of that text, which they see as
        block diffusion is trained. Where its keys and values are not known yet they are computed here, in
        the same forward.
        """
        unused = None
        if clean is not None:
            if clean.kept is None:
                clean, unused = self.read(clean)
            attention_mask, position_ids, cache = clean.mask, clean.noised_positions, clean
        if logits_mask is None:
            hidden = self.hidden_states(input_ids, attention_mask, position_ids, cache)
        else:
            at, real = columns(logits_mask)
            hidden = self.hidden_states(input_ids, attention_mask, position_ids, cache, at)
            hidden = hidden.flatten(0, 1).index_select(0, real.flatten().nonzero()[:, 0])  # [M, D]
        if unused is not None:  # a part of the graph, so that FSDP sees the last layer's backward pass
            hidden = torch.cat((hidden, unused))
        if reduce is not None:
            return MaskedLMOutput(loss=reduce(self, hidden))
        return MaskedLMOutput(logits=self.logits_at(hidden))


def columns(where: Tensor) -> tuple[Tensor, Tensor]:
    """The True columns of each row of `where` [B, L], in order, filled up to those of the fullest row.

    Returns:
        int64 [B, Q], and bool [B, Q], False where filled up.
    """
    count = where.sum(-1)
    widest = max(1, int(count.max()))  # the layers need something to compute
    at = (~where).byte().argsort(dim=-1, stable=True)[:, :widest]
    return at, torch.arange(widest, device=where.device) < count[:, None]


def plain_matrix(head: Any) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias of a projection that is a plain matrix product; None for anything else.

    Hooks on a linear layer are there to be called (accelerate's place its weight, those of ZeRO and FSDP
    gather it). Those of a tied embedding belong to its lookup.
    """
    if not isinstance(head, (nn.Linear, nn.Embedding)):
        return None
    if isinstance(head, nn.Linear) and (
        hasattr(head, "_hf_hook") or head._forward_hooks or head._forward_pre_hooks
    ):
        return None
    if type(head.weight) not in (nn.Parameter, Tensor):  # FSDP puts plain tensors in place of parameters
        return None
    return head.weight, getattr(head, "bias", None)
