"""What a run says at its end, in the terminal and as Markdown. The numbers are those of `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from lift_harness.compare.comparison import compare
from lift_harness.compare.render import as_markdown, as_rich, markdown_text, pipe_table
from lift_harness.console import titled
from lift_harness.pipeline.schema import EvalSettings, Recipe
from lift_harness.results.rows import Row


def score_tables(rows: Sequence[Row], width: int, everything: bool = False) -> RenderableType:
    """The rows' values with their intervals for a terminal of that width; `everything`: of all metrics."""
    return as_rich(compare(rows, differences=False), width, everything)


def times_table(stages: dict[str, Any]) -> RenderableType:
    """Wall time of each stage for the terminal."""
    table = Table()
    for column in ("method", "train", "eval"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, row in time_rows(stages):
        table.add_row(name, *row)
    return titled("wall time, seconds", table)


def time_rows(stages: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """(method, [train, eval]) in seconds, and a row of totals."""
    kinds = ("train", "eval")
    seconds: dict[str, dict[str, float]] = {}
    for name, stage in stages.items():
        where, _, kind = name.rpartition("/")
        seconds.setdefault(where, {})[kind] = stage["seconds"]
    for where, row in seconds.items():
        yield where, [f"{row[kind]:.0f}" if kind in row else "" for kind in kinds]
    yield "total", [f"{sum(row.get(kind, 0) for row in seconds.values()):.0f}" for kind in kinds]


def markdown(recipe: Recipe, rows: Sequence[Row], results: dict[str, Any], stages: dict[str, Any]) -> str:
    """The run as a Markdown page."""
    assert recipe.eval is not None
    weights = [[name, trained["sha256"]] for name, trained in results["training"].items()]
    times = [[name, *row] for name, row in time_rows(stages)]
    parts = [
        f"# {markdown_text(recipe.name)}",
        markdown_text(recipe.description),
        f"Base model {markdown_text(str(recipe.model))}, {seeds(recipe)}. {protocol(recipe.eval)}",
        "## Scores",
        as_markdown(compare(rows, differences=False)).rstrip(),
        "## Wall time, seconds",
        pipe_table([["method", "train", "eval"], ["---"] * 3, *times]),
        "## Weights",
        pipe_table([["method", "sha256"], ["---"] * 2, *weights]),
        "The recipe as run is in `recipe.yaml`; the same recipe, machine and versions give these numbers.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def seeds(recipe: Recipe) -> str:
    """Which trainings the numbers are of."""
    if recipe.seeds == 1:
        return f"seed {recipe.seed}"
    return f"means over the seeds {recipe.seed} to {recipe.all_seeds()[-1]}"


def protocol(settings: EvalSettings) -> str:
    """Which answers the numbers are of."""
    text = (
        "`acc` and `solved`: one answer a problem under the protocol's settings "
        f"({settings.limit or 'all'} problems a task)."
    )
    if settings.samples > 1:
        text += (
            f" pass@k: {settings.samples} answers a problem at temperature {settings.temperature} "
            f"({settings.sample_limit or settings.limit or 'all'} problems a task), unbiased estimator."
        )
    return text
