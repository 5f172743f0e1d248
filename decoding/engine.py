"""Block-wise decoding of masked diffusion language models (LLaDA, arXiv 2502.09992, algorithm 5).

A canvas per request: its prompt, then `gen_length` masks, filled block by block from the left. Prompts
of different lengths share a batch, padded on the left: padding is hidden from attention, positions
count from the request's first token and random numbers are keyed by request, so that what comes out
does not depend on the company. Logits are projected only at the masked positions of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lift_harness.decoding.config import DecodingConfig
from lift_harness.decoding.sampling import candidates, confidence
from lift_harness.decoding.schedules import commit
from lift_harness.errors import LiftError


@dataclass(frozen=True)
class Generation:
    """What was decoded for one request.

    Attributes:
        ids: the generated region, `gen_length` tokens unless stopped early (then whole blocks).
        step: for each of them the index of the forward pass that committed it.
        confidence: for each of them its confidence when it was committed.
        forward_passes: passes that this request took part in.
    """

    ids: list[int]
    step: list[int]
    confidence: list[float]
    forward_passes: int


@dataclass
class Canvas:
    """A batch of requests being decoded. P is the longest prompt, G = gen_length, L = P + G."""

    ids: Tensor  # int64 [B, L], prompts padded on the left
    real: Tensor  # bool [B, L], False on padding
    position: Tensor  # int64 [B, L], counted from each request's first token
    prompt: Tensor  # bool [B, L]
    request: Tensor  # int64 [B]
    sample: Tensor  # int64 [B]
    step: Tensor  # int64 [B, L]
    confidence: Tensor  # float32 [B, L]
    passes: Tensor  # int64 [B]

    def rows(self, index: Tensor) -> Canvas:
        """The requests at `index`."""
        return Canvas(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    config: DecodingConfig,
    *,
    mask_id: int,
    eos_id: int | Sequence[int] | None = None,
    requests: Sequence[int] | None = None,
    samples: Sequence[int] | None = None,
    batch_size: int = 16,
    on_done: Callable[[int, Generation], None] | None = None,
) -> list[Generation]:
    """Decode every prompt; the results come in the order of the prompts.

    Args:
        model: has `hidden_states(input_ids, attention_mask, position_ids)` and `logits_at(hidden)`.
        prompts: token ids, not empty.
        config: decoding settings.
        mask_id: the id of the mask token.
        eos_id: id or ids that end the text, for `early_stop`.
        requests: number that keys each prompt's randomness; its index by default.
        samples: which of several samples of the request this is; 0 by default.
        batch_size: requests decoded together.
        on_done: called with the index and result of each finished request.

    Raises:
        LiftError: an empty prompt, or one that leaves no room for `gen_length` in the model's context.
    """
    check_fits(model, prompts, config)
    requests = range(len(prompts)) if requests is None else requests
    samples = [0] * len(prompts) if samples is None else samples
    stops = [] if eos_id is None or not config.early_stop else [eos_id] if isinstance(eos_id, int) else eos_id
    stop_ids = torch.tensor(list(stops), dtype=torch.int64, device=model.device)
    done: dict[int, Generation] = {}
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    for start in range(0, len(by_length), batch_size):
        chosen = by_length[start : start + batch_size]
        canvas = lay_out(
            [prompts[i] for i in chosen],
            [requests[i] for i in chosen],
            [samples[i] for i in chosen],
            config,
            mask_id,
            model.device,
        )
        for row, result in decode(model, canvas, config, mask_id, stop_ids):
            done[chosen[row]] = result
            if on_done:
                on_done(chosen[row], result)
    return [done[i] for i in range(len(prompts))]


def check_fits(model: Any, prompts: Sequence[Sequence[int]], config: DecodingConfig) -> None:
    """Refuse prompts that are empty or too long for the model's context."""
    context = model.config.max_position_embeddings
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise LiftError(f"prompt {i} is empty; a request needs at least one token")
        if len(prompt) + config.gen_length > context:
            raise LiftError(
                f"prompt {i} has {len(prompt)} tokens and gen_length={config.gen_length}: more than the "
                f"model's context of {context}; shorten the prompt or lower gen_length"
            )


