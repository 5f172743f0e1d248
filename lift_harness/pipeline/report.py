"""The tables of a run, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from lift_harness.pipeline.schema import Recipe
from lift_harness.report.run import metric_order

LEADING = ("acc", "solved")  # then pass@k; format and avg@n stay in results.json


def shown_metrics(scores: dict[str, Any], task: str) -> list[str]:
    """The metrics of a task that the tables show, in order."""
    found = next(iter(scores.values()))[task]
    return [name for name in metric_order(list(found)) if name in LEADING or name.startswith("pass@")]


def percent(metric: dict[str, Any]) -> str:
    """A share as "41.2 ± 3.1" percent, with its standard error."""
    if metric["stderr"] is None:
        return f"{100 * metric['value']:.1f}"
    return f"{100 * metric['value']:.1f} ± {100 * metric['stderr']:.1f}"


def score_rows(scores: dict[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """For each task (name, header, rows): a row for the base model and for each method."""
    for task in next(iter(scores.values())):
        metrics = shown_metrics(scores, task)
        rows = [[name, *(percent(found[task][m]) for m in metrics)] for name, found in scores.items()]
        yield task, ["method", *metrics], rows


def score_tables(results: dict[str, Any]) -> Iterator[Table]:
    """A table a task for the terminal: percent ± standard error."""
    for task, header, rows in score_rows(results["scores"]):
        table = Table(title=f"{task}: percent ± standard error", title_justify="left", padding=(0, 0))
        for column in header:
            table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        yield table


def times_table(stages: dict[str, Any]) -> Table:
    """Wall time of each stage for the terminal."""
    table = Table(title="wall time, seconds", title_justify="left")
    for column in ("method", "train", "eval"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, row in time_rows(stages):
        table.add_row(name, *row)
    return table


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


def markdown(recipe: Recipe, results: dict[str, Any], stages: dict[str, Any]) -> str:
    """The run as a Markdown page."""
    settings = recipe.eval
    assert settings is not None
    parts = [f"# {recipe.name}", recipe.description]
    seeds = f"seed {recipe.seed}"
    if recipe.seeds > 1:
        seeds = f"seeds {recipe.seed} to {recipe.all_seeds()[-1]}, mean ± standard error over them"
    sampled = (
        f"pass@k: {settings.samples} answers a problem at temperature {settings.temperature} "
        f"({settings.sample_limit or settings.limit or 'all'} problems a task), unbiased estimator. "
    )
    parts.append(
        f"Base model `{recipe.model}`, {seeds}. `acc` and `solved`: one answer a problem "
        f"under the protocol's settings ({settings.limit or 'all'} problems a task). "
        f"{sampled if settings.samples > 1 else ''}Percent ± standard error."
    )
    for task, header, rows in score_rows(results["scores"]):
        parts.append(f"## {task}\n\n" + pipe_table(header, rows))
    parts.append(
        "## Wall time, seconds\n\n"
        + pipe_table(["method", "train", "eval"], [[name, *row] for name, row in time_rows(stages)])
    )
    weights = [[name, trained["sha256"]] for name, trained in results["training"].items()]
    parts.append("## Weights\n\n" + pipe_table(["method", "sha256"], weights))
    parts.append(
        "The recipe as run is in `recipe.yaml`; the same recipe, machine and versions give these numbers."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def pipe_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
