"""How commands look: help without types of switches, with examples; dashes or underscores in options."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lift_harness.cli.examples import EXAMPLES


def dashes(name: str) -> str:
    """The one spelling of an option: `--gen_kwargs`, as lm-eval writes it, is `--gen-kwargs`."""
    return name.replace("_", "-")


class Help:
    """The help of a command or a group of them."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options; of a switch there is no type to say, of a number its range stands beside it."""
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
            elif param.metavar is None and " range>" in (kind := param.display_type(ctx) or ""):
                param.metavar = "N" if "int" in kind else "X"
        return list(params)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write it, and examples below."""
        super().format_help(ctx, formatter)  # type: ignore[misc]
        if lines := [f"   lift-harness {line}" for line in EXAMPLES.get(words_of(ctx), ())]:
            typer.echo("\n".join([" Examples:", *lines]))


def words_of(ctx: Any) -> str:
    """What stands between `lift-harness` and the options: "data preview"."""
    words: list[str] = []
    while ctx.parent:
        words.insert(0, ctx.info_name)
        ctx = ctx.parent
    return " ".join(words)


class Command(Help, TyperCommand):
    """A command."""


class Group(Help, TyperGroup):
    """A group of commands."""


class App(typer.Typer):
    """Commands that look so."""

    def __init__(self, **options: Any) -> None:
        settings = {"token_normalize_func": dashes}
        super().__init__(**{"cls": Group, "context_settings": settings, **options})

    def command(self, name: str | None = None, **options: Any) -> Any:
        """Make a command of a function."""
        return super().command(name, **{"cls": Command, **options})
