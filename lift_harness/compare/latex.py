"""A comparison as LaTeX, as papers print it: booktabs, a head for each task, the best of a column in bold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby, zip_longest
from statistics import stdev

from lift_harness.compare.tables import WITH_INTERVALS, Entry, Grid, percent
from lift_harness.results.metrics import OTHER, kind_of
from lift_harness.results.scores import Cell

STYLES = {  # what a value stands with -> what the caption says of it
    "interval": ", with 95 % intervals",
    "mean-std": ", mean and standard deviation over seeds",
    "plain": "",
}
HIGHER_IS_BETTER = ("acc", "exact_match")  # what metrics of lm-eval's begin with of which that is known
ESCAPED = {
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


def latex(grids: Iterable[Grid], notes: Iterable[str], style: str = "interval") -> str:
    """Tables as LaTeX.

    Args:
        grids: the tables.
        notes: what stands below them, here as comments.
        style: one of STYLES.
    """
    parts = ["% needs \\usepackage{booktabs}", *(table(grid, style) for grid in grids)]
    parts += [f"% {' '.join(line.split())}" for line in notes]  # a comment ends with its line
    return "\n\n".join(parts) + "\n"


def table(grid: Grid, style: str) -> str:
    """One table environment: a short caption, a label, and below the table what the marks mean."""
    title, below = grid.title, grid.caption
    of_values = title.endswith(WITH_INTERVALS)
    if of_values:
        title = title.removesuffix(WITH_INTERVALS) + STYLES[style]
    if of_values and style != "interval":  # neither the t interval nor the published number is printed
        below = [line for line in below if not line.startswith(("seeds:", "paper:"))]
    best = set(best_entries(grid))
    title += ". Best in bold." if best else "."
    label = re.sub(r"[^a-z0-9]+", "-", grid.title.split(",")[0].lower()).strip("-")
    width = len(grid.header)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape(title)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        *head(grid.header),
        r"\midrule",
    ]
    for i, entries in enumerate(grid.rows):
        if i in grid.sections:
            lines += [r"\addlinespace"] if i else []
            lines.append(spanning(width, "l", rf"\emph{{{escape(grid.sections[i])}}}") + r" \\")
        cells = (written(entry, style, (i, j) in best) for j, entry in enumerate(entries))
        lines.append(row(cells))
    lines += [r"\bottomrule", r"\end{tabular}"]
    if below:
        lines.append(rf"\par\smallskip{{\footnotesize {escape(' '.join(below))}\par}}")
    return "\n".join([*lines, r"\end{table}"])


# ---------------------------------------------------------------- the head


def head(header: list[str]) -> Iterator[str]:
    """The lines of a head: where its names have two lines, the columns of each task under its name."""
    first, *others = [name.split("\n") for name in header]
    if all(len(lines) == 1 for lines in others):
        yield row(map(escape, header))
        return
    groups, rules, column = [""], [], 2
    for task, names in groupby(others, key=lambda lines: lines[0]):
        last = column + len(list(names)) - 1
        groups.append(spanning(last - column + 1, "c", escape(task)))
        rules.append(rf"\cmidrule(lr){{{column}-{last}}}")
        column = last + 1
    yield row(groups)
    yield " ".join(rules)
    yield row(map(escape, [first[-1], *(lines[-1] for lines in others)]))


def spanning(columns: int, align: str, text: str) -> str:
    """A cell over several columns."""
    return rf"\multicolumn{{{columns}}}{{{align}}}{{{text}}}"


# ---------------------------------------------------------------- cells


def best_entries(grid: Grid) -> Iterator[tuple[int, int]]:
    """(row, column) of the best values of each column; of tables in sections in each of them.

    Several where they print alike; none where all do, and not among what was not compared (†).
    """
    starts = sorted({0, *grid.sections})
    for start, end in zip_longest(starts, starts[1:], fillvalue=len(grid.rows)):
        for j in range(1, len(grid.header)):
            values = {}
            for i in range(start, end):
                entry = grid.rows[i][j]
                if entry.cell and "†" not in entry.main and higher_is_better(entry.cell.metric):
                    values[i] = float(percent(entry.cell.value, entry.cell))
            if len(set(values.values())) > 1:
                yield from ((i, j) for i, value in values.items() if value == max(values.values()))


def higher_is_better(metric: str) -> bool:
    """Whether that is known of a metric."""
    return kind_of(metric)[0] is not OTHER or metric.startswith(HIGHER_IS_BETTER)


def written(entry: Entry, style: str, best: bool) -> str:
    """A cell: a value with its marks and what the style puts beside it, or a text with its small print."""
    main, small = escape(entry.main), "; ".join(entry.small)
    if entry.cell:
        value = percent(entry.cell.value, entry.cell)
        marks = escape(entry.main.removeprefix(value))
        main = (rf"\textbf{{{value}}}" if best else value) + (
            rf"\textsuperscript{{{marks}}}" if marks else ""
        )
        small = small if style == "interval" else ""
    if small:
        return rf"{main} {{\scriptsize ({escape(small)})}}"
    return main + (deviation(entry.cell) if entry.cell and style == "mean-std" else "")


def deviation(cell: Cell) -> str:
    """The standard deviation over seeds; of one seed there is none."""
    seeds = list(cell.seed_values.values())
    if len(seeds) < 2:
        return ""
    spread = stdev(seeds)
    share = 0 <= cell.value <= 1
    return rf" {{\scriptsize $\pm$ {100 * spread:.1f}}}" if share else rf" {{\scriptsize $\pm$ {spread:.4g}}}"


def row(cells: Iterable[str]) -> str:
    """A line of a tabular."""
    line = " & ".join(cells)
    # What begins with [ or * would be taken for an option of the \\ of the line before.
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def escape(text: str) -> str:
    """Text whose characters mean nothing in LaTeX; a minus is not a hyphen."""
    plain = "".join(ESCAPED.get(character, character) for character in text)
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", plain)
