"""What all objectives share: the batch, the noise, the loss they return, and the weighted cross-entropy.

Shapes: B examples, N tokens a row (prompt, response, padding), L_b response tokens in row b (padding
with end-of-text up to N counts as response, LLaDA's guideline).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lift_harness import keyed_random
from lift_harness.keyed_random import keyed_bits, keyed_uniform
from lift_harness.models.clean_text import CleanText
from lift_harness.training.vocabulary import sharded, token_nll

EPS = 1e-3  # t is drawn from [EPS, 1]: 1/t stays bounded (LLaDA, arXiv 2502.09992, algorithm 2)
ALL_TIMES = (EPS, 1.0)


@dataclass(frozen=True)
class Batch:
    """Clean text.

    Attributes:
        x0: int64 [B, N], prompt and response.
        response: bool [B, N], True on response tokens (the only ones that are ever masked).
        example_id: int64 [B], keys the noise.
        mask_id: the id that hides a token.
        priority: bool [B, N], tokens that the density objective masks more often, or None.
        padding: bool [B, N], what fills a row up behind its text (it counts as response), or None: there is
            none.
        segment: int64 [R, W], where several texts share a row as it passes the model, which of them; or None.
        place: int64 [B, N], where they do, of each token in these rows: row x W + column, -1 nowhere; None:
            rows pass as they are.
        block_size: of the model (set by the objective); None: bidirectional.
        clean: what the passes of one step share of it, for a model with blocks (`with_clean_text`).
        width: N of the text whose blocks are the rows (`in_blocks`); None: rows are texts.
    """

    x0: Tensor
    response: Tensor
    example_id: Tensor
    mask_id: int
    priority: Tensor | None = None
    padding: Tensor | None = None
    segment: Tensor | None = None
    place: Tensor | None = None
    block_size: int | None = None
    clean: CleanText | None = None
    width: int | None = None

    @property
    def lengths(self) -> Tensor:
        """Response tokens of each row, int64 [B]."""
        return self.response.sum(-1)

    @property
    def position(self) -> Tensor:
        """Index of each token within its response, int64 [B, N] (negative in the prompt)."""
        return self.response.long().cumsum(-1) - 1

    @property
    def first(self) -> Tensor:
        """The first column of each text in the rows that pass the model: bool [1 or R, W]."""
        if self.segment is None:
            width = self.width or self.x0.shape[1]
            return torch.arange(width, device=self.x0.device)[None] == 0
        first = self.segment != self.segment.roll(1, dims=1)
        first[:, 0] = True
        return first

    # ------------------------------------------------------------ blocks of a model

    def in_blocks(self) -> Batch:
        """Each block as a row of its own, whose noise is its own; the model still sees whole texts.

        A text of one block stays as it is, noise included.
        """
        size = self.block_size
        if size is None or size >= self.x0.shape[1]:
            return self
        parts = self.changed(lambda x: blocks(x, size), "x0", "response", "priority", "padding")
        number = torch.arange(len(parts["x0"]) // len(self.x0), device=self.x0.device)
        example = self.example_id[:, None]
        keys = torch.where(number == 0, example, keyed_bits(example, number)).flatten()
        return replace(self, **parts, example_id=keys, width=self.x0.shape[1])

    def whole_rows(self, x: Tensor) -> Tensor:
        """x [B, N] as rows of texts, [.., width], where rows are blocks."""
        return x if self.width is None else joined(x, self.width)

    def passed(self, x: Tensor) -> Tensor:
        """x [B, N] as the rows that pass the model, [R, W]: packed where texts share rows, in their order.

        Nothing (0, False) is where no text is.
        """
        x = self.whole_rows(x)
        if self.place is None or self.segment is None:
            return x
        end = self.segment.numel()
        place = self.place.where(self.place >= 0, end).flatten()
        return x.new_zeros(end + 1).scatter_(0, place, x.flatten())[:end].view_as(self.segment)

    def twice(self) -> Batch:
        """Every row a second time, after the first ones."""
        again = self.changed(lambda x: x.repeat(2, 1), "x0", "response", "priority", "padding", "segment")
        clean, place = self.clean, self.place
        if clean is not None:
            clean = clean.rows(torch.arange(len(clean.ids), device=self.x0.device).repeat(2))
        if place is not None and self.segment is not None:
            place = torch.cat((place, (place + self.segment.numel()).where(place >= 0, place)))
        return replace(self, **again, example_id=self.example_id.repeat(2), clean=clean, place=place)

    def changed(self, by: Callable[[Tensor], Tensor], *names: str) -> dict[str, Any]:
        """What some of its tensors become, as arguments of `replace`; None stays None."""
        given = {name: getattr(self, name) for name in names}
        return {name: None if x is None else by(x) for name, x in given.items()}


def blocks(x: Tensor, size: int) -> Tensor:
    """The blocks of x [B, N] as rows: [B * number, size], filled up with 0 or False."""
    return F.pad(x, (0, -x.shape[1] % size)).reshape(-1, size)


def joined(x: Tensor, width: int) -> Tensor:
    """Rows that are blocks, put together into rows of a width: the inverse of `blocks`."""
    number = -(-width // x.shape[1])
    return x.reshape(-1, number * x.shape[1])[:, :width]


@dataclass(frozen=True)
class NoiseKey:
    """What the noise of a batch is a function of, together with example id and position.

    Attributes:
        seed: of the training.
        epoch: from 0.
        t_range: lowest and highest diffusion time.
    """

    seed: int
    epoch: int
    t_range: tuple[float, float] = field(default=ALL_TIMES, kw_only=True)

    def per_example(self, stream: int, batch: Batch) -> Tensor:
        """Uniform (0, 1) numbers [B], float64."""
        return keyed_uniform(self.seed, self.epoch, stream, batch.example_id)

    def per_token(self, stream: int, batch: Batch) -> Tensor:
        """Uniform (0, 1) numbers [B, N], float64."""
        return keyed_uniform(self.seed, self.epoch, stream, batch.example_id[:, None], batch.position)

    def t(self, batch: Batch) -> Tensor:
        """Diffusion times [B], uniform in `t_range`."""
        low, high = self.t_range
        return (high - low) * self.per_example(keyed_random.TRAINING_TIME, batch) + low

    def mask_below(self, rate: Tensor, batch: Batch) -> Tensor:
        """bool [B, N]: response tokens masked independently with probability `rate` ([B] or [B, N])."""
        rate = rate[:, None] if rate.ndim == 1 else rate
        return (self.per_token(keyed_random.TRAINING_MASK, batch) < rate) & batch.response

    def rho(self, batch: Batch) -> Tensor:
        """Uniform (0, 1) numbers [B] for the look-ahead rho."""
        return self.per_example(keyed_random.TRAINING_RHO, batch)

    def select(self, batch: Batch) -> Tensor:
        """Uniform (0, 1) numbers [B, N] that rank tokens at random."""
        return self.per_token(keyed_random.TRAINING_SELECT, batch)

    def regime(self, batch: Batch) -> Tensor:
        """Uniform (0, 1) numbers [B] that draw a regime where t does not decide it."""
        return self.per_example(keyed_random.TRAINING_REGIME, batch)


@dataclass(frozen=True)
class Loss:
    """What an objective returns: loss = sum of weight * -log p(x0) over the response tokens to divide by.

    R rows: the B of the batch, and where a method trains a complementary view (density) B more after them.

    Attributes:
        loss: scalar with gradient; 0 where nothing is masked.
        inputs: int64 [R, N], what the gradient pass saw.
        supervised: bool [R, N], tokens with a loss.
        weight: float32 [R, N], weight of each token's loss, 0 where not supervised.
        t: float64 [R], diffusion time: the mean masking rate that the view is meant to have.
        rho: float64 [R], look-ahead (0 where the method has none).
        confidence: float32 [B, N] or None, p(x0) by which a method chose; NaN where it did not look.
        regime: int64 [B] or None, which masked tokens a row learnt: HARDEST, RANDOM or EASIEST
            (objectives/lookahead.py). A row without response tokens has one that means nothing.
    """

    loss: Tensor
    inputs: Tensor
    supervised: Tensor
    weight: Tensor
    t: Tensor
    rho: Tensor
    confidence: Tensor | None = None
    regime: Tensor | None = None


def weighted_loss(
    model: nn.Module,
    batch: Batch,
    inputs: Tensor,
    supervised: Tensor,
    weight: Tensor,
    num_items: Tensor | int | None,
) -> Tensor:
    """Sum over supervised tokens of weight * -log p(x0), over the number of response tokens.

    Args:
        model: called once, with gradient, on `inputs` [B, N].
        batch: clean text.
        inputs: noised text [B, N].
        supervised: bool [B, N].
        weight: [B, N].
        num_items: response tokens to divide by; None for those of the batch (gradient accumulation
            passes those of all its batches).
    """
    nll = token_nll(model, batch, inputs, supervised)  # [M]
    return (nll * weight[supervised]).sum() / items(batch, num_items)


def items(batch: Batch, num_items: Tensor | int | None) -> Tensor | int:
    """What a batch's loss is divided by: its response tokens (at least 1), or what is asked for."""
    return batch.response.sum().clamp(min=1) if num_items is None else num_items


