"""What the objectives ask about tokens: -log p and entropy, at chosen positions of one forward pass.

The output projection of masked diffusion models is wide (LLaDA: 126,464 tokens), so the logits of all
positions would be the largest tensor of a training step: 4 GB for 8,192 positions in float32, several times.
Here they exist for a few positions at a time (`LOGITS_AT_ONCE`), and no more are kept:

* without gradient, a piece's logits become one number a position;
* where the projection is frozen (LoRA), the gradient towards the hidden states is made at once, in the
  forward pass, up to the factor that only the backward pass knows, which is one number a position;
* where it is trained, the logits are computed a second time in the backward pass;
* where it is not a plain matrix (quantised, with adapters, several layers), each piece is a checkpoint.

All of it happens inside the model's `forward`, where wrappers (DistributedDataParallel, FSDP) gather and
watch parameters. Why not liger-kernel's: docs/performance.md.

Shapes: B rows, N tokens a row, M positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lift_harness.models.clean_text import CleanText, Keeper
from lift_harness.models.layers import project

if TYPE_CHECKING:
    from lift_harness.training.objectives.base import Batch

# Logits in memory at a time: many enough for efficient products, few enough for memory. On the CPU they stay
# below 32 MiB, beyond which the C library asks the system for cleared memory each time (docs/performance.md).
LOGITS_AT_ONCE = {"cpu": 7 * 2**20, "cuda": 2**26}


def token_nll(model: nn.Module, batch: Batch, inputs: Tensor, at: Tensor, all_rows: bool = True) -> Tensor:
    """-log p of the clean text at the M True positions of `at`, with gradient: float32 [M], row-major.

    Args:
        model: called once on `inputs`.
        batch: the clean text [B, N], which a model with blocks sees before each of them.
        inputs: int64 [B, N], noised text.
        at: bool [B, N].
        all_rows: pass the rows too that have no position in `at`; else at least one row is passed.
    """
    return predicted(model, batch, inputs, at, partial(nll, targets=batch.x0[at]), all_rows)


def token_entropy(model: nn.Module, batch: Batch, inputs: Tensor, at: Tensor) -> Tensor:
    """Entropy in nats of the prediction at the M True positions of `at`: float32 [M], without gradient."""
    with torch.no_grad():
        return predicted(model, batch, inputs, at, entropy)


# ---------------------------------------------------------------- what the model sees, and where it predicts


def unwrapped(model: Any) -> Any:
    """What is inside DistributedDataParallel."""
    return getattr(model, "module", model)


def shifted(model: Any) -> int:
    """1 if the model predicts token i at position i - 1 (Dream), else 0 (LLaDA)."""
    return int(getattr(unwrapped(model), "logit_shift", 0))


def columns_of_a_block(model: Any) -> int | None:
    """The model's block size; None: bidirectional."""
    return getattr(unwrapped(model), "block_size", None)


def predicted(
    model: nn.Module,
    batch: Batch,
    inputs: Tensor,
    at: Tensor,
    reduce: Callable[[Any, Tensor], Tensor],
    all_rows: bool = True,
) -> Tensor:
    """`reduce(model, hidden [M, D])` of the hidden states that predict the tokens at `at`: [M].

    A shifted model has none for the first token of a text; there, as in Dream's own code, its own is taken.
    """
    inputs, at, first = batch.passed(inputs), batch.passed(at), batch.first
    clean = batch.clean or clean_text(model, batch)
    if clean is not None and clean.drawn and not torch.is_grad_enabled():
        clean = clean.unread()  # a confidence is no matter of a dropout draw
    if not all_rows:
        rows = at.any(-1)
        rows[0] |= ~rows.any()
        inputs, at, clean = inputs[rows], at[rows], clean and clean.rows(rows)
        first = first if len(first) == 1 else first[rows]
    if not shifted(model):
        return one_pass(model, inputs, at, clean, reduce)
    where = (at & ~first).roll(-1, dims=1) | (at & first)
    number = (where.flatten().cumsum(0) - 1).view_as(at)  # of a position, among those of `where`
    source = number.where(first, number.roll(1, dims=1))[at]  # [M]
    reduce_shifted = lambda model, hidden: reduce(model, hidden.index_select(0, source))  # noqa: E731
    return one_pass(model, inputs, where, clean, reduce_shifted)


