"""Rows against each other: values with intervals, differences from the baseline, what does not compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lift_harness.compare.comparable import mismatches
from lift_harness.compare.differences import (
    Difference,
    Flip,
    Refusal,
    add_differences,
    adjust,
    same_answers,
)
from lift_harness.compare.quoting import published_notes, quoted
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.results.metrics import in_order, is_pass, is_shown
from lift_harness.results.names import model_names
from lift_harness.results.parallelism import Point, aup, pareto
from lift_harness.results.rows import Row
from lift_harness.results.scores import Cell, RowOnTask, metrics_of, on_task
from lift_harness.results.speed import Speed, speed_of

ACROSS = ("decoding",)  # in what rows may differ and be compared all the same


@dataclass(repr=False)
class Comparison:
    """All that the tables show, and all that the JSON has.

    Attributes:
        rows: names in order.
        baseline: name of the row that the others are compared with.
        tasks: task -> its metrics, in order.
        cells: by (row, task, metric).
        differences: by (row, task, metric).
        refusals: what was not compared.
        notes: what was missing, left out, or contradicts itself.
        flips: the problems behind `gained` and `lost`.
        unquoted: why a published number is left out -> the (row, task) that it is left out of.
        anyway: whether what does not compare was compared.
        across: in what rows may differ and compare all the same: "decoding", or nothing.
        speeds: by (row, task), where it is known.
        models: row -> what its model is called; empty unless it is across decoding settings.
        same: by (row, task), across decoding settings: (problems with the baseline's answers, of how many).
    """

    rows: list[str]
    baseline: str
    tasks: dict[str, list[str]]
    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict)
    differences: dict[tuple[str, str, str], Difference] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    flips: list[Flip] = field(default_factory=list)
    unquoted: dict[str, dict[tuple[str, str], None]] = field(default_factory=dict)
    anyway: bool = False
    across: str | None = None
    speeds: dict[tuple[str, str], Speed] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    same: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def shown(self, task: str) -> list[str]:
        """The metrics of a task that tables show unless others are asked for."""
        return list(filter(is_shown, self.tasks[task])) or self.tasks[task]

    def main_cell(self, row: str, task: str) -> Cell | None:
        """The row's number on a task in the metric that it is shown by first."""
        return self.cells.get((row, task, self.shown(task)[0]))

    def fronts(self, task: str) -> dict[str, list[str]]:
        """Which rows are on the Pareto front of a task: of accuracy and each speed.

        Returns:
            Row -> those of "tokens_per_pass" and "tokens_per_second" by which no row beats it in both.
        """
        beyond: dict[str, list[str]] = {}
        for speed in ("tokens_per_pass", "tokens_per_second"):
            points: dict[str, Point] = {}
            for (row, of), known in self.speeds.items():
                cell, value = self.main_cell(row, task), getattr(known, speed)
                if of == task and cell and value is not None:
                    points[row] = value, cell.value
            for row, kept in zip(points, pareto(list(points.values())), strict=True):
                beyond.setdefault(row, []).extend([speed] if kept else [])
        return beyond

    def curves(self) -> dict[str, dict[str, list[Point]]]:
        """Task -> model -> (tokens per pass, accuracy in percent) of its rows."""
        curves: dict[str, dict[str, list[Point]]] = {}
        for (row, task), speed in self.speeds.items():
            cell = self.main_cell(row, task)
            if row in self.models and cell and 0 <= cell.value <= 1 and speed.tokens_per_pass > 0:
                points = curves.setdefault(task, {}).setdefault(self.models[row], [])
                points.append((speed.tokens_per_pass, 100 * cell.value))
        return curves

    def aup(self) -> dict[tuple[str, str], float]:
        """(model, task) -> accuracy under parallelism; the highest accuracy is that of all rows."""
        areas: dict[tuple[str, str], float] = {}
        for task, of_models in self.curves().items():
            best = max(y for points in of_models.values() for _, y in points)
            areas |= {(model, task): aup(points, best=best) for model, points in of_models.items()}
        return areas

    def __repr__(self) -> str:
        return f"Comparison(rows={self.rows}, baseline={self.baseline!r}, tasks={[*self.tasks]})"

    def as_dict(self) -> dict[str, Any]:
        """Everything but the flips' texts, for JSON."""
        return {
            "rows": self.rows,
            "baseline": self.baseline,
            "tasks": self.tasks,
            "cells": list(map(asdict, self.cells.values())),
            "differences": list(map(asdict, self.differences.values())),
            "not_compared": list(map(asdict, self.refusals)),
            "notes": self.notes,
            "anyway": self.anyway,
            "speed": list(map(asdict, self.speeds.values())),
            **(self.across_as_dict() if self.across else {}),
        }

    def across_as_dict(self) -> dict[str, Any]:
        """What a comparison of decoding settings has beside the others."""
        return {
            "across": self.across,
            "models": self.models,
            "same_answers": [
                {"row": row, "task": task, "same": same, "of": of}
                for (row, task), (same, of) in self.same.items()
            ],
            "pareto": {task: self.fronts(task) for task in self.tasks},
            "aup": [
                {"model": model, "task": task, "value": area} for (model, task), area in self.aup().items()
            ],
        }


def compare(
    rows: Sequence[Row],
    *,
    baseline: str | None = None,
    tasks: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    anyway: bool = False,
    across: str | None = None,
    differences: bool = True,
) -> Comparison:
    """Compare rows (`load`) with one of them.

    Args:
        rows: their order is the tables'.
        baseline: name of a row; None: the row named vanilla, else base, else the first.
        tasks: these only, with or without `lift_` and "@LENGTH"; None: all.
        metrics: these only; "pass@k" means all of them; None: all.
        anyway: compare what differs in problems, prompts, settings or scoring, with that as a caveat.
        across: "decoding": rows that differ in how they decoded compare.
        differences: False: only the values of the rows, each on its own.

    Raises:
        LiftError: no such row, task, metric, or thing to compare across.
    """
    if across is not None:
        check_across(across)
    base = find_baseline(rows, baseline)
    comparison = Comparison([row.name for row in rows], base.name, {}, anyway=anyway, across=across)
    comparison.models = model_names(rows) if across else {}
    for row in rows:
        comparison.notes += row.notes
    known: list[str] = []
    for task in chosen_tasks(rows, tasks):
        those = on_task(rows, task)
        names = metrics_of(those)
        known += names
        if wanted := wanted_metrics(names, metrics):
            comparison.tasks[task] = wanted
        for ours in those:
            add_values(ours, wanted, comparison)
            if wanted and (speed := speed_of(ours)):
                comparison.speeds[ours.name, task] = speed
        theirs = next((ours for ours in those if ours.row is base), None)
        if differences and theirs is None:
            comparison.notes.append(
                f"the baseline {base.name} has no results of {task}: no differences there"
            )
        for ours in those:
            if differences and theirs and ours is not theirs:
                add_differences(ours, theirs, wanted, comparison)
                if across and (same := same_answers(ours, theirs)):
                    comparison.same[ours.name, task] = same
    known = in_order(known)
    unknown = [name for name in metrics or () if not wanted_metrics(known, [name])]
    if unknown or not comparison.cells:
        raise LiftError(f"no values of {', '.join(unknown) or 'any metric'}; known: {', '.join(known)}")
    comparison.notes = list(dict.fromkeys([*comparison.notes, *published_notes(comparison)]))
    adjust(comparison)
    return comparison


# ---------------------------------------------------------------- what is compared


def check_across(across: str) -> None:
    """Refuse what rows cannot be compared across."""
    if across not in ACROSS:
        raise LiftError(f"across: {across!r} is not known; {did_you_mean(across, ACROSS)}")


def find_baseline(rows: Sequence[Row], name: str | None) -> Row:
    """The row that the others are compared with."""
    if not rows:
        raise LiftError("nothing to compare: no rows")
    by_name = {row.name: row for row in reversed(rows)}  # of two with one name the first
    if name is None:
        by_method = {row.name.split("/")[-1]: row for row in reversed(rows)}
        return by_method.get("vanilla") or by_method.get("base") or rows[0]
    if name not in by_name:
        raise LiftError(f"baseline: no row {name!r}; {did_you_mean(name, [row.name for row in rows])}")
    return by_name[name]


def chosen_tasks(rows: Sequence[Row], wanted: Sequence[str] | None) -> list[str]:
    """The tasks to compare, in the order of the rows."""
    tasks: dict[str, None] = {}
    for row in rows:
        tasks |= dict.fromkeys(row.tasks)
    if wanted is None:
        return list(tasks)
    chosen: set[str] = set()
    for name in wanted:
        full = (name, f"lift_{name}")
        matching = {task for task in tasks if task in full or task.partition("@")[0] in full}
        if not matching:
            raise LiftError(f"tasks: no results of {name!r}; {did_you_mean(name, list(tasks))}")
        chosen |= matching
    return [task for task in tasks if task in chosen]


def wanted_metrics(names: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Those of `names` that are asked for."""
    if wanted is None:
        return list(names)
    return [name for name in names if name in wanted or ("pass@k" in wanted and is_pass(name))]


# ---------------------------------------------------------------- a row's values


def add_values(row: RowOnTask, metrics: Sequence[str], comparison: Comparison) -> None:
    """A row's numbers on a task, with the published ones, and what contradicts itself."""
    comparison.notes += row.contradictions()
    comparison.notes += row.not_sampled()
    comparison.notes += unlike_seeds(row)
    for cell in filter(None, map(row.cell, metrics)):
        number, reasons = quoted(row, cell)
        comparison.cells[cell.row, cell.task, cell.metric] = replace(cell, published=number)
        for reason in reasons:
            comparison.unquoted.setdefault(reason, {})[cell.row, cell.task] = None


def unlike_seeds(row: RowOnTask) -> Iterator[str]:
    """Where the seeds of a row were evaluated differently."""
    for first, *others in zip(*row.by_seed.values(), strict=False):
        for other in others:
            for mismatch in mismatches(other, first):
                yield f"{row.name} on {row.task}: its seeds were not evaluated alike: {mismatch}"
