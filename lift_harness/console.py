r"""Where text goes out: nothing in it steers a terminal, whoever wrote it.

Names, answers, templates and results come from outside. Control characters in them (escape sequences, C1),
what turns the direction of text or has no width, and halves of surrogate pairs are shown as JSON writes them,
`\u001b`: by `Console` in all that Rich prints, by `plain_output` in all else that is written to standard
output and error while a command runs.
"""

from __future__ import annotations

import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

import rich.console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories: controls, formats, surrogates, separators of lines
WITHOUT_WIDTH = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters and marks that show nothing
LINE = 4000  # characters of an error message
FORMULA = ("=", "+", "-", "@", "\t")  # what begins with one, a spreadsheet computes
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
UNUSUAL = re.compile(r"[^\n\t\x20-\x7e]")


def visible(text: str) -> str:
    """Text in which what would steer a terminal, or not be seen, is escaped; lines and tabs stay."""
    return UNUSUAL.sub(lambda match: shown(match[0]), text)


def one_line(text: str) -> str:
    """The same on one line, which shows of a value of some thousand characters the two ends."""
    text = text if len(text) <= LINE else f"{text[: LINE // 2]} ... {text[-LINE // 2 :]}"
    return visible(text).replace("\n", "\\n")


def shown(character: str) -> str:
    """A character as it is, or as JSON escapes it: JSON stays JSON, and the same."""
    if unicodedata.category(character) not in STEERING and character not in WITHOUT_WIDTH:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def csv_cell(value: Any) -> Any:
    """A value for a CSV file: before a text that a spreadsheet would compute stands an apostrophe."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    computed = text.startswith(FORMULA) and len(text) > 1 and not NUMBER.fullmatch(text)
    return f"'{text}" if computed else text


class Console(rich.console.Console):
    """Rich's console for text from anywhere: no markup, no emoji codes, nothing that steers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    @property
    def file(self) -> IO[str]:
        """The stream behind those that stand before it: a live picture puts one of Rich's before ours."""
        file: Any = super().file
        while hasattr(file, "rich_proxied_file"):
            file = file.rich_proxied_file
        return file

    @file.setter
    def file(self, new: IO[str]) -> None:
        self._file = new

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text, escaped before it is laid out."""
        return super().render_str(visible(text), **options)

    def render(
        self,
        renderable: rich.console.RenderableType,
        options: rich.console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """What is printed; Rich's own control segments (cursor, colours) are no text."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def say(console: rich.console.Console, text: str) -> None:
    """Text as it is: no markup, no colours of numbers, no folding."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def titled(title: str, table: Table) -> rich.console.Group:
    """A table below its title, which folds at the terminal's width and not at the table's; no cell is cut."""
    for column in table.columns:
        column.overflow = "fold"
    return rich.console.Group(Text(title, style="italic"), table)


def typed(*words: object) -> str:
    """A command of ours as it is typed."""
    return shlex.join(["lift-harness", *map(str, words)])


def say_where(**places: object) -> None:
    """The end of a command: where things are, and what to type next.

    A line each, never folded, to be copied; on standard error, since what a command prints is its result.

    Args:
        places: paths and commands (`typed`) by what they are; None: there is none.
    """
    known = {name.replace("_", " "): place for name, place in places.items() if place is not None}
    width = max(map(len, known), default=0) + 1
    for name, place in known.items():
        label = f"{name}:"
        sys.stderr.write(visible(f"{label:{width}} {place}") + "\n")


def options_of(model: object, checkpoint: Path) -> list[object]:
    """How commands are told of what was trained from a model: an adapter, or weights of its own."""
    is_adapter = (checkpoint / "adapter_config.json").is_file()
    return ["--model", model, "--peft", checkpoint] if is_adapter else ["--model", checkpoint]


# ---------------------------------------------------------------- what is not printed by a console


class PlainOutput:
    """A stream of text that is made visible. Consoles of Rich write to the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # Rich looks for this name

    def write(self, text: str) -> int:
        """Write; a progress bar may go back to the beginning of its line first."""
        body = text.lstrip("\r")
        self.rich_proxied_file.write(text[: len(text) - len(body)] + visible(body))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def plain_output() -> Iterator[None]:
    """Let nothing steer the terminal that is written to standard output or error."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and PlainOutput(stream) for stream in streams)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
