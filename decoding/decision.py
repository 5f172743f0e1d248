"""Which positions a pass commits, and to which tokens.

Shapes: N canvases, n columns of a block, M masked positions, D hidden, V vocabulary; G = 2 with guidance
(conditional, unconditional), otherwise 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from lift_harness.decoding.batch import Batch, Lane, numbers
from lift_harness.decoding.config import DecodingConfig
from lift_harness.decoding.sampling import Choice, choose
from lift_harness.decoding.schedules import ADAPTIVE, highest

LOGITS_AT_ONCE = 2**24  # numbers: bounds the memory of a projection


class Decision(NamedTuple):
    """What each lane commits.

    Attributes:
        commits: bool [N, n].
        tokens: int64 [N, n], the candidates; anything where not masked.
        confidence: float32 [N, n], theirs; -inf where not masked.
        counts: positions that each lane commits, known to the host.
    """

    commits: Tensor
    tokens: Tensor
    confidence: Tensor
    counts: list[int]


def decide(batch: Batch, lanes: list[Lane], columns: Tensor, hidden: Tensor) -> Decision:
    """Choose from hidden states [G, N, n, D] at `columns` [N, n], masked ones first."""
    parts, begin = [], 0
    for config, group in groupby(lanes, key=lambda lane: lane.row.request.config):
        alike = list(group)
        here = slice(begin, begin := begin + len(alike))
        parts.append(decide_alike(batch, alike, columns[here], hidden[:, here], config))
    commits, tokens, sure, counts = zip(*parts, strict=True)
    return Decision(torch.cat(commits), torch.cat(tokens), torch.cat(sure), sum(counts, []))


def decide_alike(
    batch: Batch, lanes: list[Lane], columns: Tensor, hidden: Tensor, config: DecodingConfig
) -> Decision:
    """`decide` for lanes with the same settings."""
    n, device = columns.shape[1], columns.device
    left = torch.tensor([lane.left for lane in lanes])
    masked = (torch.arange(n) < left[:, None]).flatten().nonzero()[:, 0].to(device)  # [M], known to the host
    keys = noise_keys(lanes, columns, masked) if config.temperature or config.remasking == "random" else []
    choice = choose_all(batch, hidden.flatten(1, 2)[:, masked], config, keys)

    def table(values: Tensor, elsewhere: float) -> Tensor:
        return values.new_full((columns.numel(),), elsewhere).scatter(0, masked, values).view(columns.shape)

    tokens, sure = table(choice.token, 0), table(choice.confidence, -torch.inf)
    planned = [lane.planned() for lane in lanes]
    counts = [count for count in planned if count is not None]
    if len(counts) == len(lanes):
        return Decision(highest(sure, numbers(counts, device)), tokens, sure, counts)
    entropy = sure if choice.entropy is None else table(choice.entropy, torch.inf)

    def count(ranked: Tensor, order: Tensor) -> Tensor:
        return ADAPTIVE[config.schedule](config, ranked, entropy.gather(1, order))

    commits = highest(sure, count)
    return Decision(commits, tokens, sure, commits.sum(-1).tolist())


def choose_all(batch: Batch, states: Tensor, config: DecodingConfig, keys: list[Tensor]) -> Choice:
    """`choose` for hidden states [G, M, D], projected a bounded number at a time."""
    batch.counts.update(projected=states.shape[0] * states.shape[1])
    found = []
    for here in pieces(states.shape[1], batch.model.config.vocab_size):
        logits = guide([batch.model.logits_at(half[here]) for half in states], config.cfg_scale)
        found.append(choose(logits, config, batch.mask_id, [key[here] for key in keys]))
    token, sure, entropy = zip(*found, strict=True)
    return Choice(torch.cat(token), torch.cat(sure), None if entropy[0] is None else torch.cat(entropy))


def pieces(positions: int, vocabulary: int) -> Iterator[slice]:
    """Slices of so many positions, each of a projection that memory can hold."""
    at_once = max(1, LOGITS_AT_ONCE // vocabulary)
    for begin in range(0, positions, at_once):
        yield slice(begin, begin + at_once)


def guide(logits: list[Tensor], scale: float) -> Tensor:
    """Classifier-free guidance: un + (s + 1) (cond - un) (LLaDA, equation 16); without it the logits."""
    if len(logits) == 1:
        return logits[0]
    conditional, unconditional = logits
    return unconditional + (scale + 1) * (conditional - unconditional)


def noise_keys(lanes: list[Lane], columns: Tensor, masked: Tensor) -> list[Tensor]:
    """(request, sample, position, step) of each masked position, each int64 [M]."""
    values = [[lane.row.request.key, lane.row.request.sample, lane.row.steps + lane.ahead] for lane in lanes]
    request, sample, step = torch.tensor(values, device=columns.device).unbind(1)
    table = (request[:, None], sample[:, None], columns, step[:, None])
    return [column.expand(columns.shape).flatten()[masked] for column in table]
