"""The commands that run a recipe: train-eval, train, reproduce."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import (
    DryRun,
    Output,
    Overrides,
    Overwrite,
    Processes,
    Resume,
    Strategy,
    check_one_of,
)
from lift_harness.errors import LiftError
from lift_harness.files import check_writable

app = App()


@app.command("train-eval")
def train_eval_command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")] = "quickstart",
    set_: Overrides = None,
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    only: Annotated[str | None, typer.Option(help="Only these stages: train or eval.")] = None,
    dry_run: DryRun = False,
    nproc: Processes = 1,
    strategy: Strategy = "ddp",
) -> None:
    """Train every method of a recipe from one base model, evaluate all of them, print the table."""
    run_recipe(recipe, set_, output, resume, overwrite, only, dry_run, nproc, strategy)


@app.command("train")
def train_command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    set_: Overrides = None,
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    nproc: Processes = 1,
    strategy: Strategy = "ddp",
) -> None:
    """Train every method of a recipe, without evaluating."""
    run_recipe(recipe, set_, output, resume, overwrite, "train", dry_run, nproc, strategy)


def run_recipe(
    recipe: str,
    set_: list[str] | None,
    output: Path | None,
    resume: bool,
    overwrite: bool,
    only: str | None,
    dry_run: bool,
    nproc: int,
    strategy: str,
) -> None:
    """What `train-eval` and `train` share."""
    from lift_harness.pipeline.launch import STRATEGIES
    from lift_harness.pipeline.recipe import load_recipe

    if only not in (None, "train", "eval"):
        raise LiftError(f"--only {only}: give train or eval")
    if strategy not in STRATEGIES:
        raise LiftError(f"--strategy {strategy}: give one of {', '.join(STRATEGIES)}")
    check_one_of(resume, overwrite)
    loaded = load_recipe(recipe, set_ or [])
    folder = output or Path("runs") / loaded.name
    check_writable(folder, folder=True)
    if dry_run:
        from lift_harness.pipeline.plan import show_plan

        show_plan(loaded, folder, only)
    elif nproc > 1 or strategy != "ddp":
        from lift_harness.pipeline.launch import launch

        launch(sys.argv[1:], nproc, strategy)
    else:
        from lift_harness.pipeline.train_eval import train_eval

        kind = cast(Literal["train", "eval"] | None, only)
        train_eval(loaded, folder, resume=resume, overwrite=overwrite, only=kind)


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
