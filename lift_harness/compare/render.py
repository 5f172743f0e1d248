"""A comparison as a terminal table, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lift_harness.compare.comparison import Comparison
from lift_harness.compare.differences import Difference
from lift_harness.compare.latex import latex
from lift_harness.compare.tables import Entry, Grid, grids, notes
from lift_harness.console import Console, csv_cell, visible
from lift_harness.results.parallelism import leaderboard_yaml
from lift_harness.results.scores import Cell
from lift_harness.results.speed import Speed
from lift_harness.results.statistics import Interval

FORMATS = ("table", "markdown", "csv", "latex", "json", "leaderboard")
GAP = 2  # columns between columns
SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".json": "json", ".yaml": "leaderboard"}


def render(
    comparison: Comparison,
    format: str,
    *,
    width: int = 100,
    everything: bool = False,
    style: str = "interval",
) -> str:
    """A comparison as text.

    Args:
        comparison: the comparison.
        format: one of FORMATS.
        width: columns of a terminal table.
        everything: also the metrics that tables leave out unless asked for.
        style: of LaTeX, one of `latex.STYLES`.
    """
    return visible(written(comparison, format, width, everything, style))


def written(comparison: Comparison, format: str, width: int, everything: bool, style: str) -> str:
    """The same with names as they are."""
    if format == "json":
        return json.dumps(comparison.as_dict(), indent=2, ensure_ascii=False) + "\n"
    if format == "leaderboard":
        return leaderboard_yaml(comparison.curves())
    if format == "csv":
        return as_csv(comparison)
    if format == "markdown":
        return as_markdown(comparison, everything)
    if format == "latex":
        return latex(grids(comparison, everything=everything), notes(comparison), style)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(as_rich(comparison, width, everything))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


# ---------------------------------------------------------------- terminal


def as_rich(comparison: Comparison, width: int, everything: bool = False) -> RenderableType:
    """The tables and what stands below them; a table wider than the terminal in parts."""
    parts: list[RenderableType] = []
    for grid in grids(comparison, everything=everything):
        for piece in split(grid, width):
            parts.append(drawn(piece))
            parts += [*(Text(line, style="dim") for line in piece.caption), *([""] if piece.caption else [])]
    parts += [Text(line, style="yellow") for line in notes(comparison)]
    return Group(*parts)


def split(grid: Grid, width: int) -> Iterator[Grid]:
    """The grid, or grids of as many of its columns as fit, each with the first column."""
    sizes = widths(grid)
    groups: list[list[int]] = []
    for i in range(1, len(sizes)):
        if groups and sizes[0] + sum(GAP + sizes[j] for j in (*groups[-1], i)) <= width:
            groups[-1].append(i)
        else:
            groups.append([i])
    for part, group in enumerate(groups):
        columns = operator.itemgetter(0, *group)
        yield Grid(
            grid.title + (" (continued)" if part else ""),
            list(columns(grid.header)),
            [list(columns(row)) for row in grid.rows],
            grid.sections,
            grid.caption if part == len(groups) - 1 else [],
        )


def widths(grid: Grid) -> list[int]:
    """Characters that each column takes."""
    sizes = []
    for head, *entries in zip(grid.header, *grid.rows, strict=True):
        lines = head.split("\n")
        for entry in entries:
            lines += [entry.main, *entry.small]
        sizes.append(max(map(len, lines)))
    return sizes


def drawn(grid: Grid) -> Text:
    """A grid as text: titles of sections may be wider than the first column."""
    sizes, text = widths(grid), Text(no_wrap=True, overflow="ignore")
    text.append(f"{grid.title}\n\n", style="bold")
    depth = max(head.count("\n") for head in grid.header)
    heads = [("\n" * (depth - head.count("\n")) + head).split("\n") for head in grid.header]  # at the foot
    for line in zip(*heads, strict=True):
        text.append(aligned(line, sizes) + "\n")
    text.append("─" * (sum(sizes) + GAP * (len(sizes) - 1)) + "\n", style="dim")
    for i, row in enumerate(grid.rows):
        if i in grid.sections:
            text.append(("\n" if i else "") + f"{grid.sections[i]}\n", style="bold")
        text.append(aligned([entry.main for entry in row], sizes) + "\n")
        for small in zip_longest(*(entry.small for entry in row), fillvalue=""):
            text.append(aligned(small, sizes) + "\n", style="dim")
    return text


def aligned(cells: Sequence[str], sizes: Sequence[int]) -> str:
    """One line: the first cell to the left, the others to the right."""
    first, *others = map(str.rjust, cells, sizes)
    return (" " * GAP).join([cells[0].ljust(len(first)), *others]).rstrip()


# ---------------------------------------------------------------- Markdown


def as_markdown(comparison: Comparison, everything: bool = False) -> str:
    """Pipe tables."""
    parts: list[str] = []
    for grid in grids(comparison, everything=everything):
        parts += markdown_parts(grid, "###")
    if below := notes(comparison):
        parts.append("\n".join(f"- {markdown_text(line)}" for line in below))
    return "\n\n".join(parts) + "\n"


def markdown_parts(grid: Grid, level: str) -> list[str]:
    """A table's heading (level "##"), the table, and its caption if it has one."""
    caption = " ".join(map(markdown_text, grid.caption))
    parts = [f"{level} {markdown_text(grid.title)}", pipe_table(markdown_lines(grid)), caption]
    return list(filter(None, parts))


