"""Live progress in a terminal; elsewhere one line a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """Progress bars of the stages of a run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bars.stop()

    def skip(self, label: str) -> None:
        """Say that a stage was done by an earlier run."""
        self.console.print(f"  {label}: done before")

    @contextmanager
    def stage(self, label: str) -> Iterator[Callable[..., None]]:
        """A bar while a stage runs (yields progress(done, total, note="")), a line when it is over."""
        bar = self.bars.add_task(label, total=None, note="")
        started = time.perf_counter()

        def progress(done: int, total: int, note: str = "") -> None:
            self.bars.update(bar, completed=done, total=total, note=note)

        yield progress
        self.bars.remove_task(bar)
        self.console.print(f"  {label}: {time.perf_counter() - started:.0f} s")
