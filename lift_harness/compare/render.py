"""A comparison as a terminal table, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lift_harness.compare.records import Comparison
from lift_harness.compare.tables import Entry, Grid, grids, notes

FORMATS = ("table", "markdown", "csv", "latex", "json")
GAP = 2  # columns between columns
SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".json": "json"}


def render(found: Comparison, format: str, *, width: int = 100, everything: bool = False) -> str:
    """A comparison as text.

    Args:
        found: the comparison.
        format: one of FORMATS.
        width: columns of a terminal table.
        everything: also the metrics that tables leave out unless asked for.
    """
    if format == "json":
        return json.dumps(found.as_dict(), indent=2, ensure_ascii=False) + "\n"
    if format == "csv":
        return as_csv(found)
    if format == "markdown":
        return as_markdown(found, everything)
    if format == "latex":
        return as_latex(found, everything)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(as_rich(found, width, everything))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


# ---------------------------------------------------------------- terminal


def as_rich(found: Comparison, width: int, everything: bool = False) -> RenderableType:
    """The tables and what stands below them; a table wider than the terminal in parts."""
    parts: list[RenderableType] = []
    for grid in grids(found, everything=everything):
        for piece in split(grid, width):
            parts.append(drawn(piece))
            parts += [*(Text(line, style="dim") for line in piece.caption), *([""] if piece.caption else [])]
    parts += [Text(line, style="yellow") for line in notes(found)]
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
    for number, group in enumerate(groups):
        columns = [0, *group]
        yield Grid(
            grid.title + (" (continued)" if number else ""),
            [grid.header[i] for i in columns],
            [[row[i] for i in columns] for row in grid.rows],
            grid.sections,
            grid.caption if number == len(groups) - 1 else [],
        )


def widths(grid: Grid) -> list[int]:
    """Characters that each column takes."""
    sizes = []
    for i, head in enumerate(grid.header):
        entries = [row[i] for row in grid.rows]
        sizes.append(
            max(map(len, [*head.split("\n"), *(line for one in entries for line in (one.main, *one.small))]))
        )
    return sizes


def drawn(grid: Grid) -> Text:
    """A grid as text: titles of sections may be wider than the first column."""
    sizes, text = widths(grid), Text(no_wrap=True, overflow="ignore")
    text.append(f"{grid.title}\n\n", style="bold")
    heads = [head.split("\n") for head in grid.header]
    depth = max(map(len, heads))
    for i in range(depth):
        line = [head[i - depth + len(head)] if i >= depth - len(head) else "" for head in heads]
        text.append(aligned(line, sizes) + "\n")
    text.append("─" * (sum(sizes) + GAP * (len(sizes) - 1)) + "\n", style="dim")
    for i, row in enumerate(grid.rows):
        if i in grid.sections:
            text.append(("\n" if i else "") + f"{grid.sections[i]}\n", style="bold")
        text.append(aligned([entry.main for entry in row], sizes) + "\n")
        for j in range(max(len(entry.small) for entry in row)):
            small = [entry.small[j] if j < len(entry.small) else "" for entry in row]
            text.append(aligned(small, sizes) + "\n", style="dim")
    return text


def aligned(cells: Sequence[str], sizes: Sequence[int]) -> str:
    """One line: the first cell to the left, the others to the right."""
    first, *others = (
        f"{cell:>{size}}" if i else f"{cell:<{size}}"
        for i, (cell, size) in enumerate(zip(cells, sizes, strict=True))
    )
    return (" " * GAP).join([first, *others]).rstrip()


# ---------------------------------------------------------------- Markdown


def as_markdown(found: Comparison, everything: bool = False) -> str:
    """Pipe tables."""
    parts = []
    for grid in grids(found, everything=everything):
        parts.append(f"### {markdown_text(grid.title)}")
        lines = [[name.replace("\n", " ") for name in grid.header]]
        for i, row in enumerate(grid.rows):
            if i in grid.sections:
                lines.append([f"**{markdown_text(grid.sections[i])}**", *[""] * (len(row) - 1)])
            lines.append([beside(entry, markdown_text) for entry in row])
        head, *body = lines
        rule = ["---", *["---:"] * (len(head) - 1)]
        table = [[markdown_text(name) for name in head], rule, *body]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in table))
        if grid.caption:
            parts.append(" ".join(map(markdown_text, grid.caption)))
    if below := notes(found):
        parts.append("\n".join(f"- {markdown_text(line)}" for line in below))
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """Text whose characters mean nothing in Markdown."""
    for character in "\\`*_|<":
        text = text.replace(character, f"\\{character}")
    return text


def beside(entry: Entry, escape: Any) -> str:
    """A cell on one line."""
    return " ".join([escape(entry.main), *([f"({escape('; '.join(entry.small))})"] if entry.small else [])])


# ---------------------------------------------------------------- LaTeX

LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "†": r"\textdagger{}",
    "±": r"\textpm{}",
}


def as_latex(found: Comparison, everything: bool = False) -> str:
    """Tables of booktabs."""
    parts = ["% needs \\usepackage{booktabs}"]
    parts += [latex_table(grid) for grid in grids(found, everything=everything)]
    parts += [f"% {' '.join(line.split())}" for line in notes(found)]  # a comment ends with its line
    return "\n\n".join(parts) + "\n"


def latex_table(grid: Grid) -> str:
    """One table environment."""
    columns = len(grid.header)
    heads = [name.split("\n") for name in grid.header]
    depth = max(map(len, heads))
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(' '.join([grid.title + '.', *grid.caption]))}}}",
        rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        r"\toprule",
        *(latex_row(latex_text(head[i] if i < len(head) else "") for head in heads) for i in range(depth)),
        r"\midrule",
    ]
    for i, row in enumerate(grid.rows):
        if i in grid.sections:
            lines += [r"\addlinespace"] if i else []
            lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{latex_text(grid.sections[i])}}}}} \\")
        lines.append(latex_row(map(latex_entry, row)))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def latex_row(cells: Iterable[str]) -> str:
    """A line of a tabular."""
    line = " & ".join(cells)
    # What begins with [ or * would be taken for an option of the \\ of the line before.
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def latex_entry(entry: Entry) -> str:
    """A cell with its small print beside it."""
    small = rf" {{\scriptsize ({latex_text('; '.join(entry.small))})}}" if entry.small else ""
    return latex_text(entry.main) + small


def latex_text(text: str) -> str:
    """Text whose characters mean nothing in LaTeX; a minus is not a hyphen."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped)


