"""A comparison that shows itself: as text, and in a notebook as tables with no style but their alignment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from lift_harness.compare.comparison import Comparison
from lift_harness.compare.render import render
from lift_harness.compare.tables import Entry, Grid, grids, notes
from lift_harness.console import visible


class ShownComparison(Comparison):
    """A comparison for Python's prompt: `print` gives its tables, a notebook draws them."""

    def __str__(self) -> str:
        return render(self, "table")

    def _repr_html_(self) -> str:
        """Its tables, in a notebook."""
        return as_html(self)


def shown(comparison: Comparison) -> ShownComparison:
    """The same comparison, which shows itself."""
    return ShownComparison(**vars(comparison))


def as_html(comparison: Comparison) -> str:
    """The tables, and what stands below them; names of a run are text."""
    below = "".join(f"<li>{text(line)}</li>" for line in notes(comparison))
    return "\n".join([*map(table, grids(comparison)), f"<ul>{below}</ul>" if below else ""])


def table(grid: Grid) -> str:
    """One table with its title and caption."""
    caption = " ".join(map(text, grid.caption))
    return (
        f"<p><b>{text(grid.title)}</b></p>\n<table>\n<thead>{row(map(text, grid.header), 'th')}</thead>\n"
        f"<tbody>\n{chr(10).join(body(grid))}\n</tbody>\n</table>\n<p>{caption}</p>"
    )


def body(grid: Grid) -> Iterator[str]:
    """The rows, and the titles above some of them."""
    for i, entries in enumerate(grid.rows):
        if i in grid.sections:
            title = text(grid.sections[i])
            yield f'<tr><th colspan="{len(grid.header)}" style="text-align: left">{title}</th></tr>'
        yield row(map(cell, entries), "td")


def row(cells: Iterable[str], tag: str) -> str:
    """A row: the first cell to the left, the others to the right."""
    first, *others = cells
    right = "".join(f'<{tag} style="text-align: right">{one}</{tag}>' for one in others)
    return f'<tr><th style="text-align: left">{first}</th>{right}</tr>'


def cell(entry: Entry) -> str:
    """A cell with its small print below it."""
    return "<br>".join([text(entry.main), *(f"<small>{text(line)}</small>" for line in entry.small)])


def text(given: str) -> str:
    """Text as HTML, on its lines; what would not be seen is escaped."""
    return escape(visible(given)).replace("\n", "<br>")
