"""Rows against each other: values with intervals, differences from the baseline, what does not compare."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from lift_harness.compare.comparable import Mismatch, mismatches, unchecked
from lift_harness.compare.quoting import published_notes, quoted
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.results import statistics
from lift_harness.results.logs import Evaluation, Item
from lift_harness.results.metrics import SAMPLED, in_order, is_pass, is_shown
from lift_harness.results.rows import Row
from lift_harness.results.scores import Cell, RowOnTask, columns, is_binary, metrics_of, on_task, value_of
from lift_harness.results.statistics import Interval

Pair = tuple[str, Evaluation, Evaluation]  # seed, the row's, the baseline's


@dataclass(frozen=True)
class Difference:
    """A row's value minus the baseline's, on the problems that both answered.

    Attributes:
        row: name of the row.
        baseline: name of the baseline.
        task: name of the task.
        metric: name of the metric.
        value: the difference, mean over seeds against mean over seeds.
        interval: 95 %, paired bootstrap over problems.
        p: two-sided, paired bootstrap.
        mcnemar: exact two-sided p-value, for metrics of 0 and 1 with one answer a problem and one seed.
        adjusted: Holm's adjustment over the rows of this task and metric, of McNemar's p-values where all
            of them have one, else of the bootstrap's.
        over_seeds: t interval over seeds, of the differences seed by seed; None with one seed, or where the
            baseline has other seeds.
        p_over_seeds: of that.
        items: problems.
        gained: (problem, seed) pairs that are wrong in the baseline and right in the row; None where an
            answer is more or less right.
        lost: the other way round.
        caveats: in what the two differ although they are compared (`anyway`).
    """

    row: str
    baseline: str
    task: str
    metric: str
    value: float
    interval: Interval
    p: float
    mcnemar: float | None
    adjusted: float
    over_seeds: Interval | None
    p_over_seeds: float | None
    items: int
    gained: int | None
    lost: int | None
    caveats: tuple[Mismatch, ...]


@dataclass(frozen=True)
class Refusal:
    """A row that is not compared with the baseline on a task, and why."""

    row: str
    baseline: str
    task: str
    metrics: tuple[str, ...]
    reasons: tuple[Mismatch, ...]


@dataclass(frozen=True)
class Flip:
    """A problem that is right in one of the two and wrong in the other."""

    row: str
    baseline: str
    task: str
    metric: str
    seed: str
    change: str  # "wrong->right" or "right->wrong"
    item: Item
    base_item: Item


@dataclass
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

    def shown(self, task: str) -> list[str]:
        """The metrics of a task that tables show unless others are asked for."""
        return list(filter(is_shown, self.tasks[task])) or self.tasks[task]

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
        }


def compare(
    rows: Sequence[Row],
    *,
    baseline: str | None = None,
    tasks: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    anyway: bool = False,
    differences: bool = True,
) -> Comparison:
    """Compare rows (`load`) with one of them.

    Args:
        rows: their order is the tables'.
        baseline: name of a row; None: the row named vanilla, else base, else the first.
        tasks: these only, with or without `lift_` and "@LENGTH"; None: all.
        metrics: these only; "pass@k" means all of them; None: all.
        anyway: compare what differs in problems, prompts, settings or scoring, with that as a caveat.
        differences: False: only the values of the rows, each on its own.

    Raises:
        LiftError: no such row, task or metric.
    """
    base = find_baseline(rows, baseline)
    comparison = Comparison([row.name for row in rows], base.name, {}, anyway=anyway)
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
        theirs = next((ours for ours in those if ours.row is base), None)
        if differences and theirs is None:
            comparison.notes.append(
                f"the baseline {base.name} has no results of {task}: no differences there"
            )
        for ours in those:
            if differences and theirs and ours is not theirs:
                add_differences(ours, theirs, wanted, comparison)
    known = in_order(known)
    unknown = [name for name in metrics or () if not wanted_metrics(known, [name])]
    if unknown or not comparison.cells:
        raise LiftError(f"no values of {', '.join(unknown) or 'any metric'}; known: {', '.join(known)}")
    comparison.notes = list(dict.fromkeys([*comparison.notes, *published_notes(comparison)]))
    adjust(comparison)
    return comparison


# ---------------------------------------------------------------- what is compared


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


# ---------------------------------------------------------------- a row against the baseline


def add_differences(row: RowOnTask, base: RowOnTask, metrics: Sequence[str], comparison: Comparison) -> None:
    """Differences of a row from the baseline on a task, or why there are none."""
    where = f"{row.name} and {base.name} on {row.task}"
    for names in same_evaluations(row, base, metrics):
        logs = [name for name in names if row.keys(name) and base.keys(name)]
        if not logs:
            shown = ", ".join(names)
            comparison.notes.append(f"{where}: without sample logs of both there is no difference of {shown}")
            continue
        pairs = paired_seeds(row, base, logs[0])
        reasons: dict[Mismatch, None] = {}
        for _, ours, theirs in pairs:
            reasons |= dict.fromkeys(mismatches(ours, theirs))
        if reasons and not (comparison.anyway and common_keys(row, base, logs[0])):
            comparison.refusals.append(Refusal(row.name, base.name, row.task, tuple(names), tuple(reasons)))
            continue
        for _, ours, theirs in pairs:
            for missing in unchecked(ours, theirs):
                comparison.notes.append(f"{where}: {missing} are not known of both, and were not compared")
        for name in logs:
            if difference := difference_of(row, base, name, tuple(reasons)):
                comparison.differences[difference.row, difference.task, name] = difference
                comparison.flips += flips(row, base, name)
        counts = [evaluation.samples for _, *both in pairs for evaluation in both]
        fewest, most = min(counts), max(counts)
        if fewest < most and any(map(SAMPLED.fullmatch, names)):
            comparison.notes.append(
                f"{where}: {most} and {fewest} answers a problem, compared up to pass@{fewest}"
            )


def same_evaluations(row: RowOnTask, base: RowOnTask, metrics: Sequence[str]) -> list[list[str]]:
    """The metrics that both have, those that come from the same evaluations together."""
    groups: list[tuple[list[Evaluation], list[str]]] = []
    for metric in metrics:
        ours, theirs = row.evaluations(metric), base.evaluations(metric)
        if not (ours and theirs):
            continue
        sources = [*ours.values(), *theirs.values()]
        for known, names in groups:
            if len(known) == len(sources) and all(map(operator.is_, known, sources)):
                names.append(metric)
                break
        else:
            groups.append((sources, [metric]))
    return [names for _, names in groups]


def paired_seeds(row: RowOnTask, base: RowOnTask, metric: str) -> list[Pair]:
    """The evaluations that belong together: by seed, or all seeds of one with the only one of the other."""
    ours, theirs = row.evaluations(metric), base.evaluations(metric)
    our_first, their_first = next(iter(ours.values())), next(iter(theirs.values()))
    if len(theirs) == 1:
        return [(seed, evaluation, their_first) for seed, evaluation in ours.items()]
    if len(ours) == 1:
        return [(seed, our_first, evaluation) for seed, evaluation in theirs.items()]
    pairs = [(seed, evaluation, theirs[seed]) for seed, evaluation in ours.items() if seed in theirs]
    return pairs or [("", our_first, their_first)]


def common_keys(row: RowOnTask, base: RowOnTask, metric: str) -> list[str]:
    """The problems that both have with all their seeds, sorted."""
    return sorted({*row.keys(metric)} & {*base.keys(metric)})


def difference_of(
    row: RowOnTask, base: RowOnTask, metric: str, caveats: tuple[Mismatch, ...]
) -> Difference | None:
    """The difference in a metric on the problems that both answered."""
    keys = common_keys(row, base, metric)
    paired = statistics.paired(*row.mean_columns(metric, keys), *base.mean_columns(metric, keys))
    if paired is None:
        return None
    pairs = paired_seeds(row, base, metric)
    complete = len(pairs) == max(len(row.evaluations(metric)), len(base.evaluations(metric)))
    by_seed = [value_of(ours, metric, keys) - value_of(theirs, metric, keys) for _, ours, theirs in pairs]
    over = statistics.over_seeds(by_seed) if complete else None
    gained = lost = mcnemar = None
    if complete and row.binary(metric) and base.binary(metric):
        changes = np.concatenate([changes_of(ours, theirs, metric, keys) for _, ours, theirs in pairs])
        gained, lost = (int(np.count_nonzero(changes == sign)) for sign in (1, -1))
        mcnemar = statistics.mcnemar(gained, lost) if len(pairs) == 1 else None
    return Difference(
        row=row.name,
        baseline=base.name,
        task=row.task,
        metric=metric,
        value=paired.value,
        interval=paired.interval,
        p=paired.p,
        mcnemar=mcnemar,
        adjusted=paired.p,  # until all rows of the task are known
        over_seeds=statistics.clipped(over[0], paired.value, -1) if over else None,
        p_over_seeds=over[1] if over else None,
        items=len(keys),
        gained=gained,
        lost=lost,
        caveats=caveats,
    )


def changes_of(ours: Evaluation, theirs: Evaluation, metric: str, keys: list[str]) -> statistics.Array:
    """Of each problem 1 where only the row has it right, -1 where only the baseline has, else 0: [n]."""
    points, _ = columns(ours, metric, keys)
    base_points, _ = columns(theirs, metric, keys)
    return points - base_points


def flips(row: RowOnTask, base: RowOnTask, metric: str) -> Iterator[Flip]:
    """The problems that only one of the two has right."""
    for seed, ours, theirs in paired_seeds(row, base, metric):
        if not (is_binary(ours, metric) and is_binary(theirs, metric)):
            return
        keys = sorted(ours.items.keys() & theirs.items.keys())
        for key, change in zip(keys, changes_of(ours, theirs, metric, keys), strict=True):
            if change:
                yield Flip(
                    row=row.name,
                    baseline=base.name,
                    task=row.task,
                    metric=metric,
                    seed=seed,
                    change="wrong->right" if change > 0 else "right->wrong",
                    item=ours.items[key],
                    base_item=theirs.items[key],
                )


def adjust(comparison: Comparison) -> None:
    """Holm's adjustment over the rows of each task and metric."""
    families: dict[tuple[str, str], list[Difference]] = {}
    for difference in comparison.differences.values():
        families.setdefault((difference.task, difference.metric), []).append(difference)
    for (task, metric), family in families.items():
        exact = [difference.mcnemar for difference in family if difference.mcnemar is not None]
        p_values = exact if len(exact) == len(family) else [difference.p for difference in family]
        for difference, adjusted in zip(family, statistics.holm(p_values), strict=True):
            key = difference.row, task, metric
            comparison.differences[key] = replace(difference, adjusted=adjusted)