def one_pass(
    model: nn.Module,
    inputs: Tensor,
    where: Tensor,
    clean: CleanText | None,
    reduce: Callable[[Any, Tensor], Tensor],
) -> Tensor:
    """`reduce` of the hidden states at `where` [B, N]; of blocks without any none are computed."""
    if clean is None:
        return model(input_ids=inputs, logits_mask=where, reduce=reduce).loss
    clean = clean.around(where)
    inputs, where = inputs[:, clean.noised], where[:, clean.noised]
    return model(input_ids=inputs, logits_mask=where, reduce=reduce, clean=clean).loss


# ---------------------------------------------------------------- the clean text of a model with blocks


def with_clean_text(model: nn.Module, batch: Batch) -> Batch:
    """The batch of one step, with what all passes of a model with blocks share: its clean text, read once.

    It is read with gradient; passes without one leave that out. Not shared is what sharded weights would have
    to stay together for, and a dropout draw with passes without gradient: those passes read it themselves.
    """
    clean = clean_text(model, batch)
    if clean is not None and not sharded(model):
        keeper, nothing = Keeper(), torch.zeros_like(clean.ids, dtype=torch.bool)
        # Beside DistributedDataParallel: it looks at the graph in the pass that ends in the loss.
        unwrapped(model)(
            **clean.pass_of_its_own, cache=keeper, logits_mask=nothing, reduce=lambda _, hidden: hidden
        )
        clean = replace(clean, kept=keeper.kept, drawn=drops_out(model))
    return replace(batch, clean=clean, block_size=columns_of_a_block(model))


def clean_text(model: nn.Module, batch: Batch) -> CleanText | None:
    """What noised copies of the batch see; None where there is nothing before their block."""
    size, ids = columns_of_a_block(model), batch.passed(batch.x0)
    if size is None or (size >= ids.shape[1] and batch.segment is None):
        return None
    columns = torch.arange(ids.shape[1], device=ids.device)[None]
    if batch.segment is None:
        last = (ids.shape[1] - 1) // size * size  # the last block is before none
        return CleanText(ids[:, :last], columns, torch.zeros_like(columns), size)
    positions = columns - (batch.first * columns).cummax(dim=1).values
    return CleanText(ids, positions, batch.segment, size)


def drops_out(model: nn.Module) -> bool:
    """Whether dropout is active."""
    return any(isinstance(part, nn.Dropout) and part.p > 0 and part.training for part in model.modules())


def sharded(model: nn.Module) -> bool:
    """Whether the weights are spread over processes (FSDP, DeepSpeed ZeRO-3): all must pass as often."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return False
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    return isinstance(model, (FSDPModule, FullyShardedDataParallel)) or any(
        hasattr(parameter, "ds_id") for parameter in model.parameters()
    )


# ---------------------------------------------------------------- from hidden states, inside `forward`


def nll(model: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """-log p of `targets` [M] by hidden states [M, D]: float32 [M]."""
    matrix = model.output_matrix()
    if matrix is not None and torch.is_grad_enabled():
        return LinearNLL.apply(hidden.to(product_dtype(matrix[0])), *matrix, targets)  # type: ignore[no-any-return]
    return in_pieces(model, hidden, nll_of_logits, targets)


def entropy(model: Any, hidden: Tensor) -> Tensor:
    """Entropies of the predictions by hidden states [M, D]: float32 [M]."""
    return in_pieces(model, hidden, entropy_of_logits)


def nll_of_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(logits [M, V]) at `targets` [M], float32 whatever the logits are."""
    return -logits.log_softmax(-1, dtype=torch.float32).gather(1, targets[:, None])[:, 0]


def entropy_of_logits(logits: Tensor) -> Tensor:
    """-sum p log p of softmax(logits [M, V]), float32. A token that is ruled out (-inf) adds 0."""
    log_p = logits.log_softmax(-1, dtype=torch.float32).clamp_(min=-200)  # exp(-200) is 0 in float32
    return -log_p.exp().mul_(log_p).sum(-1)


def in_pieces(model: Any, hidden: Tensor, of_logits: Callable[..., Tensor], *per_position: Tensor) -> Tensor:
    """`of_logits(logits [m, V], *per_position [m])` piece by piece: float32 [M]."""
    matrix = model.output_matrix()
    logits_at = model.logits_at if matrix is None else dense(matrix)

    def piece(hidden: Tensor, *per_position: Tensor) -> Tensor:
        logits = logits_at(hidden)
        return of_logits(logits, *(values.to(logits.device) for values in per_position)).to(hidden.device)

    if torch.is_grad_enabled():
        piece = partial(checkpoint, piece, use_reentrant=False)  # type: ignore[assignment]
    width = getattr(model.config, "embedding_size", None) or model.config.vocab_size
    return torch.cat([piece(hidden[i], *(v[i] for v in per_position)) for i in pieces(hidden, width)])


