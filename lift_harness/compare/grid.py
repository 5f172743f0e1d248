"""What a table is made of, and how its cells are worded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lift_harness.results.scores import Cell
from lift_harness.results.statistics import Interval


@dataclass(frozen=True)
class Entry:
    """A cell: what counts, what stands smaller below or beside it, and the number that it is, if one."""

    main: str = ""
    small: tuple[str, ...] = ()
    cell: Cell | None = None


@dataclass
class Grid:
    """A table.

    Attributes:
        title: what it shows.
        header: the first column's name, then the others'; a line break where one may be drawn.
        rows: cells by row.
        sections: index of a row -> the title above it.
        caption: what the reader has to know.
    """

    title: str
    header: list[str]
    rows: list[list[Entry]]
    sections: dict[int, str] = field(default_factory=dict)
    caption: list[str] = field(default_factory=list)


def short(task: str) -> str:
    """A task without the prefix that all of ours have."""
    return task.removeprefix("lift_")


def answers(cells: Sequence[Cell]) -> str:
    """How many answers to how many problems."""
    samples = sorted({cell.samples for cell in cells})
    counts = sorted({cell.items or 0 for cell in cells})
    return f"{span_of(samples)} answers a problem, {problems(counts)}"


def problems(counts: Sequence[int]) -> str:
    """`1,319 problems`, `30 to 40 problems`."""
    return counted(counts, "problem")


def counted(counts: Sequence[int], noun: str) -> str:
    """`1,319 problems`, `1 setting`, of sorted counts the least and the most."""
    return f"{span_of(counts)} {noun}{'s' if counts[-1] != 1 else ''}"


def span_of(counts: Sequence[int]) -> str:
    """`16`, or `8 to 16`."""
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"


def percent(value: float, cell: Cell) -> str:
    """A share in percent, anything else as it is."""
    return f"{100 * value:.1f}" if 0 <= cell.value <= 1 else f"{value:.4g}"


def span(interval: Interval, cell: Cell) -> str:
    """An interval of a value."""
    return f"{percent(interval.low, cell)}–{percent(interval.high, cell)}"


def signed(value: float, share: bool) -> str:
    """A difference: of shares in percentage points, of anything else as it is."""
    text = f"{100 * value:+.1f}" if share else f"{value:+.4g}"
    return "0.0" if text in ("-0.0", "+0.0") else text


def signed_span(interval: Interval, share: bool) -> str:
    """An interval of a difference."""
    return f"[{signed(interval.low, share)}, {signed(interval.high, share)}]"


def p_value(p: float | None) -> str:
    """A p-value to three digits."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
