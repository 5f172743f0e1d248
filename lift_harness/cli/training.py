"""The commands that run a recipe: train-eval, train, reproduce."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import (
    DryRun,
    On,
    Output,
    Overrides,
    Overwrite,
    Processes,
    Resume,
    Strategy,
    check_one_of,
    check_strategy,
)
from lift_harness.errors import LiftError
from lift_harness.files import check_writable

app = App()

Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select", metavar="METHOD[/SEED]", help="Do only this of the recipe; base: evaluate the base model."
    ),
]


@app.command("train-eval")
def train_eval_command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")] = "quickstart",
    set_: Overrides = None,
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    only: Annotated[str | None, typer.Option(help="Only these stages: train or eval.")] = None,
    select: Select = None,
    dry_run: DryRun = False,
    nproc: Processes = None,
    strategy: Strategy = "ddp",
    on: On = None,
) -> None:
    """Train every method of a recipe from one base model, evaluate all of them, print the table."""
    run_recipe(recipe, set_, output, resume, overwrite, only, select, dry_run, nproc, strategy, on)


@app.command("train")
def train_command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    set_: Overrides = None,
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    select: Select = None,
    dry_run: DryRun = False,
    nproc: Processes = None,
    strategy: Strategy = "ddp",
    on: On = None,
) -> None:
    """Train every method of a recipe, without evaluating."""
    run_recipe(recipe, set_, output, resume, overwrite, "train", select, dry_run, nproc, strategy, on)


def run_recipe(
    recipe: str,
    set_: list[str] | None,
    output: Path | None,
    resume: bool,
    overwrite: bool,
    only: str | None,
    select: list[str] | None,
    dry_run: bool,
    nproc: int | None,
    strategy: str,
    on: str | None,
) -> None:
    """What `train-eval` and `train` share."""
    from lift_harness.pipeline.launch import launch, starts_others
    from lift_harness.pipeline.recipe import load_recipe

    if only not in (None, "train", "eval"):
        raise LiftError(f"--only {only}: give train or eval")
    check_strategy(strategy)
    if on is not None and not dry_run:
        raise LiftError(f"--on {on}: it belongs to --dry-run; what runs, runs on this machine")
    check_one_of(resume, overwrite)
    loaded = load_recipe(recipe, set_ or [])
    folder = output or Path("runs") / loaded.name
    check_writable(folder, folder=True)
    if dry_run:
        from lift_harness.pipeline.plan import show_plan

        show_plan(loaded, folder, only, on=on, nproc=nproc, strategy=strategy)
    elif starts_others(nproc or 1, strategy):
        launch(sys.argv[1:], nproc or 1, strategy)
    else:
        from lift_harness.pipeline.train_eval import train_eval

        kind = cast(Literal["train", "eval"] | None, only)
        chosen = select or ()
        train_eval(loaded, folder, resume=resume, overwrite=overwrite, only=kind, select=chosen)


@app.command("merge-runs")
def merge_runs_command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs of one recipe, each of a part of it.")],
    output: Annotated[Path, typer.Option(help="Folder of the merged run.")],
) -> None:
    """Make one run of those that did a part of a recipe each (train-eval --select)."""
    check_writable(output, folder=True)
    from lift_harness.pipeline.merging import merge_runs

    merge_runs(runs, output)


@app.command("reproduce")
def reproduce_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its manifest.json.")],
    output: Annotated[Path | None, typer.Option(help="Folder (default: RUN-reproduced).")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where the environment differs.")] = False,
) -> None:
    """Run an experiment again, and compare every number with what it gave."""
    check_writable(output, folder=True)
    from lift_harness.pipeline.reproduce import reproduce

    if not reproduce(run, output, anyway=anyway):
        raise typer.Exit(1)
