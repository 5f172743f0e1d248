"""The `lift-harness` command. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from lift_harness import __version__
from lift_harness.cli import (
    answers,
    checkpoints,
    comparing,
    data,
    recipes,
    settings,
    sharing,
    sweeping,
    training,
)
from lift_harness.cli.app import App, Group, words_of
from lift_harness.console import one_line, plain_output, typed
from lift_harness.errors import LiftError, Stopped, first_line, out_of_memory
from lift_harness.pipeline.launch import complain

UsageError: Any = typer.BadParameter.__mro__[1]  # of the Click that Typer has; 0.29 brings its own


class Commands(Group):
    """The commands. Typer puts a wrong word into a box, and ends at Ctrl-C without one (0.29)."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read what stands before the command."""
        with one_line_each():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            with one_line_each():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            left = "where a folder was written, the same command goes on in it"
            raise Stopped(f"Ctrl-C; {left}", signal.SIGINT) from None


@contextmanager
def one_line_each() -> Iterator[None]:
    """Tell of a wrong command or option as of all that is wrong."""
    try:
        yield
    except UsageError as error:
        if error.ctx is None or "NoArgs" in type(error).__name__:  # the help was asked for
            raise
        said = error.format_message().rstrip(".")
        asked = typed(*words_of(error.ctx).split(), "--help")
        raise LiftError(f"{said[:1].lower()}{said[1:]} ({asked} says what there is)") from None


app = App(
    cls=Commands,
    help="Train and evaluate masked diffusion language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (answers, sweeping, checkpoints, training, comparing, sharing, settings):
    app.add_typer(group.app)
app.add_typer(data.app, name="data")
app.add_typer(recipes.app, name="recipes")

NOT_ENOUGH = (
    "out of memory; lower batch_size, gen_length or max_length, take a smaller model or dtype, or allow more "
    "memory (ulimit -v)"
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Train and evaluate masked diffusion language models."""


def main() -> None:
    """Run the command line: bad input is one line on standard error and exit code 2."""
    with plain_output():
        run()


def run() -> None:
    """The command line with its exit codes."""
    try:
        app()
    except Stopped as stop:
        if not int(os.environ.get("RANK", 0)):  # all processes of a launch stop at the same step
            sys.stderr.write(f"stopped: {one_line(str(stop))}\n")
        sys.exit(stop.exit_code)
    except LiftError as error:
        complain(f"error: {one_line(str(error))}")
        sys.exit(2)
    except BrokenPipeError:  # the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if out_of_memory(error):  # each library has its own class for it
            complain(f"error: {one_line(f'{NOT_ENOUGH} ({first_line(error)})')}")
        elif isinstance(error, OSError):  # a full disk, a folder that may not be written to
            where = f"{error.filename}: " if error.filename else ""
            complain(f"error: {one_line(f'{where}{error.strerror or error}')}")
        else:
            raise
        sys.exit(2)