@contextmanager
def scoring(model: nn.Module) -> Iterator[None]:
    """No gradient and no dropout: a confidence is a property of the model, not of a dropout draw."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def confidences(model: nn.Module, batch: Batch, inputs: Tensor, masked: Tensor, rows: Tensor) -> Tensor:
    """p(x0) of the masked tokens in the given rows; float32 [B, N], NaN elsewhere.

    Args:
        model: called once without gradient, on the rows that need it; not at all when none does.
        batch: clean text.
        inputs: noised text [B, N].
        masked: bool [B, N].
        rows: bool [B].
    """
    confidence = torch.full(batch.x0.shape, float("nan"), device=batch.x0.device)
    at = masked & rows[:, None]
    # With sharded weights the other processes wait for this one's part of them.
    if sharded(model) or at.any():
        with scoring(model):
            confidence[at] = (-token_nll(model, batch, inputs, at, all_rows=False)).exp()
    return confidence


def lowest(score: Tensor, among: Tensor, k: Tensor) -> Tensor:
    """bool [B, N]: in each row b the k[b] tokens of `among` with the lowest score, ties to the left."""
    order = score.masked_fill(~among, float("inf")).argsort(dim=-1, stable=True)
    place = torch.arange(order.shape[-1], device=order.device)
    rank = torch.empty_like(order).scatter_(-1, order, place.expand_as(order))
    return (rank < k[:, None]) & among
