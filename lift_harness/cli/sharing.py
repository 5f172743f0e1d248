"""The command that shares a training: push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lift_harness.cli.app import App
from lift_harness.errors import LiftError

app = App()


@app.command("push")
def push_command(
    training: Annotated[Path, typer.Argument(metavar="RUN[/METHOD]", help="What was trained.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A new repository of the Hub.")],
    public: Annotated[
        bool, typer.Option("--public", help="For everybody to see (default: private).")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Send to a repository that is there already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify, print the files and the card, send nothing.")
    ] = False,
) -> None:
    """Send a training to the Hub: its verified weights, a model card with its scores, the run's report."""
    if public and update:
        raise LiftError("--public is of a new repository, --update of one that is there; give one of them")
    from lift_harness.console import Console, say, say_where
    from lift_harness.hub.card import commands
    from lift_harness.hub.push import prepare, push

    console = Console()
    pushed, address = (
        (prepare(training, repo), None) if dry_run else push(training, repo, public=public, update=update)
    )
    for name, size in pushed.sizes.items():
        say(console, f"{size:>14,} bytes  {name}")
    if address is None:
        say(console, f"\n{pushed.card}\nnothing was sent: without --dry-run it goes to {repo}")
        return
    say_where(pushed=address, load_it=next(commands(pushed.training, repo)))
