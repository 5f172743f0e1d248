"""Live progress in a terminal; elsewhere one line a stage. Of several processes the first one speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lift_harness.console import Console


class Display:
    """Progress bars of the stages of a run."""

    def __init__(self, console: Console) -> None:
        from lift_harness.ranks import Ranks

        self.ranks = Ranks(None)
        self.console = console if self.ranks.rank == 0 else Console(quiet=True)
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bars.stop()

    def lead(self, work: Callable[[], Any]) -> None:
        """Let the first process do something, while the others wait."""
        self.ranks.barrier()
        if self.ranks.rank == 0:
            work()
        self.ranks.barrier()

    def ask(self, work: Callable[[], Any]) -> Any:
        """What the first process finds, for all of them: they cannot be of two minds."""
        return self.ranks.broadcast(work() if self.ranks.rank == 0 else None)

    def skip(self, label: str) -> None:
        """Say that a stage was done by an earlier run."""
        self.console.print(f"  {label}: done before")

    def redo(self, label: str, why: str) -> None:
        """Say that a stage was done, but cannot be taken as it is."""
        self.console.print(f"  {label}: done again: {why}", soft_wrap=True)

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
