"""`lift-harness compare`: from what the command line says to what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lift_harness.compare.comparison import Comparison, check_across, compare
from lift_harness.compare.differences import Flip
from lift_harness.compare.latex import STYLES
from lift_harness.compare.render import FORMATS, SUFFIXES, as_rich, render
from lift_harness.console import Console, say_where, typed
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.files import check_writable, write_whole
from lift_harness.results.logs import without_collector
from lift_harness.results.read import load


def run_compare(
    paths: Sequence[str | Path],
    *,
    names: Sequence[str] = (),
    baseline: str | None = None,
    tasks: str | None = None,
    metrics: str | None = None,
    format: str | None = None,
    style: str | None = None,
    output: Path | None = None,
    flips: Path | None = None,
    anyway: bool = False,
    across: str | None = None,
    console: Console | None = None,
) -> Comparison:
    """Compare, and print or write the tables.

    Args:
        paths: as `load` takes them.
        names: "NAME=PATH" each.
        baseline: name of a row; None: the row named vanilla, else base, else the first.
        tasks: names with commas between; None: all.
        metrics: names with commas between; None: all but format, math_verify and avg@n in tables.
        format: one of FORMATS; None: by the output's suffix, else a table.
        style: of LaTeX: one of `latex.STYLES`; None: interval.
        output: the file to write in place of printing.
        flips: a file for the problems that flipped, with both answers.
        anyway: compare what does not compare.
        across: "decoding": rows that differ in how they decoded compare, and are called by that.
        console: where tables are printed.

    Raises:
        LiftError: whatever is wrong with these.
    """
    if format is not None and format not in FORMATS:
        raise LiftError(f"format={format!r} is not known; {did_you_mean(format, FORMATS)}")
    suffix = output.suffix if output else ""
    if format is None and suffix not in (*SUFFIXES, "", ".txt"):
        raise LiftError(f"--output {output}: no format is known for {suffix}; give --format as well")
    format = format or SUFFIXES.get(suffix, "table")
    if across is not None:
        check_across(across)
    elif format == "leaderboard":
        raise LiftError("format=leaderboard lists settings by tokens a pass; give --across decoding as well")
    if style is not None and style not in STYLES:
        raise LiftError(f"--style {style}: {did_you_mean(style, STYLES)}")
    if style is not None and format != "latex":
        raise LiftError(f"--style {style} is of LaTeX; give --format latex as well, or --output FILE.tex")
    style = style or "interval"
    if output and flips and output.resolve() == flips.resolve():
        raise LiftError(f"--output and --flips both name {output}; give two files")
    check_writable(output, flips)
    wanted_tasks, wanted_metrics, called = listed(tasks), listed(metrics), named(names)
    with without_collector():
        rows = load(paths, called, by_settings=across is not None)
        comparison = compare(
            rows,
            baseline=baseline,
            tasks=wanted_tasks,
            metrics=wanted_metrics,
            anyway=anyway,
            across=across,
        )
    everything = metrics is not None
    if flips:
        kept = [flip for flip in comparison.flips if everything or flip.metric in comparison.shown(flip.task)]
        write(flips, "".join(map(flip_line, kept)))
        sys.stderr.write(f"wrote {len(kept)} problem{'s' * (len(kept) != 1)} that flipped to {flips}\n")
    if output:
        write(output, render(comparison, format, everything=everything, style=style))
        sys.stderr.write(f"wrote {output}\n")
    elif format == "table":
        console = console or Console()
        console.print(as_rich(comparison, console.width, everything))
        say_where(**what_next(paths, names))
    else:
        sys.stdout.write(render(comparison, format, everything=everything, style=style))
    return comparison


def what_next(paths: Sequence[str | Path], names: Sequence[str]) -> dict[str, object]:
    """The pages of the runs, and the command that writes their tables for a paper."""
    pages = [page for page in (Path(path) / "report.html" for path in paths) if page.is_file()]
    given = [*paths, *(f"--name={name}" for name in names)]
    latex = typed("compare", *given, "--output", "table.tex")
    return {"report": ", ".join(map(str, pages)) or None, "for a paper": latex}


def named(texts: Sequence[str]) -> dict[str, str]:
    """{name: path} of several NAME=PATH."""
    paths: dict[str, str] = {}
    for text in texts:
        name, equals, path = map(str.strip, text.partition("="))
        if not (name and equals and path):
            raise LiftError(f"name: {text!r}: write NAME=PATH, e.g. --name mine=runs/a")
        if name in paths:
            raise LiftError(f"name: {name!r} is given twice, for {paths[name]} and {path}")
        paths[name] = path
    return paths


def listed(text: str | None) -> list[str] | None:
    """The parts of "a,b"; None where nothing is asked for."""
    if text is None:
        return None
    parts = list(filter(None, map(str.strip, text.split(","))))
    if not parts:
        raise LiftError(f"{text!r} names nothing; give names with commas between, or leave the option out")
    return parts


def flip_line(flip: Flip) -> str:
    """A problem that flipped, as a line of JSON."""
    return (
        json.dumps(
            {
                "task": flip.task,
                "metric": flip.metric,
                "row": flip.row,
                "baseline": flip.baseline,
                **({"seed": flip.seed} if flip.seed else {}),
                "change": flip.change,
                "doc_id": flip.item.doc_id,
                "doc": flip.item.doc,
                "target": flip.item.target,
                "baseline_answer": flip.base_item.texts[0],
                "answer": flip.item.texts[0],
            }
        )
        + "\n"
    )


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        write_whole(path, text, named=True)
    except OSError as error:
        raise LiftError(f"{path}: cannot be written: {error.strerror}") from error