def lay_out(
    prompts: Sequence[Sequence[int]],
    requests: Sequence[int],
    samples: Sequence[int],
    config: DecodingConfig,
    mask_id: int,
    device: torch.device,
) -> Canvas:
    """The canvas of a batch: each prompt against the right edge of its region, then the masks."""
    widest = max(map(len, prompts))
    ids = torch.full((len(prompts), widest + config.gen_length), mask_id)
    real = torch.ones(ids.shape, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        real[row, : widest - len(prompt)] = False
        ids[row, widest - len(prompt) : widest] = torch.tensor(list(prompt))
    position = (real.long().cumsum(-1) - 1).clamp(min=0)
    prompt_mask = real & (torch.arange(ids.shape[1]) < widest)
    return Canvas(
        ids=ids.to(device),
        real=real.to(device),
        position=position.to(device),
        prompt=prompt_mask.to(device),
        request=torch.tensor(list(requests), dtype=torch.int64, device=device),
        sample=torch.tensor(list(samples), dtype=torch.int64, device=device),
        step=torch.full(ids.shape, -1, device=device),
        confidence=torch.zeros(ids.shape, device=device),
        passes=torch.zeros(len(prompts), dtype=torch.int64, device=device),
    )


def decode(
    model: Any, canvas: Canvas, config: DecodingConfig, mask_id: int, stop_ids: Tensor
) -> Iterator[tuple[int, Generation]]:
    """Fill the canvas block by block; yields (row, result) as requests finish."""
    left = canvas.ids.shape[1] - config.gen_length
    row = torch.arange(len(canvas.ids), device=canvas.ids.device)
    for start in range(left, canvas.ids.shape[1], config.block_length):
        end = start + config.block_length
        fill_block(model, canvas, start, end, config, mask_id)
        finished = torch.isin(canvas.ids[:, start:end], stop_ids).any(-1)
        if end == canvas.ids.shape[1]:
            finished[:] = True
        for i in finished.nonzero()[:, 0].tolist():
            yield int(row[i]), result(canvas, i, left, end)
        row, canvas = row[~finished], canvas.rows(~finished)
        if not len(row):
            return


def fill_block(
    model: Any, canvas: Canvas, start: int, end: int, config: DecodingConfig, mask_id: int
) -> None:
    """Commit every position of columns start to end, some with each forward pass."""
    open_ = torch.ones_like(canvas.real[:, start:end])  # [B, W]
    masks, step = open_.sum(-1), 0
    while (rows := open_.any(-1).nonzero()[:, 0]).numel():
        part, open_rows = canvas.rows(rows), open_[rows]
        logits = block_logits(model, part, start, end, open_rows, config.cfg_scale, mask_id)  # [M, V]
        keys = noise_keys(part, start, end, open_rows)
        chosen = candidates(logits, mask_id, config.temperature, config.seed, keys)
        sure = torch.full(open_rows.shape, -torch.inf, device=logits.device)
        sure[open_rows] = confidence(config.remasking, logits, chosen, config.seed, keys)
        tokens = part.ids[:, start:end].clone()
        tokens[open_rows] = chosen
        commits = commit(config, sure, open_rows, masks[rows], step)  # [R, W]
        block = (rows[:, None], torch.arange(start, end, device=rows.device))
        canvas.ids[block] = torch.where(commits, tokens, part.ids[:, start:end])
        canvas.step[block] = torch.where(commits, part.passes[:, None], part.step[:, start:end])
        canvas.confidence[block] = torch.where(commits, sure, part.confidence[:, start:end])
        canvas.passes[rows] += 1
        open_[rows] = open_rows & ~commits
        step += 1


def block_logits(
    model: Any, canvas: Canvas, start: int, end: int, open_: Tensor, cfg_scale: float, mask_id: int
) -> Tensor:
    """Logits [M, V] at the open positions of a block, guided if asked for.

    Guidance: un + (s + 1) (cond - un), where `un` is predicted with the prompt masked (LLaDA, equation 16).
    """
    ids, real, position, where = canvas.ids, canvas.real, canvas.position, open_
    if cfg_scale:
        ids = torch.cat((ids, ids.masked_fill(canvas.prompt, mask_id)))
        real, position, where = (torch.cat((x, x)) for x in (real, position, where))
    hidden = model.hidden_states(ids, None if real.all() else real, position)  # [B, L, D]
    shift = model.logit_shift  # 1 where the model predicts token i at i - 1
    logits = model.logits_at(hidden[:, start - shift : end - shift][where])
    if cfg_scale:
        conditional, unconditional = logits.chunk(2)
        return unconditional + (cfg_scale + 1) * (conditional - unconditional)
    return logits


def noise_keys(canvas: Canvas, start: int, end: int, open_: Tensor) -> list[Tensor]:
    """(request, sample, position, step) of each open position, each int64 [M]."""
    shape = open_.shape
    columns = (
        canvas.request[:, None],
        canvas.sample[:, None],
        canvas.position[:, start:end],
        canvas.passes[:, None],
    )
    return [column.expand(shape)[open_] for column in columns]


def result(canvas: Canvas, row: int, start: int, end: int) -> Generation:
    """The decoded columns start to end of one row."""
    return Generation(
        ids=canvas.ids[row, start:end].tolist(),
        step=canvas.step[row, start:end].tolist(),
        confidence=canvas.confidence[row, start:end].tolist(),
        forward_passes=int(canvas.passes[row]),
    )
