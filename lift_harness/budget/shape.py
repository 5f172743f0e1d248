"""The numbers of a model that its memory and its operations follow from, read on the meta device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lift_harness.decoding.batching import cached
from lift_harness.models.base import DiffusionLM
from lift_harness.models.checkpoint import read_headers, stored_dtype
from lift_harness.models.experts import Experts, Parameters, count_parameters
from lift_harness.models.loading import embedding_rows, own_dtype
from lift_harness.training.settings import LoraSettings

GATES = ("ff_proj", "gate_proj")  # of a feed-forward: their outputs say how wide it is


class Matrix(NamedTuple):
    """A linear layer inside the transformer.

    Attributes:
        name: in its module.
        inputs: numbers of a token that go in.
        outputs: that come out.
        uses: share of the tokens that pass through it (of an expert K of E, else 1).
    """

    name: str
    inputs: int
    outputs: int
    uses: float


@dataclass(frozen=True)
class Shape:
    """A model in numbers.

    Attributes:
        parameters: all, and those that a token passes through.
        dtype_bytes: of a weight as it is loaded.
        layers: of the transformer.
        hidden: numbers of a token between layers (D).
        queries: of a token in all query heads together.
        keys: of a token in all key heads together.
        heads: query heads.
        head_norms: whether queries and keys are normed.
        vocabulary: rows of the output projection (V).
        context: longest text in tokens; None: unknown.
        block_size: of a model with blocks.
        routed: experts that a token takes, and out of how many; zeros of a dense model.
        matrices: linear layers of all layers, without the output projection.
        attention_modules: those that get adapters by default.
        native: a model of this project, of which is known what it keeps for the backward pass.
        cached: numbers that a cache keeps of a token.
    """

    parameters: Parameters
    dtype_bytes: int
    layers: int
    hidden: int
    queries: int
    keys: int
    heads: int
    head_norms: bool
    vocabulary: int
    context: int | None
    block_size: int | None
    routed: tuple[int, int]
    matrices: tuple[Matrix, ...]
    attention_modules: tuple[str, ...]
    native: bool
    cached: int

    @property
    def feed_forward(self) -> float:
        """Numbers of a token inside a layer's feed-forward, experts together, on average over the layers."""
        found = sum(m.outputs * m.uses for m in self.matrices if m.name in GATES)
        return found / self.layers or 4.0 * self.hidden  # of encoders, whose layers have other names

    @property
    def products(self) -> float:
        """Weights of all layers' matrices that a token is multiplied with."""
        return sum(m.inputs * m.outputs * m.uses for m in self.matrices)

    @property
    def stored_in_layers(self) -> float:
        """Weights of all layers' matrices, experts too that a token does not take."""
        return sum(m.inputs * m.outputs for m in self.matrices)

    @property
    def head(self) -> int:
        """Weights of the output projection."""
        return self.vocabulary * self.hidden

    def adapted(self, lora: LoraSettings) -> list[Matrix]:
        """The matrices that adapters are put beside."""
        targets = lora.target_modules or self.attention_modules
        return [m for m in self.matrices if m.name in targets]


def shape_of(model: Any, dtype_bytes: int) -> Shape:
    """The shape of a model, which may be on the meta device; `dtype_bytes`: of its weights."""
    config = model.config
    native = isinstance(model, DiffusionLM)
    kept = cached(model)
    layers = config.num_hidden_layers
    hidden, vocabulary = config.hidden_size, embedding_rows(model)
    head_size = getattr(model, "head_size", hidden // config.num_attention_heads)
    return Shape(
        parameters=count_parameters(model),
        dtype_bytes=dtype_bytes,
        layers=layers,
        hidden=hidden,
        queries=config.num_attention_heads * head_size,
        keys=kept // (2 * layers) if kept else hidden,
        heads=config.num_attention_heads,
        head_norms=bool(getattr(config, "qk_norm", False)),
        vocabulary=vocabulary,
        context=getattr(config, "max_position_embeddings", None),
        block_size=getattr(model, "block_size", None),
        routed=experts_of(model),
        matrices=tuple(matrices_of(model, vocabulary)),
        attention_modules=tuple(getattr(model, "attention_modules", DiffusionLM.attention_modules)),
        native=native,
        cached=kept,
    )


def weight_bytes(config: dict[str, Any], folder: Path) -> int:
    """Bytes of a number as it is loaded: by config.json, else as most of the files; 4 if neither says."""
    there = any(folder.glob("*.safetensors"))
    named = config.get("dtype") or config.get("torch_dtype")
    if not named and not there:
        return 4
    return own_dtype(config, torch.float32 if named else stored_dtype(read_headers(folder))).itemsize


def matrices_of(model: nn.Module, vocabulary: int) -> Iterator[Matrix]:
    """All linear layers but the output projection."""
    uses: dict[str, float] = {}
    for path, module in model.named_modules():
        if isinstance(module, Experts):
            uses[f"{path}."] = module.k / len(module)
        elif isinstance(module, nn.Linear) and module.out_features != vocabulary:
            share = next((share for within, share in uses.items() if path.startswith(within)), 1.0)
            yield Matrix(path.rpartition(".")[2], module.in_features, module.out_features, share)


def experts_of(model: nn.Module) -> tuple[int, int]:
    """Experts a token takes, and out of how many."""
    mixtures: Sequence[Experts] = [module for module in model.modules() if isinstance(module, Experts)]
    return (mixtures[0].k, len(mixtures[0])) if mixtures else (0, 0)
