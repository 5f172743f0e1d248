"""From records to batches: tokenised examples, what became of the long ones, and the collator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lift_harness.errors import LiftError, first_line
from lift_harness.models.bounded import TemplateFails
from lift_harness.models.chat import Encoded, encode_examples, encode_released
from lift_harness.training.sources.records import Record, stable_ids

Long = Literal["error", "drop", "truncate"]
CHUNK = 256  # records that are tokenised together


@dataclass(frozen=True)
class Example:
    """One tokenised exchange.

    Attributes:
        id: below 2**63, keys its noise; a function of the text (`stable_ids`), not of order or batch.
        prompt: ids, up to and with what the assistant's text is made to begin with.
        response: ids, with the end of turn.
        priority: for each token of the response, whether the density objective masks it more often.
        origin: where it comes from, for messages ("train.jsonl:17").
    """

    id: int
    prompt: list[int]
    response: list[int]
    priority: list[bool] | None = None
    origin: str = ""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass
class TokenCounts:
    """What `tokenize` made of the records.

    Attributes:
        examples: that there are.
        truncated: of these, how many had their response cut.
        too_long: left out for their length (`long: drop`).
        no_room: left out since the prompt alone takes all of `max_length`.
        empty: left out since the response has no tokens.
        mask_in_text: left out since the text holds the mask token.
        lengths: prompt and response of each example, in tokens.
    """

    examples: int = 0
    truncated: int = 0
    too_long: int = 0
    no_room: int = 0
    empty: int = 0
    mask_in_text: int = 0
    lengths: list[tuple[int, int]] = field(default_factory=list)

    def quantiles(self) -> dict[str, dict[str, int]]:
        """Lengths of prompt, response and both at the minimum, 10 %, 50 %, 90 %, 99 % and maximum."""
        if not self.lengths:
            return {}
        prompt, response = np.array(self.lengths).T
        parts = {"prompt": prompt, "response": response, "both": prompt + response}
        return {name: quantiles_of(lengths) for name, lengths in parts.items()}

    def manifest(self) -> dict[str, Any]:
        """As plain data, for a run's manifest."""
        counts = asdict(self)
        lengths = counts.pop("lengths")
        return {**counts, "tokens": sum(map(sum, lengths)), "quantiles": self.quantiles()}


def quantiles_of(lengths: Any) -> dict[str, int]:
    """The quantiles of lengths [n] that a manifest and a preview have, each a length that occurs."""
    at = {"min": 0, "p10": 0.1, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1}
    return {label: int(np.quantile(lengths, share, method="nearest")) for label, share in at.items()}


def tokenize(
    records: Sequence[Record],
    tokenizer: Any,
    *,
    max_length: int | None = None,
    long: Long = "error",
    priority: Literal["math", "code", "auto"] | None = None,
    counts: TokenCounts | None = None,
) -> list[Example]:
    """Records as examples, in their order.

    Args:
        records: to encode; noise follows their content, so that filters and order do not change it.
        tokenizer: with a chat template.
        max_length: tokens of prompt and response; None: any.
        long: what happens beyond that. "truncate" cuts the end of the response, its end of turn included.
        priority: find the tokens that the density objective prefers, by the rules for this kind of text
            (auto: the record's own kind), or where the data marks them.
        counts: filled in.

    Raises:
        LiftError: a record that is too long (`long: error`) or that the chat template refuses, or none left.
    """
    counts = TokenCounts() if counts is None else counts
    ids, examples = stable_ids(records), []
    shared: dict[int, int] = {}  # one int object a token of the vocabulary, not one a token of the text
    for start in range(0, len(records), CHUNK):
        chunk = records[start : start + CHUNK]
        encoded = encode(chunk, tokenizer, offsets=priority is not None)
        for key, record, (prompt, response, offsets) in zip(
            ids[start : start + CHUNK], chunk, encoded, strict=True
        ):
            room = trained_length(record, prompt, response, tokenizer, max_length, long, counts)
            if room == 0:
                continue
            flags = None
            if offsets is not None:
                flags = [*priority_flags(record, offsets, str(priority)), False][:room]
            prompt = [shared.setdefault(i, i) for i in prompt]
            response = [shared.setdefault(i, i) for i in response[:room]]
            examples.append(Example(key, prompt, response, flags, record.origin))
            counts.lengths.append((len(prompt), len(response)))
    counts.examples += len(examples)
    if not examples:
        raise LiftError(
            f"no training example is left of {len(records)}: {dropped(counts) or 'there are none'}"
        )
    return examples


def encode(records: Sequence[Record], tokenizer: Any, offsets: bool = False) -> list[Encoded]:
    """`encode_examples`; a record that cannot be encoded is named."""
    conversations = [record.chat for record in records]
    prefixes, responses = [record.prefix for record in records], [record.response for record in records]
    try:
        if any(record.release for record in records):
            return [encode_one(record, tokenizer, offsets) for record in records]
        return encode_examples(tokenizer, conversations, prefixes, responses, offsets)
    except Exception as error:  # a template's that wants other roles, or the tokenizer's
        if isinstance(error, LiftError) and not isinstance(error, TemplateFails):
            raise
        if len(records) == 1:
            raise LiftError(f"{records[0].origin}: cannot be encoded: {first_line(error)}") from error
        return [encode([record], tokenizer, offsets)[0] for record in records]


def encode_one(record: Record, tokenizer: Any, offsets: bool) -> Encoded:
    """One record, in its own form."""
    if record.release:
        return encode_released(tokenizer, record.chat, record.response, offsets)
    return encode_examples(tokenizer, [record.chat], [record.prefix], [record.response], offsets)[0]


