"""`lift-harness analyze`, from the command's options to its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lift_harness import __version__
from lift_harness.analysis import plots, sums, tables
from lift_harness.analysis.arguments import STATE, SUMMARY, Options, check_output, find_token, parse_times
from lift_harness.analysis.examples import Corpus, load_corpus
from lift_harness.analysis.passes import batches, masked_confidences, pass_tokens
from lift_harness.analysis.trend import Trend, find_trend
from lift_harness.console import Console, say, say_where
from lift_harness.errors import LiftError
from lift_harness.results.lock import clear, sole_writer

CURVES = 8  # tokens whose curves are plotted by default


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found: the sums, the trend, the result in words, and where the files are."""

    corpus: Corpus
    times: tuple[float, ...]
    state: sums.State
    trend: Trend
    sentences: list[str]
    output: Path
    files: list[Path]


def analyze(
    options: Options,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Analysis:
    """Measure confidence by token frequency and diffusion time; write tables, plots and a summary.

    Args:
        options: what to measure.
        output: folder for the files.
        resume: continue what is in that folder.
        overwrite: replace it.
        console: to print to.

    Raises:
        LiftError: whatever is wrong with these.
    """
    console = console or Console()
    times = parse_times(options.t_bins)
    with sole_writer(output):
        check_output(output, resume, overwrite)
        return analyze_into(output, options, times, resume, overwrite, console)


def analyze_into(
    output: Path,
    options: Options,
    times: tuple[float, ...],
    resume: bool,
    overwrite: bool,
    console: Console,
) -> Analysis:
    """`analyze`, in a folder whose lock is held."""
    from transformers.utils import logging

    from lift_harness.models import load_model

    logging.disable_progress_bar()
    model, tokenizer = load_model(options.model, peft=options.peft)
    context = model.config.max_position_embeddings
    corpus = load_corpus(options.data, tokenizer, context=context, n=options.examples, seed=options.seed)
    chosen = [find_token(tokenizer, corpus.tokens.tolist(), text) for text in options.tokens]
    settings = measured_settings(options, model, corpus, times)
    if overwrite:
        clear(output, last=(STATE, SUMMARY))
    drawn = f"{len(corpus.chosen):,} of them through {options.peft or options.model}"
    say(console, f"{options.data}: {corpus.total:,} examples, {drawn}")
    for note in corpus.notes:
        say(console, note)
    state = measure(model, tokenizer, corpus, settings, output / STATE, options.save_every, resume, console)
    if not state.bins.n.sum():
        raise LiftError("no token was masked at these times; take larger ones (--t-bins), or more --examples")
    trend = find_trend(
        times,
        corpus.frequency,
        state.group_n,
        state.group_s,
        min_count=options.min_count,
        replicates=options.bootstrap,
        seed=options.seed,
    )
    files = write_tables(output, corpus, times, state, tokenizer, options.parquet)
    files += write_plots(output, corpus, times, state, tokenizer, chosen, options.min_count)
    by_bin = tables.frequency_rows(state, times, corpus.frequency)
    sentences = [*trend.sentences(), *tables.bin_steps(by_bin)]
    summary = {"version": __version__, **settings, **outcome(options, corpus, times, state)}
    tables.write_json(output / SUMMARY, {**summary, "trend": trend.as_json(), "sentences": sentences})
    return Analysis(corpus, times, state, trend, sentences, output, [*files, output / SUMMARY])


def measured_settings(options: Options, model: Any, corpus: Corpus, times: Sequence[float]) -> dict[str, Any]:
    """All that the sums depend on: an analysis with others cannot be continued."""
    from lift_harness.models.identity import checkpoint_id

    return {
        "model": options.model,
        "checkpoint": checkpoint_id(model, options.model, options.peft),
        "dtype": str(model.dtype),
        "device": model.device.type,
        "data": options.data,
        "t_bins": list(times),
        "examples": len(corpus.chosen),
        "seed": options.seed,
        "bins": options.bins,
        "batch_tokens": options.batch_tokens or pass_tokens(model),
        "data_sha256": corpus.sha256,
    }


def outcome(options: Options, corpus: Corpus, times: Sequence[float], state: sums.State) -> dict[str, Any]:
    """What the summary says of the data and of what was measured."""
    masked = zip([*times, tables.ALL], state.bins.n.sum(1), strict=True)
    return {
        "peft": options.peft,
        "min_count": options.min_count,
        "bootstrap": options.bootstrap,
        "groups": len(state.group_n),
        "data_examples": corpus.total,
        "data_tokens": int(corpus.frequency.sum()),
        "notes": corpus.notes,
        "masked": {str(t): int(n) for t, n in masked},
    }


def measure(
    model: Any,
    tokenizer: Any,
    corpus: Corpus,
    settings: dict[str, Any],
    file: Path,
    save_every: int,
    resume: bool,
    console: Console,
) -> sums.State:
    """The sums over all chosen examples; the state is saved every so many of them.

    Batches and their order are a function of the settings, and a state is saved between two of them: what a
    resumed analysis adds up is added in the same order.
    """
    examples, times = corpus.chosen, settings["t_bins"]
    edges = tables.bin_edges(corpus.frequency, settings["bins"])
    groups = min(sums.GROUPS, len(examples))
    bin_of = tables.bins_of(corpus.frequency, edges)
    state = sums.State.empty(len(times), len(corpus.tokens), bin_of, groups)
    if resume and file.is_file():
        sums.load_state(file, state, settings)
        say(console, f"continues after {state.examples:,} examples")
    kind_of = np.zeros(int(corpus.tokens.max()) + 1, dtype=np.int64)
    kind_of[corpus.tokens] = np.arange(len(corpus.tokens))
    plan = batches(examples, len(times), settings["batch_tokens"])
    saved = state.examples
    with bar(console, "examples", len(examples), state.examples) as advance:
        for batch in plan[state.batches :]:
            seen = masked_confidences(
                model,
                [examples[i] for i in batch],
                times,
                mask_id=tokenizer.mask_token_id,
                seed=settings["seed"],
                tokens=settings["batch_tokens"],
            )
            for i, one in zip(batch, seen, strict=True):
                state.add(i % groups, one, kind_of)
            state.batches += 1
            if state.examples - saved >= save_every or state.batches == len(plan):
                sums.save_state(file, state, settings)
                saved = state.examples
            advance(len(batch))
    return state


def write_tables(
    output: Path,
    corpus: Corpus,
    times: Sequence[float],
    state: sums.State,
    tokenizer: Any,
    parquet: bool,
) -> list[Path]:
    """tokens.csv and frequency.csv, and as parquet; the files that were written."""
    ids, frequency = corpus.tokens.tolist(), corpus.frequency
    rows_of = {
        "tokens": list(tables.token_rows(state, times, ids, frequency.tolist(), tokenizer)),
        "frequency": tables.frequency_rows(state, times, frequency),
    }
    files = []
    for name, rows in rows_of.items():
        tables.write_csv(output / f"{name}.csv", rows)
        files.append(output / f"{name}.csv")
        if parquet:
            tables.write_parquet(output / f"{name}.parquet", rows)
            files.append(output / f"{name}.parquet")
    return files


def write_plots(
    output: Path,
    corpus: Corpus,
    times: Sequence[float],
    state: sums.State,
    tokenizer: Any,
    chosen: list[int],
    min_count: int,
) -> list[Path]:
    """Both plots as PNG and SVG; the files that were written."""
    enough = (state.tokens.n[-1] >= max(1, min_count)) & (state.tokens.n[:-1] > 0).all(0)
    kinds = chosen or plots.spread(corpus.frequency, enough, CURVES)
    names = [tables.token_text(tokenizer, int(corpus.tokens[k])) for k in kinds]
    rows = tables.frequency_rows(state, times, corpus.frequency)
    by_frequency = plots.confidence_by_frequency(corpus.frequency, state, rows, times, min_count)
    by_time = plots.curves(kinds, names, corpus.frequency, state, times)
    return [
        *plots.save_figure(by_frequency, output / "confidence-by-frequency"),
        *plots.save_figure(by_time, output / "token-curves"),
    ]


# ---------------------------------------------------------------- the terminal


@contextmanager
def bar(console: Console, label: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, in a terminal; yields advance(n)."""
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(label, total=total, completed=done)
        yield lambda n: progress.advance(task, n)


def show(analysis: Analysis, console: Console) -> None:
    """The result in the terminal."""
    rows = tables.frequency_rows(analysis.state, analysis.times, analysis.corpus.frequency)
    console.print(tables.frequency_table(rows, analysis.times))
    console.print(tables.trend_table(analysis.trend))
    for sentence in analysis.sentences:
        console.print(sentence, highlight=False)
    pictures = (file for file in analysis.files if file.suffix == ".png")
    say_where(tables=analysis.output, picture=next(pictures, None))
