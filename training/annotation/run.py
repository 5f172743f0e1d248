"""A source of training data, annotated: from its rows to the same rows with `priority_spans`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.files import whole
from lift_harness.training.annotation.asking import ask_all
from lift_harness.training.annotation.quotes import is_everything, place
from lift_harness.training.annotation.replies import Replies, Reply, key_of
from lift_harness.training.annotation.rules import Kind, Malformed, messages, quotes_of
from lift_harness.training.annotation.server import Server
from lift_harness.training.priority import Span
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import Record, load_data
from lift_harness.training.sources.fields import SPANS_OF, span_column
from lift_harness.training.sources.loading import open_rows
from lift_harness.training.sources.records import response_hash
from lift_harness.training.sources.synthetic import SOURCES as GENERATORS

FAULTS = {
    "refused": "refused",
    "malformed": "with a malformed reply",
    "nothing": "with nothing marked",
    "everything": "with everything marked",
    "unanswered": "without an answer",
}


@dataclass
class Outcome:
    """What became of the examples of a source.

    Attributes:
        spans: of an example's response by its origin; those annotated now.
        marked_before: examples that came with spans, which stay.
        faults: (origin, kind of `FAULTS`, reason) of each example that has no annotation.
        characters: (marked, all) of the annotated responses.
        quotes: found, lost and unclear ones (`quotes.Placed`); "overlapping" counts examples.
        asked: requests of this run.
        cached: requests that an earlier one had the reply to.
        tokens: prompt and completion, as the server counts them; "uncounted" are replies without a count.
            Of this run, and of all replies that were used.
    """

    spans: dict[str, list[Span]] = field(default_factory=dict)
    marked_before: int = 0
    faults: list[tuple[str, str, str]] = field(default_factory=list)
    characters: list[int] = field(default_factory=lambda: [0, 0])
    quotes: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    cached: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    tokens_of_all: Counter[str] = field(default_factory=Counter)


def examples(source: DataSource, limit: int | None = None) -> list[Record]:
    """The records of a source, or the first ones.

    Raises:
        LiftError: as `load_data`, and a source without rows to write spans beside.
    """
    if source.source in GENERATORS:
        raise LiftError(
            f"data source {source.source!r} is generated: there are no rows to write spans beside; give a "
            "published dataset or a file"
        )
    if source.min_tokens or source.max_tokens:
        raise LiftError("min_tokens and max_tokens: no tokenizer is known here; use max_chars")
    return load_data([source]).records[:limit]


def body_of(record: Record, model: str, kind: Kind, request: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a record's spans; settings that are null are left out."""
    settings = {name: value for name, value in {"temperature": 0, **request}.items() if value is not None}
    return {"model": model, "messages": messages(record, kind), **settings}


def annotate(
    records: Sequence[Record],
    server: Server,
    model: str,
    replies: Replies,
    *,
    kind: Kind = "auto",
    request: Mapping[str, Any] | None = None,
    concurrency: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """The spans of all records that have none yet, asked for or known.

    Args:
        records: from `examples`.
        server: to ask.
        model: by the server's name.
        replies: known ones; new ones are added.
        kind: whose rules.
        request: further settings of the request.
        concurrency: requests at a time.
        progress: called with requests that are done, and all.

    Raises:
        LiftError: the server cannot be used.
    """
    unmarked = [record for record in records if record.spans is None]
    body = partial(body_of, model=model, kind=kind, request=request or {})
    keys = [key_of(body(record)) for record in unmarked]
    wanted = dict(zip(keys, unmarked, strict=True))  # the copies of an example are one request
    before = {key: replies.known[key] for key in wanted if key in replies.known}
    failed_before = {key for key, reply in before.items() if reply.unanswered is not None}
    missing = [key for key in wanted if key not in before or key in failed_before]
    outcome = Outcome(marked_before=len(records) - len(unmarked), cached=len(wanted) - len(missing))
    progress(outcome.cached, len(wanted))

    def received(key: str, reply: Reply) -> None:
        replies.add(key, reply)
        count_tokens(outcome.tokens, reply)
        outcome.asked += 1
        progress(outcome.cached + outcome.asked, len(wanted))

    bodies = ((key, body(wanted[key])) for key in missing)  # made as they are sent: texts take memory
    ask_all(server, bodies, concurrency, received, failed_before)
    for key in wanted:
        count_tokens(outcome.tokens_of_all, replies.known[key])
    for record, key in zip(unmarked, keys, strict=True):
        judge(record, replies.known[key], outcome)
    return outcome


def count_tokens(tokens: Counter[str], reply: Reply) -> None:
    """Add what the server counted."""
    if reply.unanswered is not None:
        return
    tokens["prompt"] += reply.prompt_tokens or 0
    tokens["completion"] += reply.completion_tokens or 0
    tokens["uncounted"] += reply.prompt_tokens is None or reply.completion_tokens is None


def judge(record: Record, reply: Reply, outcome: Outcome) -> None:
    """Take the spans of a reply over, or say why not."""
    if fault := fault_of(reply):
        outcome.faults.append((record.origin, *fault))
        return
    try:
        quotes = quotes_of(reply.text)
    except Malformed as error:
        outcome.faults.append((record.origin, "malformed", str(error)))
        return
    placed = place(quotes, record.response)
    outcome.quotes.update(found=placed.found, lost=placed.lost, unclear=placed.unclear)
    outcome.quotes["overlapping"] += placed.overlapping
    if not placed.spans:
        outcome.faults.append((record.origin, "nothing", f"{len(quotes)} quotes, none in the answer"))
    elif is_everything(placed.spans, record.response):
        outcome.faults.append((record.origin, "everything", "nothing of the answer is left"))
    else:
        outcome.spans[record.origin] = placed.spans
        outcome.characters[0] += sum(end - start for start, end in placed.spans)
        outcome.characters[1] += len(record.response)


def fault_of(reply: Reply) -> tuple[str, str] | None:
    """(kind, reason) of a reply that says nothing."""
    if reply.unanswered is not None:
        return "unanswered", reply.unanswered
    if reply.refused is not None:
        return "refused", reply.refused
    if reply.cut:
        return "malformed", "the reply was cut at the server's limit of tokens"
    return None


# ---------------------------------------------------------------- the file


def write_annotated(output: Path, source: DataSource, records: Sequence[Record], outcome: Outcome) -> None:
    """The rows of the records as JSON lines, in their order, with the spans beside what they have.

    Values that JSON has not (dates of a parquet file) become text.
    """
    lines = annotated_lines(source, records, outcome)

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines)

    whole(output, write)


def annotated_lines(source: DataSource, records: Sequence[Record], outcome: Outcome) -> Iterator[str]:
    """A line for each record: its row, found again by its origin."""
    wanted = {record.origin: record for record in records}
    column = span_column(source.fields)
    for origin, row in open_rows(source)[1]:
        if (record := wanted.get(origin)) is None:
            continue
        if record.spans is None:
            spans = outcome.spans.get(origin)
            row = {**row, column: spans, SPANS_OF: None if spans is None else response_hash(record)}
        yield json.dumps(row, default=str) + "\n"
