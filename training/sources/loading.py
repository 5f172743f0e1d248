"""`load_data`: the records that a recipe's `data:` asks for, filtered and counted."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import synthetic
from lift_harness.training.sources.fields import require
from lift_harness.training.sources.files import SUFFIXES
from lift_harness.training.sources.formats import find_layout, make_record
from lift_harness.training.sources.published import (
    PUBLISHED,
    find_published,
    local_rows,
    published_rows,
    usual_fields,
)
from lift_harness.training.sources.records import Record, content, content_hash, number
from lift_harness.training.sources.release import read_instruction

Rows = Iterable[tuple[str, Mapping[str, Any]]]
Tokens = Callable[[Record], int]
# Settings that mean nothing for generated text.
OF_FILES = (
    *("kind", "split", "config", "revision", "fields", "where", "below", "max_chars", "min_tokens"),
    *("max_tokens", "format", "bad_rows"),
)

LEAVE_OUT = "; to leave such rows out: bad_rows: drop"


@dataclass
class SourceSummary:
    """What became of the rows of one source.

    Attributes:
        source: as the recipe names it.
        origin: where the rows came from: file, Hub id and revision, or generator.
        read: rows.
        dropped: filter -> records that it left out; "empty" are those without a question or a
            response, "bad rows" those that no record can be made of (`bad_rows: drop`), "not drawn" those
            beyond `n` (not tokenized, so that no filter on tokens counts them).
        first_bad: what was wrong with the first bad row.
        kept: records.
        no_priority: of these, outside of `priority_share`: nothing in them is a priority token.
    """

    source: str
    origin: dict[str, Any]
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first_bad: str | None = None
    kept: int = 0
    no_priority: int = 0


@dataclass
class Data:
    """The records of all sources, in the order of the recipe and then of their rows."""

    records: list[Record]
    sources: list[SourceSummary]

    @cached_property
    def sha256(self) -> str:
        """Of all records, in order (`content_hash`)."""
        return content_hash(self.records)

    def manifest(self) -> dict[str, Any]:
        """As plain data, for a run's manifest."""
        parts = [{**vars(part), "dropped": dict(part.dropped)} for part in self.sources]
        return {"records": len(self.records), "sha256": self.sha256, "sources": parts}


def load_data(sources: Sequence[DataSource], tokens: Tokens | None = None) -> Data:
    """All records of the sources.

    Args:
        sources: of a recipe.
        tokens: of a record's prompt and response, for filters on tokens; None: such filters are an error.

    Raises:
        LiftError: an unknown source, bad rows (with file, line and field), or too few rows left.
    """
    data = Data([], [])
    for source in sources:
        if tokens is None and (source.min_tokens or source.max_tokens):
            raise LiftError(
                f"data source {source.source!r}: min_tokens and max_tokens need the model's tokenizer, which "
                "a new model gets from the data; use max_chars"
            )
        summary, records = read_source(source, tokens)
        data.sources.append(summary)
        data.records += prioritized(records, source, summary)
    return data


def read_source(source: DataSource, tokens: Tokens | None) -> tuple[SourceSummary, list[Record]]:
    """The records of one source, and their count."""
    if source.source in synthetic.SOURCES:
        return read_generator(source)
    instruction = None if source.instruction is None else read_instruction(source.instruction)
    origin, rows = open_rows(source)
    if instruction is not None:
        origin |= {"format": source.format, "instruction_sha256": sha256(instruction.encode()).hexdigest()}
    summary = SourceSummary(source.source, origin)
    records = filtered(rows, source, summary, instruction)
    kept = drawn(records, source, summary, token_filter(source, tokens, summary))
    summary.kept = len(kept)
    short = source.n is not None and len(kept) < source.n
    if short or not kept:
        dropped = ", ".join(f"{count} by {name!r}" for name, count in summary.dropped.items() if count)
        raise LiftError(
            f"data source {source.source!r}: {len(kept)} of {summary.read} rows are left"
            f"{f' (dropped: {dropped})' if dropped else ''}"
            f"{f', n={source.n}; lower n' if short else '; loosen its filters'}"
            f"{f'; the first bad row: {summary.first_bad}' if summary.first_bad else ''}"
        )
    return summary, kept


def read_generator(source: DataSource) -> tuple[SourceSummary, list[Record]]:
    """The first n examples of a generator."""
    if source.n is None:
        raise LiftError(f"data source {source.source!r} is generated without end; give n")
    refuse(source, OF_FILES, "is generated")
    records = synthetic.generated(source.source, source.n, source.seed, **source.options)
    origin = {"generator": source.source, "seed": source.seed, "options": source.options}
    return SourceSummary(source.source, origin, read=len(records), kept=len(records)), records


def open_rows(source: DataSource) -> tuple[dict[str, Any], Rows]:
    """Where the rows come from, and the rows: a published dataset, a local path, or any Hub id."""
    refuse(source, ("options",), "is not generated")
    name = source.source
    known = find_published(name)
    if name.lower() in PUBLISHED or (known and not path_like(name)):
        assert known is not None
        return published_rows(known, source.config, source.split, source.revision)
    if path_like(name):
        refuse(source, ("revision",), "is a path")
        if not Path(name).expanduser().exists():
            raise LiftError(f"{name}: no such file")
        return local_rows(Path(name).expanduser(), source.config, source.split)
    names = did_you_mean(name, [*synthetic.SOURCES, *PUBLISHED])
    raise LiftError(f"unknown data source {name!r} (nor a path, nor a Hub id owner/name); {names}")