def pipe_table(lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table of its lines, that below the header among them."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_lines(grid: Grid) -> Iterator[list[str]]:
    """The cells of a table line by line."""
    yield [markdown_text(head.replace("\n", " ")) for head in grid.header]
    others = len(grid.header) - 1
    yield ["---", *["---:"] * others]
    for i, row in enumerate(grid.rows):
        if i in grid.sections:
            yield [f"**{markdown_text(grid.sections[i])}**", *[""] * others]
        yield [beside(entry, markdown_text) for entry in row]


def markdown_text(text: str) -> str:
    """Text whose characters mean nothing in Markdown, on one line."""
    for character in "\\`*_|<[":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def beside(entry: Entry, escape: Callable[[str], str]) -> str:
    """A cell on one line."""
    main, small = escape(entry.main), escape("; ".join(entry.small))
    return f"{main} ({small})" if small else main


# ---------------------------------------------------------------- CSV

CSV_HEADER = ("task", "metric", "row", "baseline", "statistic", "value")


def as_csv(comparison: Comparison) -> str:
    """One value a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    writer.writerows(map(csv_cell, row) for row in csv_rows(comparison))
    return out.getvalue()


def csv_rows(comparison: Comparison) -> Iterator[tuple[Any, ...]]:
    """The lines below the header."""
    for cell in comparison.cells.values():
        for name, value in statistics_of_cell(cell):
            if value is not None:
                yield cell.task, cell.metric, cell.row, "", name, value
    for difference in comparison.differences.values():
        which = difference.task, difference.metric, difference.row, difference.baseline
        for name, value in statistics_of_difference(difference):
            if value is not None:
                yield *which, name, value
    fronts = {task: comparison.fronts(task) for task in comparison.tasks} if comparison.across else {}
    for (row, task), known in comparison.speeds.items():
        for name, value in statistics_of_speed(comparison, known, fronts):
            if value is not None:
                yield task, "speed", row, "", name, value
    for (model, task), area in comparison.aup().items() if comparison.across else ():
        yield task, comparison.shown(task)[0], model, "", "aup", area
    for refusal in comparison.refusals:
        reasons = "; ".join(map(str, refusal.reasons))
        for metric in refusal.metrics:
            yield refusal.task, metric, refusal.row, refusal.baseline, "not_compared", reasons


def statistics_of_cell(cell: Cell) -> Iterator[tuple[str, Any]]:
    """Name and value of all that a cell holds."""
    yield "value", cell.value
    yield from ends("", cell.interval)
    yield from ends("seeds_", cell.over_seeds)
    for seed, value in cell.seed_values.items():
        if len(cell.seed_values) > 1:
            yield f"value_seed_{seed}", value
    yield "problems", cell.items
    yield "samples", cell.samples
    if cell.published:
        yield "published", cell.published.value


def statistics_of_difference(difference: Difference) -> Iterator[tuple[str, Any]]:
    """Name and value of all that a difference holds."""
    yield "difference", difference.value
    yield from ends("", difference.interval)
    yield from ends("seeds_", difference.over_seeds)
    yield from (("p", difference.p), ("p_mcnemar", difference.mcnemar), ("p_holm", difference.adjusted))
    yield from (("p_seeds", difference.p_over_seeds), ("problems", difference.items))
    yield from (("gained", difference.gained), ("lost", difference.lost))
    if difference.caveats:
        yield "caveats", "; ".join(map(str, difference.caveats))


def statistics_of_speed(
    comparison: Comparison, known: Speed, fronts: dict[str, dict[str, list[str]]]
) -> Iterator[tuple[str, Any]]:
    """Name and value of all that is known of a row's speed on a task."""
    yield from list(asdict(known).items())[2:]  # without row and task
    if comparison.across:
        same, of = comparison.same.get((known.row, known.task), (None, None))
        yield from (("same_answers", same), ("same_answers_of", of))
        yield "pareto", " ".join(fronts[known.task].get(known.row, ()))


def ends(prefix: str, interval: Interval | None) -> Iterator[tuple[str, Any]]:
    """The two ends of an interval and how it was made."""
    if interval:
        yield f"{prefix}low", interval.low
        yield f"{prefix}high", interval.high
        yield f"{prefix}interval", interval.method
