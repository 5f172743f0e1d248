"""Which positions a pass commits, and to which tokens.

Shapes: N canvases, n columns of a block, M masked positions, D hidden, V vocabulary; G = 2 with guidance
(conditional, unconditional), otherwise 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby

import torch
from torch import Tensor

from lift_harness.decoding.batch import Batch, Canvases, Decision
from lift_harness.decoding.config import DecodingConfig
from lift_harness.decoding.row import Row
from lift_harness.decoding.sampling import Choice, choose
from lift_harness.decoding.schedules import ADAPTIVE, EDITING, FROM_THE_LEFT, highest, quota
from lift_harness.decoding.transfer import numbers, on_device

LOGITS_AT_ONCE = 2**24  # numbers: bounds the memory of a projection
ON_GPU = 4  # times as many: each piece reads the whole projection, 1 GB of LLaDA-8B's


def decide(batch: Batch, seen: Canvases, hidden: Tensor) -> Decision:
    """Choose from hidden states [G, N, n, D] at the columns of the canvases."""
    parts, begin = [], 0
    for config, group in groupby(seen.rows, key=lambda row: row.request.config):
        rows = list(group)
        here = slice(begin, begin := begin + len(rows))
        alike = Canvases(rows, seen.slots[here], seen.ids[here], seen.columns[here])
        parts.append(decide_alike(batch, alike, hidden[:, here], config))
    commits, tokens, confidence, counts, edited = zip(*parts, strict=True)
    at = torch.cat(commits), torch.cat(tokens), torch.cat(confidence)
    return Decision(*at, sum(counts, []), sum(edited, []))


def decide_alike(batch: Batch, seen: Canvases, hidden: Tensor, config: DecodingConfig) -> Decision:
    """`decide` for rows with the same settings."""
    rows, columns = seen.rows, seen.columns
    n, device = columns.shape[1], columns.device
    # Masked columns stand first, and the host knows how many: no need to ask the device which they are.
    places = [range(n * place, n * place + row.candidates) for place, row in enumerate(rows)]
    masked = numbers(chain.from_iterable(places), device)  # [M]
    noisy = config.temperature > 0 or config.remasking == "random"
    keys = noise_keys(rows, columns, masked) if noisy else []
    choice = choose_all(batch, hidden.flatten(1, 2).index_select(1, masked), config, keys)

    def table(values: Tensor, elsewhere: float) -> Tensor:
        return values.new_full((columns.numel(),), elsewhere).scatter(0, masked, values).view(columns.shape)

    tokens, confidence = table(choice.token, 0), table(choice.confidence, -torch.inf)
    none = [0] * len(rows)
    planned = [row.planned() for row in rows]
    counts = [count for count in planned if count is not None]
    if len(counts) == len(rows):
        ranked = confidence
        if config.schedule in FROM_THE_LEFT:
            ranked = torch.arange(n, 0, -1, device=device).expand(confidence.shape)
        return Decision(highest(ranked, numbers(counts, device)), tokens, confidence, counts, none)
    entropy = confidence if choice.entropy is None else table(choice.entropy, torch.inf)
    at_least = numbers((least(row) for row in rows), device)

    def count(ranked: Tensor, order: Tensor) -> Tensor:
        return ADAPTIVE[config.schedule](config, ranked, entropy.gather(1, order), at_least)

    # From here on the host waits: one or two numbers a row.
    if config.schedule not in EDITING:
        commits = highest(confidence, count)
        return Decision(commits, tokens, confidence, commits.sum(-1).tolist(), none)
    assert config.editing_threshold is not None
    fillable = torch.arange(n, device=device) < numbers((row.fillable for row in rows), device)[:, None]
    fills = highest(confidence.masked_fill(~fillable, -torch.inf), count)
    differs = tokens != seen.ids.gather(1, columns)
    edits = ~fillable & differs & (confidence > config.editing_threshold)
    counts, edited = torch.stack((fills.sum(-1), edits.sum(-1))).tolist()
    return Decision(fills | edits, tokens, confidence, counts, edited)


def least(row: Row) -> int:
    """How many masks a row fills at least under the schedules of `schedules.ADAPTIVE` that have a quota."""
    config = row.request.config
    return config.num_to_transfer or quota(config, row.here[2], row.left, row.step)


def choose_all(batch: Batch, states: Tensor, config: DecodingConfig, keys: list[Tensor]) -> Choice:
    """`choose` for hidden states [G, M, D], projected a bounded number at a time."""
    batch.counts.update(projected=states.shape[0] * states.shape[1])
    choices = []
    for here in pieces(states.shape[1], batch.model.config.vocab_size, states.device.type):
        logits = guide([batch.model.logits_at(half[here]) for half in states], config.cfg_scale)
        choices.append(choose(logits, config, batch.mask_id, [key[here] for key in keys]))
    token, confidence, entropy = zip(*choices, strict=True)
    return Choice(torch.cat(token), torch.cat(confidence), None if entropy[0] is None else torch.cat(entropy))


def pieces(positions: int, vocabulary: int, device: str) -> Iterator[slice]:
    """Slices of so many positions, each of a projection that memory can hold."""
    at_once = max(1, LOGITS_AT_ONCE * (ON_GPU if device == "cuda" else 1) // vocabulary)
    for begin in range(0, positions, at_once):
        yield slice(begin, begin + at_once)


def guide(logits: list[Tensor], scale: float) -> Tensor:
    """Classifier-free guidance: un + (s + 1) (cond - un) (LLaDA, equation 16); without it the logits."""
    if len(logits) == 1:
        return logits[0]
    conditional, unconditional = logits
    return unconditional + (scale + 1) * (conditional - unconditional)


def noise_keys(rows: list[Row], columns: Tensor, masked: Tensor) -> list[Tensor]:
    """(request, sample, position, step) of each masked position, each int64 [M]."""
    values = torch.tensor([[row.request.key, row.request.sample, row.steps] for row in rows])
    request, sample, step = on_device(values, columns.device)[:, :, None].unbind(1)  # [N, 1]
    return [key.expand(columns.shape).flatten()[masked] for key in (request, sample, columns, step)]
