"""What is asked of the engine, and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lift_harness.decoding.config import DecodingConfig
from lift_harness.errors import LiftError


@dataclass(frozen=True, eq=False)
class Request:
    """One canvas to fill.

    Attributes:
        ids: the prompt; with `infill` the whole canvas.
        config: decoding settings; requests with different ones can share a batch.
        key: number that keys its random numbers.
        sample: which of several samples of it this is; also part of that key.
        max_tokens: no more than these are needed: later blocks are not decoded.
        finished: called with the tokens so far after each block; True ends the request.
        infill: fill the masks inside `ids`, in blocks from the first one; nothing is appended, and of
            `gen_length` only the pace (steps a block) counts.
        name: what messages call it, e.g. "lift_gsm8k doc 3"; by default its number.
    """

    ids: tuple[int, ...]
    config: DecodingConfig
    key: int = 0
    sample: int = 0
    max_tokens: int | None = None
    finished: Callable[[list[int]], bool] | None = None
    infill: bool = False
    name: str | None = None

    @property
    def length(self) -> int:
        """Columns of the canvas."""
        return len(self.ids) + (0 if self.infill else self.config.gen_length)

    @property
    def guided(self) -> bool:
        """Whether it needs unconditional logits too."""
        return self.config.cfg_scale > 0

    def blocks(self, mask_id: int) -> list[tuple[int, int, int]]:
        """(first column, end, number of masks) of each block, from the left."""
        width = self.config.block_length
        if self.infill:
            first = self.ids.index(mask_id) if mask_id in self.ids else self.length
            ranges = [(start, min(start + width, self.length)) for start in range(first, self.length, width)]
            counted = [(start, end, self.ids[start:end].count(mask_id)) for start, end in ranges]
            return [block for block in counted if block[2]]
        wanted = self.config.gen_length
        if self.max_tokens is not None:
            wanted = min(wanted, max(1, self.max_tokens))
        first = len(self.ids)
        return [(start, start + width, width) for start in range(first, first + wanted, width)]


@dataclass(frozen=True)
class Generation:
    """What was decoded for one request.

    Attributes:
        ids: the generated region, `gen_length` tokens unless it ended early (then whole blocks); of an
            infilled canvas all of it.
        step: for each of them the decoding step that committed it, from 0; -1 where it was given.
        confidence: for each of them its confidence when it was committed; 0 where it was given.
        forward_passes: passes that this request took part in. The fixed schedule has one a step,
            `speculate` fewer.
    """

    ids: list[int]
    step: list[int]
    confidence: list[float]
    forward_passes: int

    def history(self) -> list[list[tuple[int, int, float]]]:
        """The decoding, step by step: (index in `ids`, token, confidence) of what each step committed."""
        steps: list[list[tuple[int, int, float]]] = [[] for _ in range(max(self.step, default=-1) + 1)]
        for i, (token, step, sure) in enumerate(zip(self.ids, self.step, self.confidence, strict=True)):
            if step >= 0:
                steps[step].append((i, token, sure))
        return steps


def check_finite(name: str, measured: Iterable[float]) -> None:
    """Refuse what was computed from logits with NaN or infinity: it would count as a wrong answer.

    Args:
        name: of the request or text, for the message.
        measured: the confidences of its tokens, or its log probabilities.
    """
    if not all(map(math.isfinite, measured)):
        raise LiftError(
            f"{name}: the model's logits are NaN or infinite; its weights are damaged, or too large for "
            "their dtype (try dtype=float32)"
        )


class TooLong(LiftError):
    """A prompt that, with what comes after it, has more tokens than the model can see."""


def excess_tokens(
    given: int,
    wanted: int,
    context: int,
    *,
    remedy: str | None,
    where: str = "",
    before: str = "the prompt",
    after: str | None = None,
) -> int:
    """How many tokens of a prompt are too many for the model's context: 0, or what the caller has to cut.

    Args:
        given: tokens of the prompt.
        wanted: tokens after them, to be generated or scored.
        context: tokens that the model can see at a time.
        remedy: what the user can do; None: the caller cuts, and the prompt only has to keep one token.
        where: begins the messages, e.g. "lift_gsm8k doc 3: ".
        before: what the messages call the prompt.
        after: what they call the tokens after it; by default "gen_length=N".

    Raises:
        TooLong: there is an excess and a remedy.
        LiftError: an empty prompt, or no room for any.
    """
    after = after or f"gen_length={wanted}"
    if not given:
        raise LiftError(f"{where}{before} is empty; a request needs at least one token")
    if wanted >= context:
        raise LiftError(
            f"{where}{after} leaves no room for a prompt in the model's context of {context}; shorten it"
        )
    excess = max(0, given + wanted - context)
    if excess and remedy:
        both = f"{given} tokens and {after}" if wanted else f"{given} tokens"
        raise TooLong(f"{where}{before} has {both}: more than the model's context of {context}; {remedy}")
    return excess
