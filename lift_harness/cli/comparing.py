"""The commands that read runs: compare, report."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from lift_harness.cli.app import App
from lift_harness.console import say_where, typed

app = App()


@app.command("compare")
def compare_command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN_OR_RESULTS", help="Run folders, lm-eval's output, results or logs."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME=PATH", help="Call the rows of a path NAME.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="ROW", help="The row to compare with (default: vanilla, else base, else the first)."
        ),
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these: gsm8k,aime24.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Only these, all of them shown: acc,pass@k.")] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="table, markdown, csv, latex, json or leaderboard (default: by --output's suffix).",
        ),
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Of LaTeX: interval (default), mean-std (over seeds) or plain.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    flips: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Write the problems that flipped, with both answers."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare what differs in problems, prompts, settings or scoring.")
    ] = False,
    across: Annotated[
        str | None,
        typer.Option(metavar="decoding", help="Compare rows that differ in how they decoded, and how fast."),
    ] = None,
) -> None:
    """Compare runs: accuracy and pass@k with intervals, differences from a baseline with p-values."""
    from lift_harness.compare.command import run_compare

    run_compare(
        paths or [],
        names=name or [],
        baseline=baseline,
        tasks=tasks,
        metrics=metrics,
        format=format_,
        style=style,
        output=output,
        flips=flips,
        anyway=anyway,
        across=across,
    )


@app.command("report")
def report_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, finished or not.")],
    output: Annotated[
        Path | None, typer.Option(help="The file (default: report.html in the folder).")
    ] = None,
) -> None:
    """Make a run's report.html again, from what is in its folder."""
    from lift_harness.report import write_report
    from lift_harness.results.lock import sole_writer

    with nullcontext() if output or not run.is_dir() else sole_writer(run):
        typer.echo(write_report(run, output))
    say_where(compare=typed("compare", run))
