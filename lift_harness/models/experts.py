"""Mixtures of experts: each token passes through the few feed-forwards that a router chooses for it.

Tokens are grouped by expert, so that an expert is one product over its tokens. On a GPU whose torch has it,
all experts are one grouped product over a copy-free stack of their weights.
Shapes: T tokens, D hidden size, E experts of which each token takes K.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lift_harness.models.backbone import FeedForward

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


class Experts(nn.ModuleList):
    """E feed-forwards under their official names (`0.gate_proj.weight`), of which each token takes K."""

    def __init__(self, config: Any) -> None:
        size, width = config.hidden_size, config.moe_intermediate_size
        super().__init__(FeedForward(size, width) for _ in range(config.num_experts))
        self.k = config.num_experts_per_tok

    def forward(self, x: Tensor, chosen: Tensor, weight: Tensor) -> Tensor:
        """The weighted sums [T, D] of what the chosen experts make of x.

        Args:
            x: [T, D].
            chosen: int64 [T, K], each token's experts, all different.
            weight: float32 [T, K], their weights.
        """
        by_expert, order = chosen.flatten().sort(stable=True)  # [T K]
        grouped = x[order // chosen.shape[1]]
        fixed = not learns(self) and not shared_weights()
        stack = self.stacked() if fixed and grouped_product(x.device.type, x.dtype) else None
        if stack is not None:
            made = all_at_once(stack, grouped, by_expert)
        else:
            made = self._one_by_one(grouped, by_expert)
        made = made[order.argsort()].view(*chosen.shape, -1)  # [T, K, D]
        return (made * weight[:, :, None]).sum(1).to(x.dtype)

    def _one_by_one(self, grouped: Tensor, by_expert: Tensor) -> Tensor:
        counts = by_expert.bincount(minlength=len(self)).tolist()
        parts = [
            expert(part)
            for expert, part in zip(self, grouped.split(counts), strict=True)
            if len(part) or learns(expert)  # a gradient of zero: other processes wait for it
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def stacked(self) -> dict[str, Tensor] | None:
        """The weights [E, out, in] of each projection, whose parts the experts' parameters are.

        They are put together once, and again when one of them has moved. None where an expert is more than
        three plain matrices (adapters, quantisation), or has sizes that the product refuses.
        """
        stack = self.__dict__.setdefault("_stack", {})
        for name in PROJECTIONS:
            layers: list[Any] = [getattr(expert, name) for expert in self]
            if any(type(layer) is not nn.Linear for layer in layers):
                return None
            weights = [layer.weight for layer in layers]
            if any(size % 8 for size in weights[0].shape):
                return None
            if name in stack and [weight.data_ptr() for weight in weights] == places(stack[name]):
                continue
            stack[name] = torch.stack(weights)
            for weight, part in zip(weights, stack[name], strict=True):
                weight.data = part
        return stack


def places(stack: Tensor) -> list[int]:
    """Where the parts of a stack are in memory."""
    start, step = stack.data_ptr(), stack.stride(0) * stack.itemsize
    return list(range(start, start + len(stack) * step, step))


def all_at_once(stack: dict[str, Tensor], grouped: Tensor, by_expert: Tensor) -> Tensor:
    """What the experts make of their tokens, as three grouped products: [N, D].

    Args:
        stack: the weights [E, out, in] of each projection.
        grouped: tokens [N, D], in the order of their experts.
        by_expert: int64 [N], the experts, ascending.
    """
    gate, up, down = (stack[name].transpose(1, 2) for name in PROJECTIONS)
    experts = torch.arange(len(gate), device=by_expert.device)
    ends = torch.searchsorted(by_expert, experts, right=True).int()  # bincount would wait for the device
    h = F.silu(F.grouped_mm(grouped, gate, offs=ends)) * F.grouped_mm(grouped, up, offs=ends)
    return F.grouped_mm(h, down, offs=ends)


class Parameters(NamedTuple):
    """Numbers of a model, and those that one token passes through."""

    total: int
    active: int


def count_parameters(model: nn.Module) -> Parameters:
    """The parameters of a model, which may be on the meta device."""
    total = sum(parameter.numel() for parameter in model.parameters())
    idle = 0
    for module in model.modules():
        if isinstance(module, Experts):
            each = sum(parameter.numel() for parameter in module[0].parameters())
            idle += (len(module) - module.k) * each
    return Parameters(total, total - idle)


def router_weights(model: nn.Module) -> Iterator[nn.Parameter]:
    """The weights [E, D] of all routers of a model."""
    for module in model.modules():
        if isinstance(getattr(module, "experts", None), Experts):
            yield module.gate.weight  # type: ignore[union-attr, misc]


def learns(experts: nn.Module) -> bool:
    """Whether weights of these get gradients in this pass."""
    return torch.is_grad_enabled() and any(weight.requires_grad for weight in experts.parameters())


def shared_weights() -> bool:
    """Whether other processes may hold parts of the weights (FSDP, ZeRO), which are then theirs to place."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@cache
def grouped_product(device: str, dtype: torch.dtype) -> bool:
    """Whether this torch multiplies groups of rows with a matrix each on this kind of device: tried once."""
    if device != "cuda" or not hasattr(F, "grouped_mm"):
        return False
    try:
        rows = torch.ones(16, 16, device=device, dtype=dtype)
        ends = torch.tensor([8, 16], device=device, dtype=torch.int32)
        F.grouped_mm(rows, torch.ones(2, 16, 16, device=device, dtype=dtype), offs=ends)
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return True


# ---------------------------------------------------------------- routers


def softmax_router(
    x: Tensor, weight: Tensor, k: int, bias: Tensor | None = None, normalise: bool = False
) -> tuple[Tensor, Tensor]:
    """The K experts with the highest softmax of x [T, D] times weight [E, D], plus bias [E]; in float32.

    Returns:
        int64 [T, K], and float32 [T, K]: those values, bias included; with `normalise` they sum to 1.
    """
    scores = F.linear(x.float(), weight.float()).softmax(-1)
    if bias is not None:
        scores = scores + bias.float()
    weights, chosen = scores.topk(k, dim=-1)
    return chosen, weights / weights.sum(-1, keepdim=True) if normalise else weights


def grouped_sigmoid_router(
    x: Tensor, weight: Tensor, bias: Tensor, k: int, groups: int, kept_groups: int, scale: float
) -> tuple[Tensor, Tensor]:
    """The K experts with the highest sigmoid + bias inside the best groups of experts; in float32.

    A group (E / groups experts, in order) is as good as the sum of its two best. (DeepSeek-V3's routing,
    arXiv 2412.19437, section 2.1.2, as LLaDA2 has it.)

    Returns:
        int64 [T, K], and float32 [T, K]: their sigmoids without the bias, summing to `scale` where K > 1.
    """
    scores = F.linear(x.float(), weight.float()).sigmoid()  # [T, E]
    ranked = (scores + bias.float()).view(len(x), groups, -1)
    of_group = ranked.topk(min(2, ranked.shape[-1]), dim=-1).values.sum(-1)  # [T, groups]
    kept = torch.zeros_like(of_group, dtype=torch.bool)
    kept = kept.scatter(1, of_group.topk(kept_groups, dim=-1).indices, True)
    chosen = ranked.masked_fill(~kept[:, :, None], float("-inf")).flatten(1).topk(k, dim=-1).indices
    weights = scores.gather(1, chosen)
    if k > 1:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return chosen, weights * scale