def trained_length(
    record: Record,
    prompt: list[int],
    response: list[int],
    tokenizer: Any,
    max_length: int | None,
    long: Long,
    counts: TokenCounts,
) -> int:
    """How many tokens of the response are trained on; 0: the example is left out, and counted."""
    length, room = len(prompt) + len(response), len(response)
    if not record.response.strip():
        counts.empty += 1
        return 0
    if tokenizer.mask_token_id in prompt or tokenizer.mask_token_id in response:
        counts.mask_in_text += 1
        return 0
    if max_length is None or length <= max_length:
        return room
    if long == "error":
        raise LiftError(
            f"{record.origin}: {length} tokens, more than the {max_length} that there is room for; shorten "
            "it, leave such examples out (long: drop) or cut their responses (long: truncate)"
        )
    if long == "drop":
        counts.too_long += 1
        return 0
    kept = max(max_length - len(prompt), 0)
    counts.truncated += kept > 0
    counts.no_room += kept == 0
    return kept


def priority_flags(record: Record, offsets: Sequence[tuple[int, int]], priority: str) -> list[bool]:
    """For each token of a response, whether it is a priority token: where the data says so, else by rule."""
    from lift_harness.training.priority import rule_spans, token_flags

    kind = (record.priority or record.kind) if priority == "auto" else priority
    if record.spans is not None:
        return token_flags(offsets, record.spans)
    return token_flags(offsets, rule_spans(record.response, kind))


def least(*limits: int | None) -> int | None:
    """The lowest of the limits that are set."""
    return min((limit for limit in limits if limit is not None), default=None)


def dropped(counts: TokenCounts) -> str:
    """What `tokenize` left out, in words; empty if nothing."""
    words = {
        "too_long": "too long",
        "no_room": "with a prompt that takes all of max_length",
        "empty": "with an empty response",
        "mask_in_text": "with the mask token in the text",
    }
    return ", ".join(f"{n} {what}" for name, what in words.items() if (n := getattr(counts, name)))


def token_counter(tokenizer: Any) -> Callable[[Record], int]:
    """A function record -> tokens of its prompt and response, for the filters on tokens of `load_data`."""

    def tokens(record: Record) -> int:
        (encoded,) = encode([record], tokenizer)
        return len(encoded.prompt) + len(encoded.response)

    return tokens


def describe(examples: Sequence[Example], ids: Iterable[int]) -> str:
    """Where the examples with these ids come from, for messages: "train.jsonl:17 (id 5), ..."."""
    origins = {example.id: example.origin for example in examples}
    return ", ".join(f"{origins.get(i) or 'an example'} (id {i})" for i in ids)


@dataclass(frozen=True)
class Collator:
    """Pads responses with end-of-text, up to the longest in the batch or to `pad_to` tokens; never cuts.

    With `pack_to` padding is no response, and it is said where each token goes in rows of so many columns
    that examples share.
    """

    eos_id: int
    pad_to: int | None = None
    pack_to: int | None = None

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Tensors `input_ids`, `labels` (-100 on the prompt), `padding` [B, N] and `example_id` [B].

        With examples that have it also `priority`, bool [B, N]; packed also `place` [B, N] and `segment`
        (`Batch`).

        Raises:
            LiftError: an example is longer than `pad_to` or `pack_to`.
        """
        longest = max(examples, key=len)
        for name, most in (("pad_to", self.pad_to), ("pack_to", self.pack_to)):
            if most is not None and len(longest) > most:
                raise LiftError(
                    f"training example {describe([longest], [longest.id])} has {len(longest)} tokens, more "
                    f"than {name}={most}; raise it, or tokenize with max_length={most}"
                )
        shape = (len(examples), self.pad_to or len(longest))
        ids = torch.full(shape, self.eos_id)
        labels = ids.clone()
        padding = torch.ones(shape, dtype=torch.bool)
        priority = torch.zeros(shape, dtype=torch.bool)
        for row, example in enumerate(examples):
            start, end = len(example.prompt), len(example)
            ids[row, :end] = labels[row, :end] = torch.tensor(example.prompt + example.response)
            labels[row, :start] = -100
            padding[row, :end] = False
            if example.priority is not None:
                priority[row, start:end] = torch.tensor(example.priority)
        batch = {
            "input_ids": ids,
            "labels": labels,
            "padding": padding,
            "example_id": torch.tensor([example.id for example in examples]),
        }
        if any(example.priority is not None for example in examples):
            batch["priority"] = priority
        if self.pack_to is not None:
            labels[padding] = -100
            batch["place"], batch["segment"] = packed(~padding, self.pack_to)
        return batch


def packed(real: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Where the tokens of examples go that share rows: one after the other, each whole in a row.

    Args:
        real: bool [B, N], tokens of each example, from its first column on.
        width: columns of a row, at least as many as the longest example has.

    Returns:
        (row x width + column of each token, -1 of what is none: int64 [B, N]; and which example is where,
        counted from 1, 0 nowhere: int64 [rows, width]).
    """
    place, end = torch.full(real.shape, -1), 0
    for row, length in enumerate(real.sum(-1).tolist()):
        if end % width + length > width:
            end += -end % width
        place[row, :length] = torch.arange(end, end + length)
        end += length
    segment = torch.zeros(-(-end // width), width, dtype=torch.int64)
    number = torch.arange(1, len(real) + 1)[:, None].expand_as(place)
    segment.view(-1)[place[real]] = number[real]
    return place, segment
