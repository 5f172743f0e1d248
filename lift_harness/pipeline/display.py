"""Live progress in a terminal, elsewhere a line every half minute. Of several processes the first speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column

from lift_harness.budget.verdict import duration
from lift_harness.console import Console
from lift_harness.pipeline.pace import Pace, kind_of

EVERY = 30.0  # seconds from line to line where there is no terminal
UNITS = {"train": "step", "eval": "token"}


class Display:
    """The progress of the stages of a run.

    Args:
        console: where it is shown.
        clock: seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from lift_harness.ranks import Ranks

        self.ranks = Ranks(None)
        self.console = console if self.ranks.rank == 0 else Console(quiet=True)
        self.clock, self.pace = clock, Pace(clock)
        self.bars = Progress(
            *columns(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
            expand=True,
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

    def skip(self, stage: str) -> None:
        """Say that a stage was done by an earlier run."""
        self.pace.skip(stage)
        self.console.print(f"  {label(stage)}: done before")

    def redo(self, stage: str, why: str) -> None:
        """Say that a stage was done, but cannot be taken as it is."""
        self.console.print(f"  {label(stage)}: done again: {why}", soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[..., None]]:
        """Show a stage ("METHOD/train") while it runs, and a line when it is over.

        Yields:
            progress(done, total, note="", kept=False), to be called as units (optimiser steps, tokens) are
            done; `kept`: an earlier run did those since the last call.
        """
        pace, unit = self.pace, UNITS[kind_of(name)]
        pace.begin(name)
        before = pace.count - len(pace.to_come) - 1
        bar = self.bars.add_task(shortened(label(name)), total=None, count="", left="", note="")
        several = pace.count > 1
        whole = self.bars.add_task("whole run", visible=several, count="", left="", note="")
        said = pace.began

        def progress(done: int, total: int, note: str = "", kept: bool = False) -> None:
            nonlocal said
            pace.report(done, total, kept)
            count = f"{done:,}/{total:,} {unit}s"
            left, run_left = time_left(pace.stage_left()), time_left(pace.run_left())
            notes = ", ".join(filter(None, [note, rate(pace.rate, unit)]))
            self.bars.update(bar, completed=done, total=total, count=count, left=left, note=notes)
            stages = f"{before}/{pace.count} stages"
            self.bars.update(whole, completed=before, total=pace.count, count=stages, left=run_left)
            if not self.console.is_terminal and self.clock() - said >= EVERY:
                said = self.clock()
                line = ", ".join(filter(None, [f"  {label(name)}: {count}", notes, left]))
                of_run = f"; whole run: stage {before + 1} of {pace.count}, {run_left}"
                self.console.print(line + (of_run if several else ""), soft_wrap=True, highlight=False)

        yield progress
        pace.end()
        for task in (bar, whole):
            self.bars.remove_task(task)
        self.console.print(f"  {label(name)}: {self.clock() - pace.began:.0f} s")


def columns() -> list[ProgressColumn]:
    """Of the bars: what gives way in a narrow terminal is the note."""

    def text(value: str, **options: Any) -> TextColumn:
        return TextColumn(value, markup=False, table_column=Column(no_wrap=True, **options))

    return [
        text("{task.description}"),
        BarColumn(10),
        text("{task.fields[count]}"),
        text("{task.fields[left]}"),
        text("{task.fields[note]}", overflow="ellipsis", ratio=1),
    ]


def label(stage: str) -> str:
    """METHOD: train of METHOD/train."""
    where, _, kind = stage.rpartition("/")
    return f"{where}: {kind}"


def shortened(text: str, most: int = 22) -> str:
    """A text without its beginning, where it is too long: the end tells seeds and stages apart."""
    return text if len(text) <= most else f"…{text[1 - most :]}"


def time_left(seconds: float | None) -> str:
    """What is said of the time that something will still take."""
    return "time unknown" if seconds is None else f"{duration(seconds)} left"


def rate(per_second: float | None, unit: str) -> str:
    """Units a second, or seconds a unit where it is the longer; "" where it is not known."""
    if per_second is None:
        return ""
    if per_second < 1:
        return f"{1 / per_second:.1f} s/{unit}"
    return f"{per_second:,.1f} {unit}s/s"
