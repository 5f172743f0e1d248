"""How likely a masked diffusion model finds a text: its evidence lower bound (ELBO).

log p(x | context) >= E over l ~ U{1..L} and masked sets S of size l of  L/l * sum over i in S of
log p(x_i | the rest)    (LLaDA, arXiv 2502.09992, equation 6)

which is also the mean, over all orders of the L tokens, of the log probability of filling them in so. A model
with blocks finds them one after the other: its bound is the sum of the blocks', each after all that is before
it (Arriola et al. 2025, arXiv 2503.09573, equation 8).

Shapes: R rows (a text with some tokens masked), L tokens of a text, V vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lift_harness.decoding import DecodingConfig
from lift_harness.decoding.contexts import hidden_states
from lift_harness.decoding.decision import pieces
from lift_harness.decoding.request import check_finite
from lift_harness.decoding.sampling import choose
from lift_harness.errors import LiftError, out_of_memory
from lift_harness.keyed_random import LIKELIHOOD_LEVEL, LIKELIHOOD_ORDER, keyed_uniform

GREEDY = DecodingConfig()  # temperature 0, confidence: the candidate's probability


@dataclass(frozen=True)
class Text:
    """Tokens to be scored after a context, the numbers that key their randomness, and a name for messages.

    `block` is that of the model's blocks that the target is (part of), if the text was cut into them.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    key: int = 0
    name: str = field(default="a text", compare=False)
    block: int | None = None

    @property
    def length(self) -> int:
        """Columns of a row."""
        return len(self.context) + len(self.target)

    @property
    def keys(self) -> tuple[int, ...]:
        """What keys its randomness."""
        return (self.key,) if self.block is None else (self.key, self.block)

    def blocks(self, size: int | None) -> list[Text]:
        """The text itself, or its part in each block of so many columns, with all before it as context."""
        if size is None:
            return [self]
        whole, first = self.context + self.target, len(self.context)
        starts = range(first // size * size, len(whole), size)
        parts = []
        for start in starts:
            begin = max(start, first)
            target = whole[begin : start + size]
            parts.append(replace(self, context=whole[:begin], target=target, block=start // size))
        return parts


class Likelihood(NamedTuple):
    """An estimate in nats, its standard error (0 where exact), and the rows it took."""

    value: float
    stderr: float
    rows: int
    exact: bool = False


class Rows(NamedTuple):
    """Which tokens of a text are masked, bool [R, L], and what a row's sum of log p counts, float64 [R]."""

    masked: Tensor
    weight: Tensor
    exact: bool  # whether the weighted sums are to be added, or averaged


class Part(NamedTuple):
    """Some rows of a text, bool [R, L]."""

    text: Text
    masked: Tensor


Pass = Callable[[Any, Sequence[Part], int], Tensor]


def elbo(
    model: Any,
    texts: Sequence[Text],
    *,
    mask_id: int,
    mc_num: int = 128,
    exact_tokens: int = 4,
    seed: int = 0,
    token_budget: int = 8192,
    on_done: Callable[[int, Likelihood], None] | None = None,
) -> list[Likelihood]:
    """The bound for every text, in the order of the texts.

    Args:
        model: as for `decoding.generate`.
        texts: what to score; contexts and targets are not empty.
        mask_id: the id of the mask token.
        mc_num: Monte-Carlo samples of a text (of each block, for a model with blocks; so too the next).
        exact_tokens: targets of up to so many tokens are averaged over all orders, 2^L - 1 rows, no noise.
        seed: of the samples.
        token_budget: columns in a pass, padding included.
        on_done: called with the index and result of each text.

    A text's result does not depend on the others: padding is hidden, and samples are keyed by (seed, key).

    Raises:
        LiftError: a single row does not fit in memory, or the logits for a text are NaN or infinite.
    """
    of_texts = [text.blocks(model.block_size) for text in texts]
    parts = [part for of_text in of_texts for part in of_text]
    owners = [i for i, of_text in enumerate(of_texts) for _ in of_text]
    left, known = Counter(owners), [Likelihood(0.0, 0.0, 0, exact=True)] * len(texts)

    def finish(part: int, one: Likelihood) -> None:
        i = owners[part]
        left[i] -= 1
        known[i] = plus(known[i], one)
        if on_done and not left[i]:
            on_done(i, known[i])

    bounds_of_parts(model, parts, mask_id, mc_num, exact_tokens, seed, token_budget, finish)
    return known


def plus(a: Likelihood, b: Likelihood) -> Likelihood:
    """The sum of two independent estimates."""
    stderr = math.hypot(a.stderr, b.stderr) if a.stderr and b.stderr else a.stderr + b.stderr
    return Likelihood(a.value + b.value, stderr, a.rows + b.rows, a.exact and b.exact)


def bounds_of_parts(
    model: Any,
    texts: Sequence[Text],
    mask_id: int,
    mc_num: int,
    exact_tokens: int,
    seed: int,
    token_budget: int,
    on_done: Callable[[int, Likelihood], None],
) -> None:
    """The bound for every text as it is, not cut into blocks; the arguments are those of `elbo`."""
    rows: dict[int, Rows] = {}
    values: dict[int, list[Tensor]] = {}
    order = sorted(range(len(texts)), key=lambda i: -texts[i].length)  # what does not fit shows at once
    for group in batches(texts, order, rows, exact_tokens, mc_num, seed, token_budget):
        parts = [Part(texts[i], rows[i].masked[here]) for i, here in group]
        sums = halving(sums_of, model, parts, mask_id).split([len(part.masked) for part in parts])
        for (i, _), part_sums in zip(group, sums, strict=True):
            values.setdefault(i, []).append(part_sums)
            if sum(map(len, values[i])) == len(rows[i].weight):
                sums_of_text = torch.cat(values.pop(i))
                check_finite(texts[i].name, sums_of_text.tolist())
                on_done(i, estimate(sums_of_text, rows.pop(i)))


def batches(
    texts: Sequence[Text],
    order: Sequence[int],
    rows: dict[int, Rows],
    exact_tokens: int,
    mc_num: int,
    seed: int,
    token_budget: int,
) -> Iterator[list[tuple[int, slice]]]:
    """Rows to send together: lists of (text, which of its rows). Fills `rows` as it goes."""
    group: list[tuple[int, slice]] = []
    room = 0
    for i in order:
        text = texts[i]
        length = len(text.target)
        exact = length <= exact_tokens
        rows[i] = every_order(length) if exact else samples(length, mc_num, seed, *text.keys)
        begin, n = 0, len(rows[i].weight)
        while begin < n:
            if not group:
                room = max(1, token_budget // text.length)  # the first of a group is its longest
            here = slice(begin, min(n, begin + room))
            group.append((i, here))
            room -= here.stop - here.start
            begin = here.stop
            if not room:
                yield group
                group = []
    if group:
        yield group


def estimate(sums: Tensor, rows: Rows) -> Likelihood:
    """The bound from the rows' sums of log p: their weighted sum over all orders, or the mean of samples."""
    values = sums * rows.weight
    if rows.exact:
        return Likelihood(float(values.sum()), 0.0, len(values), exact=True)
    spread = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Likelihood(float(values.mean()), spread, len(values))


# ---------------------------------------------------------------- which tokens are masked


def every_order(length: int) -> Rows:
    """All non-empty masked sets S, 2^L - 1, weighted so that the sum is the mean over all L! orders.

    In an order the token i is filled in while S (i among it) is masked. Of the L! orders,
    (L - |S|)! (|S| - 1)! come to that: what is left of S before i in any order, the rest after.
    """
    masked = torch.tensor([bits for bits in product((False, True), repeat=length) if any(bits)])
    sizes = masked.sum(-1).tolist()
    total = math.factorial(length)
    weight = [math.factorial(length - size) * math.factorial(size - 1) / total for size in sizes]
    return Rows(masked, torch.tensor(weight, dtype=torch.float64), exact=True)


def samples(length: int, n: int, seed: int, key: int, *more: int) -> Rows:
    """n masked sets whose sizes l are spread evenly over 1..L from a random start, weighted L / l.

    Each size alone is uniform on 1..L, so that the mean is unbiased; together they cover the range, as in
    LLaDA's evaluation, which takes most of the variance away. The masked positions are uniform.
    """
    start = keyed_uniform(LIKELIHOOD_LEVEL, seed, key, *more)
    level = (start + torch.arange(n, dtype=torch.float64) / n) % 1  # [n]
    size = (1 + (level * length).long()).clamp(max=length)
    noise = keyed_uniform(
        LIKELIHOOD_ORDER, seed, key, *more, torch.arange(n)[:, None], torch.arange(length)
    )  # [n, L]
    rank = noise.argsort(-1).argsort(-1)
    return Rows(rank < size[:, None], length / size.double(), exact=False)


# ---------------------------------------------------------------- the passes


def halving(one_pass: Pass, model: Any, parts: Sequence[Part], mask_id: int) -> Tensor:
    """`one_pass(model, parts, mask_id)`, a value for each row [R]; halves what does not fit in memory.

    Raises:
        LiftError: one row alone does not fit.
    """
    try:
        return one_pass(model, parts, mask_id)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        if sum(len(part.masked) for part in parts) == 1:
            raise LiftError(
                f"out of memory with one text of {parts[0].text.length} tokens; use a smaller dtype or a "
                "larger device"
            ) from error
    if len(parts) > 1:
        halves = [parts[: len(parts) // 2], parts[len(parts) // 2 :]]
    else:
        (text, masked) = parts[0]
        halves = [[Part(text, half)] for half in masked.tensor_split(2)]
    return torch.cat([halving(one_pass, model, half, mask_id) for half in halves])


@torch.inference_mode()
def sums_of(model: Any, parts: Sequence[Part], mask_id: int) -> Tensor:
    """Sum of log p over the masked tokens of each row, float64 [R]."""
    # float64: choices are compared by small differences of sums over hundreds of tokens.
    total = torch.zeros(sum(len(part.masked) for part in parts), dtype=torch.float64)
    for row, _, token, logits in masked_logits(model, parts, mask_id):
        chosen = logits.gather(-1, token[:, None])[:, 0]
        total.index_add_(0, row, (chosen - logits.logsumexp(-1)).double().cpu())
    return total


@torch.inference_mode()
def surest(model: Any, parts: Sequence[Part], mask_id: int) -> Tensor:
    """Column of the target that greedy decoding commits, int64 [R]; -1 where it commits another token."""
    n, longest = sum(len(part.masked) for part in parts), max(part.masked.shape[1] for part in parts)
    confidence, right = torch.full((n, longest), -torch.inf), torch.zeros(n, longest, dtype=torch.bool)
    for row, column, token, logits in masked_logits(model, parts, mask_id):
        choice = choose(logits, GREEDY, mask_id, [])
        confidence[row, column] = choice.confidence.cpu()
        right[row, column] = (choice.token == token).cpu()
    led = torch.tensor([leads(model, part.text) for part in parts for _ in part.masked])
    first = led & torch.cat([part.masked[:, 0] for part in parts])
    confidence[first, 1:] = -torch.inf
    best = confidence.argmax(-1, keepdim=True)  # the leftmost of equals; NaN, if there is one
    sure = confidence.gather(1, best).tolist()
    names = [part.text.name for part in parts for _ in part.masked]
    for name, values in zip(names, sure, strict=True):
        check_finite(name, values)
    return torch.where(right.gather(1, best), best, -1)[:, 0]


def leads(model: Any, text: Text) -> bool:
    """Whether a text's first token is known before the others: that of a block, predicted a place earlier."""
    return bool(model.block_size and model.logit_shift and len(text.context) % model.block_size == 0)


def masked_logits(
    model: Any, parts: Sequence[Part], mask_id: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """One pass: row [m], column of the target [m], true token [m] and float32 logits [m, V], piece by piece.

    Rows begin at column 0 and are padded on the right. Tokens and logits are on the model's device.
    """
    device, width = model.device, max(part.text.length for part in parts)
    n, longest = sum(len(part.masked) for part in parts), max(part.masked.shape[1] for part in parts)
    ids, first = torch.zeros(n, width, dtype=torch.int64), 0
    start, length, owner = (torch.zeros(n, dtype=torch.int64) for _ in range(3))
    masked, target = torch.zeros(n, longest, dtype=torch.bool), torch.zeros(n, longest, dtype=torch.int64)
    for number, (text, rows) in enumerate(parts):
        here = slice(first, first := first + len(rows))
        answer = torch.tensor(text.target)
        ids[here, : len(text.context)] = torch.tensor(text.context)
        ids[here, len(text.context) : text.length] = torch.where(rows, mask_id, answer)
        start[here], length[here], owner[here] = len(text.context), text.length, number
        masked[here, : len(answer)], target[here, : len(answer)] = rows, answer
    # Only the targets' columns are projected; a model with shifted logits (Dream) predicts i at i - 1.
    at = (start[:, None] + torch.arange(longest) - model.logit_shift).clamp(0, width - 1)
    hidden = hidden_states(model, ids, length, at, start, owner)  # [R, L, D]
    row, column = masked.nonzero(as_tuple=True)
    for part in pieces(len(row), model.config.vocab_size, device.type):
        logits = model.logits_at(hidden[row[part].to(device), column[part].to(device)]).float()
        yield row[part], column[part], target[row[part], column[part]].to(device), logits


def greedy_matches(
    model: Any,
    texts: Sequence[Text],
    *,
    mask_id: int,
    token_budget: int = 8192,
    on_done: Callable[[int], None] | None = None,
) -> list[bool]:
    """Whether greedy decoding, one token a pass, the surest first, gives each target (LLaDA's check).

    In blocks, where the model has any. A text is out with the first token that differs: only those that match
    take L passes.
    """
    matches = [True] * len(texts)
    blocks = [text.blocks(model.block_size) for text in texts]
    for n in range(max(map(len, blocks), default=0)):
        going = {i: blocks[i][n] for i in range(len(texts)) if matches[i] and n < len(blocks[i])}
        for i, match in greedy_parts(model, going, mask_id, token_budget):
            matches[i] = match
            if on_done and (not match or n == len(blocks[i]) - 1):
                on_done(i)
    return matches


def greedy_parts(
    model: Any, texts: Mapping[int, Text], mask_id: int, token_budget: int
) -> Iterator[tuple[int, bool]]:
    """`greedy_matches` of texts as they are, not cut into blocks: (which, whether), as they come out."""
    order = sorted(texts, key=lambda i: -texts[i].length)
    left = {i: torch.ones(1, len(texts[i].target), dtype=torch.bool) for i in order}
    while left:
        waiting = list(left)
        while waiting:
            room = max(1, token_budget // texts[waiting[0]].length)
            group, waiting = waiting[:room], waiting[room:]
            columns = halving(surest, model, [Part(texts[i], left[i]) for i in group], mask_id).tolist()
            for i, column in zip(group, columns, strict=True):
                if column >= 0:
                    left[i][0, column] = False
                if column < 0 or not left[i].any():
                    del left[i]
                    yield i, column >= 0