# ---------------------------------------------------------------- CSV

CSV_HEADER = ("task", "metric", "row", "baseline", "statistic", "value")


def as_csv(found: Comparison) -> str:
    """One value a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for cell in found.cells.values():
        for name, value in statistics_of_cell(cell):
            if value is not None:
                writer.writerow([cell.task, cell.metric, cell.row, "", name, value])
    for one in found.differences.values():
        for name, value in statistics_of_difference(one):
            if value is not None:
                writer.writerow([one.task, one.metric, one.row, one.baseline, name, value])
    for refused in found.refusals:
        reasons = "; ".join(map(str, refused.reasons))
        for metric in refused.metrics:
            writer.writerow([refused.task, metric, refused.row, refused.baseline, "not_compared", reasons])
    return out.getvalue()


def statistics_of_cell(cell: Any) -> Iterator[tuple[str, Any]]:
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


def statistics_of_difference(one: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of all that a difference holds."""
    yield "difference", one.value
    yield from ends("", one.interval)
    yield from ends("seeds_", one.over_seeds)
    yield from (("p", one.p), ("p_mcnemar", one.mcnemar), ("p_holm", one.adjusted))
    yield from (("p_seeds", one.p_over_seeds), ("problems", one.items))
    yield from (("gained", one.gained), ("lost", one.lost))
    if one.caveats:
        yield "caveats", "; ".join(map(str, one.caveats))


def ends(prefix: str, interval: Any) -> Sequence[tuple[str, Any]]:
    """The two ends of an interval and how it was made."""
    if interval is None:
        return ()
    names = (f"{prefix}low", f"{prefix}high", f"{prefix}interval")
    return tuple(zip(names, (interval.low, interval.high, interval.method), strict=True))