def dense(matrix: tuple[Tensor, Tensor | None]) -> Callable[[Tensor], Tensor]:
    """The output projection as a function, its weight cast once and not with every piece."""
    dtype = product_dtype(matrix[0])
    weight, bias = (None if part is None else part.to(dtype) for part in matrix)
    return lambda hidden: project(hidden.to(dtype), weight, bias)  # type: ignore[arg-type]


def product_dtype(weight: Tensor) -> torch.dtype:
    """What the product with `weight` is computed in: autocast's choice, or the weight's own."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def pieces(hidden: Tensor, width: int) -> Iterator[slice]:
    """Slices of positions [M, D] whose logits may exist at a time; one, empty, if there are none."""
    at_once = max(1, LOGITS_AT_ONCE.get(hidden.device.type, 2**26) // width)
    for begin in range(0, max(1, len(hidden)), at_once):
        yield slice(begin, begin + at_once)


# ---------------------------------------------------------------- with a gradient


class LinearNLL(torch.autograd.Function):
    """-log softmax(hidden @ weight.T + bias) at `targets`: float32 [M] from [M, D], [V, D], [V] and [M].

    d nll_i / d logits_i = p_i - onehot(target_i): all but the incoming gradient g_i is known in the forward
    pass. Where the logits of all positions may exist at a time anyway, this error [M, V] is kept. Else it is
    made piece by piece: where the weight is frozen in the forward pass, and becomes a gradient towards the
    hidden states, of which g_i is a factor; where it is trained again in the backward pass, since in the
    weight's gradient the positions are summed, each with its g_i. Positions with g_i = 0 (LIFT-A scores more
    than it learns) are left out.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
    ) -> Tensor:
        matrix, offset = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        found = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        slices = list(pieces(hidden, len(weight)))
        many, trained = len(slices) > 1, any(ctx.needs_input_grad[1:3])
        slope = torch.empty_like(hidden) if many and not trained else None
        kept = None
        for i in slices:
            logits = F.linear(hidden[i], matrix, offset)
            if many and trained:
                found[i] = nll_of_logits(logits, targets[i])
                continue
            found[i], error = nll_and_error(logits, targets[i])
            kept = error.to(hidden.dtype)
            if slope is not None:
                torch.mm(kept, matrix, out=slope[i])
        if slope is None:
            ctx.save_for_backward(hidden, weight, bias, targets, None if many else kept)
        else:
            ctx.save_for_backward(slope)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        if len(ctx.saved_tensors) == 1:
            (slope,) = ctx.saved_tensors
            return (slope * grad[:, None]).to(slope.dtype), None, None, None
        hidden, weight, bias, targets, kept = ctx.saved_tensors
        matrix, offset = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        to_hidden = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        to_weight = to_bias = None
        rows = grad.nonzero()[:, 0]
        for i in pieces(rows, len(weight)):
            some = rows[i]
            if kept is None:
                error = nll_and_error(F.linear(hidden[some], matrix, offset), targets[some])[1]
            else:
                error = kept[some]
            error = error.mul_(grad[some, None]).to(hidden.dtype)
            if to_hidden is not None:
                to_hidden.index_copy_(0, some, error @ matrix)
            if ctx.needs_input_grad[1]:
                to_weight = plus_product(to_weight, error, hidden[some])
            if ctx.needs_input_grad[2]:
                to_bias = plus_product(to_bias, error, torch.ones_like(error[:, :1]))
        return (
            to_hidden,
            None if to_weight is None else to_weight.to(weight.dtype),
            None if to_bias is None else to_bias[:, 0].to(bias.dtype),
            None,
        )


def nll_and_error(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-log p of `targets` [m] and p - onehot(targets) [m, V], both at least float32.

    The greatest probability gives the normaliser, so that one softmax is all that computes exponentials.
    """
    row = torch.arange(len(targets), device=targets.device)
    p = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    found = (logits.amax(-1).to(p.dtype) - logits[row, targets].to(p.dtype)) - p.amax(-1).log()
    p[row, targets] -= 1
    return found, p


def plus_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """Total + a.T @ b, where many are summed in float32 at least; `total` may be changed."""
    if total is None:
        return a.t() @ b
    if total.dtype == a.dtype and total.dtype not in (torch.bfloat16, torch.float16):
        return total.addmm_(a.t(), b)
    return total.float().add_(a.t() @ b)
