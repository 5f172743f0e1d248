"""`lift-harness data annotate` and `data marks`: priority spans from a language model, and what is marked."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lift_harness.console import Console, say
from lift_harness.errors import LiftError, Stopped
from lift_harness.files import check_writable
from lift_harness.pipeline.recipe import apply_override
from lift_harness.pipeline.schema import validated
from lift_harness.training.annotation.replies import Replies
from lift_harness.training.annotation.rules import Kind, messages
from lift_harness.training.annotation.run import FAULTS, Outcome, annotate, examples, write_annotated
from lift_harness.training.annotation.server import Server
from lift_harness.training.priority import Span, rule_spans
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import Record
from lift_harness.training.sources.files import SUFFIXES

OURS = ("model", "messages", "stream", "n")  # of a request: not to be set
KEY_VARIABLE = "OPENAI_API_KEY"


def source_of(name: str, overrides: Sequence[str]) -> DataSource:
    """A source as a recipe's `data:` has it: its name, and `key=value` for further keys."""
    raw: dict[str, Any] = {"source": name}
    for override in overrides:
        apply_override(raw, override, example="n=2000")
    return validated(DataSource, raw, f"data source {name!r}")


def request_of(settings: Sequence[str]) -> dict[str, Any]:
    """Further settings of the requests, of `key=value`s."""
    raw: dict[str, Any] = {}
    for setting in settings:
        apply_override(raw, setting, "--request", "max_tokens=2000")
    for name in OURS:
        if name in raw:
            raise LiftError(f"--request {name}={raw[name]!r}: this is not to be set")
    return raw


def server_of(endpoint: str | None, key_variable: str | None, timeout: float, tries: int) -> Server:
    """The server, with the key that the environment has for it."""
    if endpoint is None:
        raise LiftError("--endpoint is missing: the address of a server, like http://localhost:8000/v1")
    name = key_variable or KEY_VARIABLE
    key = os.environ.get(name)
    if key_variable is not None and key is None:
        raise LiftError(f"--key-variable {name}: the environment has no such variable; export it")
    return Server(endpoint, key or None, name, timeout=timeout, tries=tries)


def output_of(source: DataSource, output: Path | None, overwrite: bool) -> Path:
    """The file to write: NAME-annotated.jsonl in the working folder unless told.

    Raises:
        LiftError: it is there already, or cannot be.
    """
    name = Path(source.source).name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    output = output or Path(f"{name}-annotated.jsonl")
    check_writable(output)
    if output.suffix != ".jsonl":
        raise LiftError(f"--output {output}: it will hold JSON lines; name it .jsonl")
    if output.exists() and os.path.exists(source.source) and output.samefile(source.source):
        raise LiftError(f"--output {output}: this is the data itself; name another file")
    if output.exists() and not overwrite:
        raise LiftError(f"--output {output}: exists already; give another name, or --overwrite")
    return output


def annotate_source(
    source: DataSource,
    server: Server,
    model: str | None,
    output: Path,
    *,
    cache: Path | None = None,
    kind: Kind = "auto",
    request: dict[str, Any] | None = None,
    concurrency: int = 8,
    limit: int | None = None,
    console: Console | None = None,
) -> None:
    """Annotate a source, write the file, and print what became of it; arguments as of the command.

    Raises:
        LiftError: the data or the server cannot be used, or no example got an annotation; nothing is written.
    """
    console = console or Console()
    if not model:
        raise LiftError("--model is missing: a language model, by the name that the server has for it")
    cache = cache or output.with_name(f"{output.name}.replies")
    if cache == output:
        raise LiftError(f"--cache {cache}: this is the output; give another name")
    check_writable(cache)
    records = examples(source, limit)
    columns = (TextColumn("annotating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    with Replies(cache) as replies, bar:
        task = bar.add_task("")
        try:
            outcome = annotate(
                records,
                server,
                model,
                replies,
                kind=kind,
                request=request,
                concurrency=concurrency,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            kept = f"{cache} keeps the replies, and the same command goes on there"
            raise Stopped(f"Ctrl-C; {kept}", signal.SIGINT) from None
    if not outcome.spans and not outcome.marked_before:
        raise LiftError(f"no example was annotated, nothing is written: {faults(outcome)}")
    write_annotated(output, source, records, outcome)
    for line in summary(outcome, records, model, output, cache):
        say(console, line)


def summary(outcome: Outcome, records: Sequence[Record], model: str, output: Path, cache: Path) -> list[str]:
    """What became of the examples, the quotes and the tokens, a line each."""
    marked, characters = outcome.characters
    share = f", {marked / characters:.0%} of their characters" if characters else ""
    lines = [f"{output}: {len(records):,} examples, {len(outcome.spans):,} annotated by {model}{share}"]
    if outcome.marked_before:
        lines.append(f"as they came, with spans: {outcome.marked_before:,}")
    if outcome.faults:
        lines.append(f"not annotated, so that in training the rules hold: {faults(outcome)}")
    quotes = outcome.quotes
    lines.append(
        f"quotes: {quotes['found']:,} found, {quotes['lost']:,} not in the answer, {quotes['unclear']:,} in "
        f"several places of it; overlapping in {quotes['overlapping']:,} examples (joined)"
    )
    lines.append(f"requests: {outcome.asked:,} sent, {outcome.cached:,} answered before ({cache})")
    lines.append(f"tokens of this run: {tokens(outcome.tokens)}")
    lines.append(f"tokens of the whole file: {tokens(outcome.tokens_of_all)}")
    return lines


def faults(outcome: Outcome) -> str:
    """How many examples have no annotation, by kind, each with the first one's reason."""
    words = []
    for kind, what in FAULTS.items():
        found = [(origin, reason) for origin, name, reason in outcome.faults if name == kind]
        if found:
            words.append(f"{len(found):,} {what} ({found[0][0]}: {found[0][1]})")
    return "; ".join(words)


def tokens(counts: dict[str, int]) -> str:
    """Counts of tokens, as the server gave them."""
    uncounted = f" and what {counts['uncounted']:,} replies do not say" if counts["uncounted"] else ""
    return f"{counts['prompt']:,} of prompts, {counts['completion']:,} of completions{uncounted}"


# ---------------------------------------------------------------- what is asked, what is marked


def show_requests(source: DataSource, kind: Kind, count: int, console: Console | None = None) -> None:
    """Print what a model would be asked about the first examples; nothing is sent."""
    console = console or Console()
    for record in examples(source, count):
        say(console, f"--- {record.origin}")
        for message in messages(record, kind):
            say(console, f"[{message['role']}]\n{message['content']}")


def show_marks(source: DataSource, count: int, console: Console | None = None) -> None:
    """Print the first examples as the rules mark them, and as the data does where it has spans."""
    console = console or Console()
    for record in examples(source, count):
        rules = rule_spans(record.response, record.kind)
        say(console, f"--- {record.origin}\nby rule, {share(rules, record)}:\n{bracketed(rules, record)}")
        if record.spans is not None:
            spans = list(record.spans)
            say(console, f"in the data, {share(spans, record)}:\n{bracketed(spans, record)}")


def bracketed(spans: Sequence[Span], record: Record) -> str:
    """The response with [[brackets]] around spans in order."""
    text, at, parts = record.response, 0, []
    for start, end in spans:
        parts.append(f"{text[at:start]}[[{text[start:end]}]]")
        at = end
    return "".join(parts) + text[at:]


def share(spans: Sequence[Span], record: Record) -> str:
    """How much of a response is marked."""
    return f"{sum(end - start for start, end in spans) / len(record.response):.0%} of its characters"
