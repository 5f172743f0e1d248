"""dFactory's form of LLaDA2: the experts of a layer in one tensor, read as the official one tensor an expert.

`model.layers.1.mlp.experts.gate_proj` [E, out, in] holds `model.layers.1.mlp.experts.0.gate_proj.weight`
[out, in] and so on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from lift_harness.models.checkpoint import Header, member, weight_files

STACKED = re.compile(r"(.+\.mlp\.experts)\.((?:gate|up|down)_proj)")


def names_of(stack: str, count: int) -> list[str] | None:
    """The official names of a stack's parts; None: no stack."""
    found = STACKED.fullmatch(stack)
    return found and [f"{found[1]}.{expert}.{found[2]}.weight" for expert in range(count)]


def unstacked_headers(headers: Mapping[str, Header]) -> dict[str, Header]:
    """The headers under the official names."""
    official: dict[str, Header] = {}
    for name, header in headers.items():
        count = header.shape[0] if len(header.shape) == 3 else 0
        parts = names_of(name, count)
        official |= dict.fromkeys(parts, replace(header, shape=header.shape[1:])) if parts else {name: header}
    return official


def has_stacks(headers: Mapping[str, Header]) -> bool:
    """Whether a checkpoint has its experts in dFactory's form."""
    return any(STACKED.fullmatch(name) for name in headers)


def unstack(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder under the official names: views of its mapped files."""
    official: dict[str, Tensor] = {}
    for file in weight_files(folder)[0]:
        for name, tensor in load_file(member(folder, file)).items():
            parts = names_of(name, len(tensor)) if tensor.ndim == 3 else None
            official |= dict(zip(parts, tensor, strict=True)) if parts else {name: tensor}
    return official
