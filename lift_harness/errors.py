"""The one exception that users see as a single line.

Everything that bad input can cause is raised as a `LiftError`: what was wrong, the value, what to
do. The command line prints it without a traceback and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 1_000  # characters of a message; values that come from files can have any length


class LiftError(ValueError):
    """Bad input: the message is one line that says what was wrong and what to do."""

    def __init__(self, message: str) -> None:
        half = LONGEST // 2
        super().__init__(message if len(message) <= LONGEST else f"{message[:half]} [...] {message[-half:]}")


class Stopped(LiftError):
    """Stopped by a signal: nothing was wrong, and nothing is lost. The exit code is 128 + the signal."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """The known names closest to `word`, or `otherwise`, or all: text to end an error message with."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else otherwise or f"known: {', '.join(names)}"


NO_MEMORY = (
    *("can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc"),
    *("failed to map segment", "can't start new thread"),  # of a library that is loaded
)


def out_of_memory(error: BaseException) -> bool:
    """Whether something failed for want of memory, of a GPU or (a plain RuntimeError) of the machine."""
    by_name = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # torch's
    return by_name or any(said in str(error).lower() for said in NO_MEMORY)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
