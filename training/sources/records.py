"""One training example as text, and everything that is a function of its content: hash, id, side of a split.

Nothing here depends on where a record stands: rows may be reordered, filtered or added.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from lift_harness.errors import LiftError


@dataclass(frozen=True, slots=True)
class Record:
    """A conversation whose last word is to be learnt.

    Attributes:
        messages: (role, content) of each turn before the response.
        response: the assistant's text after `prefix`.
        prefix: what the assistant's text is made to begin with; part of the prompt.
        kind: math, code or chat.
        origin: where it comes from, as "train.jsonl:17".
        spans: (start, end) of the priority characters of the response, if the data marks them.
        priority: rules for them where it does not: math, code or auto; "": those of the kind.
        release: whether its ids are those of LIFT's released code (`models.chat.encode_released`).
    """

    messages: tuple[tuple[str, str], ...]
    response: str
    prefix: str = ""
    kind: str = "chat"
    origin: str = ""
    spans: tuple[tuple[int, int], ...] | None = None
    priority: str = ""
    release: bool = False

    @property
    def user(self) -> str:
        """The last user message."""
        return next((content for role, content in reversed(self.messages) if role == "user"), "")

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages as a chat template takes them."""
        return [{"role": role, "content": content} for role, content in self.messages]


def canonical(*parts: Any) -> bytes:
    """JSON with one spelling: no white space, ASCII only."""
    return json.dumps(parts, separators=(",", ":")).encode("ascii")


def content(record: Record) -> bytes:
    """What makes two records the same example: all that the model sees."""
    form = ("release",) if record.release else ()  # nothing for the others: their ids stay what they were
    return canonical(record.messages, record.prefix, record.response, *form)


def response_hash(record: Record) -> str:
    """16 hex digits of the sha256 of a response, beside spans that are characters of it."""
    return sha256(record.response.encode()).hexdigest()[:16]


def number(data: bytes, *key: Any) -> int:
    """63 bits of the sha256 of `key` and `data`: an int64 tensor holds it."""
    return int.from_bytes(sha256(canonical(*key) + data).digest()[:8], "big") >> 1


def content_hash(records: Iterable[Record]) -> str:
    """sha256 over the records in order, one canonical JSON line each; goes into a run's manifest."""
    hashed = sha256()
    for record in records:
        rules = (record.priority,) if record.priority else ()
        hashed.update(content(record) + canonical(record.spans, *rules) + b"\n")
    return hashed.hexdigest()


def stable_ids(records: Iterable[Record]) -> list[int]:
    """An id for each record, below 2**63, that keys its noise.

    A function of the content; the copies of a record are told apart by their number.
    """
    seen: Counter[bytes] = Counter()
    ids = []
    for record in records:
        digest = sha256(content(record)).digest()
        ids.append(number(digest, seen[digest]))
        seen[digest] += 1
    return ids


def validation_split(
    records: Sequence[Record], share: float, seed: int = 0
) -> tuple[list[Record], list[Record]]:
    """(train, validation), each in the order of `records`.

    The side is a function of the prompt and the seed: it does not change when rows are reordered or added,
    and the copies of a question, with one answer or several, are always on the same side.

    Args:
        records: to split.
        share: of the questions to keep for validation; or, from 1 on, how many questions. A count
            takes those with the lowest hashes, so that added rows replace few of them.
        seed: which ones.

    Raises:
        LiftError: `share` is negative or leaves nothing to train on, or it finds nothing to validate on.
    """
    if share < 0 or (share >= 1 and share != int(share)):
        raise LiftError(f"validation={share}: give a share below 1 or a whole number of examples")
    if not share:
        return list(records), []
    ranks = [number(canonical(record.messages), "validation", seed) for record in records]
    if share < 1:
        limit = int(share * 2**63)
    else:
        different = sorted(set(ranks))
        limit = different[int(share)] if share < len(different) else 2**63
    sides: tuple[list[Record], list[Record]] = ([], [])
    for record, rank in zip(records, ranks, strict=True):
        sides[rank < limit].append(record)
    if not all(sides):
        where = "for validation" if sides[0] else "to train on"
        raise LiftError(f"validation={share} of {len(records)} examples leaves none {where}; change it")
    return sides
