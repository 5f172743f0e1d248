"""A row against the baseline: differences with tests, what flipped, or why the two are not compared."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lift_harness.compare.comparable import Mismatch, mismatches, unchecked
from lift_harness.results import statistics
from lift_harness.results.logs import Evaluation, Item
from lift_harness.results.metrics import SAMPLED
from lift_harness.results.scores import RowOnTask, columns, is_binary, value_of
from lift_harness.results.statistics import Interval

if TYPE_CHECKING:
    from lift_harness.compare.comparison import Comparison

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
            reasons |= dict.fromkeys(mismatches(ours, theirs, comparison.across))
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


def same_answers(row: RowOnTask, base: RowOnTask) -> tuple[int, int] | None:
    """(problems whose answers are the baseline's texts, problems of both): over seeds; None without logs."""
    metrics = [name for name in row.metrics() if row.keys(name) and base.keys(name)]
    if not metrics:
        return None
    same = total = 0
    for _, ours, theirs in paired_seeds(row, base, metrics[0]):
        keys = ours.items.keys() & theirs.items.keys()
        total += len(keys)
        same += sum(ours.items[key].texts == theirs.items[key].texts for key in keys)
    return same, total


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
