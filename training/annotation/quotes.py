"""Where the quotes of a reply stand in the answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lift_harness.training.priority import Span, merged


@dataclass(frozen=True)
class Placed:
    """What became of the quotes.

    Attributes:
        spans: characters of the answer, in order, none empty, none touching another (`priority.merged`).
        found: quotes that have a place.
        lost: quotes that the answer does not hold, or that are empty.
        unclear: quotes that stand in several places, none of them after the quote before.
        overlapping: whether quotes share characters; they are joined.
    """

    spans: list[Span]
    found: int
    lost: int
    unclear: int
    overlapping: bool


def place(quotes: Iterable[str], text: str) -> Placed:
    """The places of quotes in a text; white space around a quote does not count.

    A quote means its first place after the quote before it, and if there is none its only place. Places that
    cut a word or a number in two count only where there are no others: "2" is not the one of "12".
    """
    spans: list[Span] = []
    lost = unclear = at = 0
    for quote in map(str.strip, quotes):
        places = places_of(quote, text)
        ahead = [start for start in places if start >= at]
        if not places:
            lost += 1
        elif not ahead and len(places) > 1:
            unclear += 1
        else:
            start = (ahead or places)[0]
            at = start + len(quote)
            spans.append((start, at))
    return Placed(merged(spans), len(spans), lost, unclear, overlap(spans))


def places_of(quote: str, text: str) -> list[int]:
    """Where a quote begins in a text: the places where it is whole words, else all of them; of "" none."""
    if not quote:
        return []
    starts = [match.start() for match in re.finditer(f"(?={re.escape(quote)})", text)]
    ends = len(quote)
    return [start for start in starts if not cuts(text, start) and not cuts(text, start + ends)] or starts


def cuts(text: str, at: int) -> bool:
    """Whether a word or a number goes on across a place."""
    return at > 0 and text[at - 1].isalnum() and text[at : at + 1].isalnum()


def overlap(spans: Sequence[Span]) -> bool:
    """Whether any two spans share a character."""
    ordered = sorted(spans)
    return any(after[0] < before[1] for before, after in zip(ordered, ordered[1:], strict=False))


def is_everything(spans: Sequence[Span], text: str) -> bool:
    """Whether spans in order leave nothing but white space."""
    at, left = 0, ""
    for start, end in [*spans, (len(text), len(text))]:
        left += text[at:start]
        at = end
    return not left.strip()