def path_like(name: str) -> bool:
    """Whether a source is meant as a path: it exists, it is written as one, or it has a file's suffix."""
    return name.endswith(SUFFIXES) or re.match(r"[./~\\]", name) is not None or Path(name).exists()


def refuse(source: DataSource, settings: Sequence[str], because: str) -> None:
    """Settings that a source has no use for are errors, not ignored."""
    for name in settings:
        value = getattr(source, name)
        if value != DataSource.model_fields[name].get_default():
            raise LiftError(f"data source {source.source!r} {because}, so it takes no {name}={value!r}")


# ---------------------------------------------------------------- priority tokens


def prioritized(records: Iterable[Record], source: DataSource, summary: SourceSummary) -> Iterator[Record]:
    """The records, with what their source says of priority tokens.

    Which ones are in `priority_share` goes by a hash of their content: a larger share has those of a smaller.
    """
    limit = int(source.priority_share * 2**63)
    for record in records:
        if source.priority_share < 1 and number(content(record), "priority") >= limit:
            summary.no_priority += 1
            yield replace(record, spans=())
        elif source.priority is not None:
            yield replace(record, priority=source.priority)
        else:
            yield record


# ---------------------------------------------------------------- filters


def filtered(
    rows: Rows, source: DataSource, summary: SourceSummary, instruction: str | None
) -> Iterator[Record]:
    """The records of the rows that pass the filters on fields and characters."""
    layout, fields = None, source.fields or usual_fields(source.source)
    for origin, row in rows:
        summary.read += 1
        try:
            layout = layout or find_layout(row, origin, fields, source.kind)
            unwanted = left_out_by(row, source, origin)
            record = None if unwanted else make_record(row, layout, origin, instruction)
        except LiftError as error:
            if source.bad_rows == "error":
                raise LiftError(f"{error}{'' if layout is None else LEAVE_OUT}") from error
            summary.dropped["bad rows"] += 1
            summary.first_bad = summary.first_bad or str(error)
            continue
        if unwanted:
            summary.dropped[unwanted] += 1
        elif record is None:
            summary.dropped["empty"] += 1
        elif short_enough(record, source, summary):
            yield record


def left_out_by(row: Mapping[str, Any], source: DataSource, origin: str) -> str | None:
    """The filter on fields that leaves a row out, if one does."""
    if not matches(row, source.where, origin):
        return "where"
    for name, limit in source.below.items():
        value = require(row, name, origin)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise LiftError(f"{origin}: {name!r} must be a number, to be below {limit:g}, not {value!r:.60}")
        if not value < limit:
            return "below"
    return None


def matches(row: Mapping[str, Any], where: Mapping[str, Any], origin: str) -> bool:
    """Whether each field of `where` has its value, or one of its values, as it is written.

    Of a field that is a list one item is enough.
    """
    for name, values in where.items():
        wanted = set(map(str, values if isinstance(values, list) else [values]))
        value = require(row, name, origin)
        if wanted.isdisjoint(map(str, value if isinstance(value, list) else [value])):
            return False
    return True


def short_enough(record: Record, source: DataSource, summary: SourceSummary) -> bool:
    """The filter `max_chars`: of everything that is said."""
    length = sum(len(said) for _, said in record.messages) + len(record.prefix) + len(record.response)
    if source.max_chars is None or length <= source.max_chars:
        return True
    summary.dropped["max_chars"] += 1
    return False


def token_filter(
    source: DataSource, tokens: Tokens | None, summary: SourceSummary
) -> Callable[[Record], bool]:
    """The filters `min_tokens` and `max_tokens`: of prompt and response together."""
    if tokens is None or (source.min_tokens is None and source.max_tokens is None):
        return lambda record: True

    def fits(record: Record) -> bool:
        length = tokens(record)
        name = None
        if source.min_tokens is not None and length < source.min_tokens:
            name = "min_tokens"
        elif source.max_tokens is not None and length > source.max_tokens:
            name = "max_tokens"
        summary.dropped.update([name] if name else [])
        return name is None

    return fits


def drawn(
    records: Iterable[Record], source: DataSource, summary: SourceSummary, fits: Callable[[Record], bool]
) -> list[Record]:
    """The records that `fits` lets pass; of these a random `n`, in their order.

    The n with the lowest hash of seed and content: the draw does not depend on the order of the rows, and
    needs neither all records in memory nor the tokens of those that are not drawn.
    """
    if source.n is None:
        return [record for record in records if fits(record)]
    heap: list[tuple[int, int, Record]] = []  # the highest hash on top
    for i, record in enumerate(records):
        entry = (-number(content(record), "draw", source.seed), -i, record)
        if len(heap) == source.n and entry[:2] < heap[0][:2]:
            summary.dropped["not drawn"] += 1
        elif fits(record):
            if len(heap) < source.n:
                heapq.heappush(heap, entry)
            else:
                heapq.heapreplace(heap, entry)
                summary.dropped["not drawn"] += 1
    return [record for _, _, record in sorted(heap, key=lambda entry: -entry[1])]
