"""The command about settings: what can be set, and what it means."""

from __future__ import annotations

from typing import Annotated

import typer

from lift_harness.cli.app import App

app = App()


@app.command("settings")
def settings_command(
    group: Annotated[
        str | None,
        typer.Argument(help="recipe, model, data, training, objective, eval or decoding (default: all)."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/reference.md.")] = False,
) -> None:
    """Every setting: its default, what it means, what it takes."""
    from lift_harness.console import Console
    from lift_harness.reference import as_markdown, as_text, sections

    shown = sections(group)
    typer.echo(as_markdown(shown) if markdown else as_text(shown, Console().width), nl=False)
