"""What stands in the fields of a row: texts, messages, tests and marked spans.

A missing value is null, or NaN: pandas and Arrow write it where a row has nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.training.sources.unit_tests import assertions

Row = Mapping[str, Any]
Spans = tuple[tuple[int, int], ...]

# Names of the same speaker: those of the messages format (developer: OpenAI's newer name) and of ShareGPT.
ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "human": "user",
    "gpt": "assistant",
}
TEXT_PARTS = (None, "text", "input_text", "output_text")  # kinds of parts of a message
NO_PLACE = (
    "'priority_spans' count in a response or a reasoning of its own; this row has neither (kind: chat does)"
)
SPANS_OF = "priority_spans_of"  # a column: the hash of the response, which the spans then count in
EXACT = 2**53  # the whole numbers up to this have a float of their own


def require(row: Row, field: str, origin: str) -> Any:
    """A field that must be there."""
    if field not in row:
        raise LiftError(f"{origin}: {field!r} is missing; the fields are: {', '.join(map(str, row))}")
    return row[field]


def is_missing(value: Any) -> bool:
    """Whether a field holds nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_of(row: Row, field: str, origin: str) -> str:
    """A field as text: a whole number as it is written, the first of a list of texts, nothing if missing.

    Raises:
        LiftError: something else, or a number that is not whole.
    """
    value = require(row, field, origin)
    if isinstance(value, list) and all(isinstance(item, str) or is_missing(item) for item in value):
        value = value[0] if value else None
    if is_missing(value):
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = number_text(value, f"{origin}: {field!r}")
    if not isinstance(value, str):
        raise LiftError(f"{origin}: {field!r} must be text, not {type(value).__name__}: {str(value)[:60]!r}")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON can spell it, no tokenizer takes it
        raise LiftError(f"{origin}: {field!r} is not valid Unicode") from None
    return value


def number_text(value: int | float, where: str) -> str:
    """A whole number as text: 5.0 is what becomes of 5 in a column where another value is missing.

    Of other floats it is lost how they were written (0.30000000000000004).
    """
    if isinstance(value, float):
        if not value.is_integer() or abs(value) > EXACT:
            raise LiftError(f"{where} is the number {value!r}, which is not whole; give it as text")
        value = int(value)
    return str(value)


# ---------------------------------------------------------------- messages


def messages_of(row: Row, column: str, origin: str) -> list[tuple[str, str]]:
    """(role, text) of each message: {role, content}, or ShareGPT's {from, value}; none if missing."""
    value = require(row, column, origin)
    if is_missing(value):
        return []
    if not isinstance(value, list):
        raise LiftError(f"{origin}: {column!r} must be a list of messages, not {type(value).__name__}")
    said = []
    for i, message in enumerate(value):
        where = f"{origin}: {column}[{i}]"
        if not isinstance(message, dict):
            raise LiftError(f"{where} must be an object with role and content, not {type(message).__name__}")
        names = ("from", "value") if "from" in message else ("role", "content")
        role = require(message, names[0], where)
        if not isinstance(role, str) or role not in ROLES:
            raise LiftError(f"{where}: unknown role {role!r}; {did_you_mean(str(role), ROLES)}")
        said.append((ROLES[role], message_text(message, names[1], where)))
    return said


def turns_of(row: Row, origin: str) -> list[Row]:
    """The turns of KodCode's `conversations`, {from, value}; none if missing."""
    value = require(row, "conversations", origin)
    if is_missing(value):
        return []
    if not isinstance(value, list):
        raise LiftError(f"{origin}: 'conversations' must be a list of turns, not {type(value).__name__}")
    return [turn for turn in value if isinstance(turn, dict)]


def message_text(message: Row, field: str, where: str) -> str:
    """What a message says: a text, or a list of parts, each on lines of its own."""
    value = require(message, field, where)
    if not isinstance(value, list):
        return text_of(message, field, where)
    parts = [part_text(part, f"{where}.{field}[{i}]") for i, part in enumerate(value)]
    return "\n".join(parts)


def part_text(part: Any, where: str) -> str:
    """A part of a message: a text, or {type: text, text: ...}."""
    if isinstance(part, str):
        part = {"text": part}
    if not isinstance(part, dict):
        raise LiftError(f"{where} must be a text or an object with a text, not {type(part).__name__}")
    if (kind := part.get("type")) not in TEXT_PARTS:
        raise LiftError(f"{where} is a part of type {kind!r}; only texts can be trained on")
    return text_of(part, "text", where)


# ---------------------------------------------------------------- tests and spans


def tests_of(row: Row, field: str, origin: str) -> list[str]:
    """The tests that a question shows: those of a list (MBPP), or what a test file asserts (KodCode)."""
    value = require(row, field, origin)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return assertions(text_of(row, field, origin))


def span_column(columns: Mapping[str, str]) -> str:
    """The column of marked spans, of a layout's (part -> column)."""
    return columns.get("priority_spans", "priority_spans")


def given_spans(row: Row, column: str, origin: str, text: str) -> Spans | None:
    """The marked spans in a column, if there are any: [start, end] pairs of characters of `text`."""
    value = row.get(column)
    if is_missing(value):
        return None
    if not isinstance(value, list):
        raise LiftError(f"{origin}: 'priority_spans' must be a list of [start, end], not {value!r}")
    for pair in value:
        whole = isinstance(pair, list) and all(type(end) is int for end in pair)
        if not whole or len(pair) != 2 or not 0 <= pair[0] < pair[1] <= len(text):
            raise LiftError(
                f"{origin}: 'priority_spans' has {pair!r}, no [start, end] within {len(text)} characters"
            )
    spans = tuple((start, end) for start, end in value)
    for one, other in pairwise(sorted(spans)):
        if other[0] < one[1]:
            raise LiftError(
                f"{origin}: 'priority_spans' overlap: {list(one)} and {list(other)}; join them or cut one"
            )
    return spans


def stripped(text: str, spans: Spans | None) -> tuple[str, Spans | None]:
    """The text without white space around it, and where the spans are then."""
    left, short = len(text) - len(text.lstrip()), text.strip()
    if spans is None:
        return short, None
    moved = ((max(start - left, 0), min(end - left, len(short))) for start, end in spans)
    return short, tuple((start, end) for start, end in moved if start < end)
