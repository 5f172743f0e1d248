"""Rows on tasks: each metric as numbers a problem, and as a value with its intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any

import numpy as np

from lift_harness.results import statistics
from lift_harness.results.logs import Evaluation
from lift_harness.results.metrics import SAMPLED, in_order, is_pass
from lift_harness.results.rows import Row
from lift_harness.results.statistics import Array, Interval
from lift_harness.tasks.passk import ks_for, not_sampled, pass_at_k

TOLERANCE = 1e-6  # between a results file and what its log gives
EVERY_K = 32  # up to so many answers a curve of pass@k has every k

Columns = tuple[Array, Array]  # points [n], of [n]


@dataclass(frozen=True)
class Published:
    """A published number.

    Attributes:
        value: a share.
        what: the conditions it was measured under that ours may not share.
        source: where it is published.
        preset: the published protocol by name that ours was run under; "": by none.
    """

    value: float
    what: str
    source: str
    preset: str = ""


@dataclass(frozen=True)
class Cell:
    """One number of the tables.

    Attributes:
        row: name of the row.
        task: name of the task.
        metric: "acc", "pass@4", ...
        value: a share (or what the metric is); with several seeds the mean over them.
        interval: over problems: 95 %; None: there is no sample log and no standard error.
        over_seeds: over seeds: the t interval; None with one seed.
        seed_values: of each seed.
        items: problems behind it; None: not known.
        samples: answers a problem.
        total: problems of the whole task, where the results say so.
        gen_length: tokens generated, where they say so.
        published: the paper's number, where it was looked up (`compare`).
    """

    row: str
    task: str
    metric: str
    value: float
    interval: Interval | None
    over_seeds: Interval | None
    seed_values: dict[str, float]
    items: int | None
    samples: int
    total: int | None
    gen_length: int | None
    published: Published | None = None


class RowOnTask:
    """A row on a task.

    Attributes:
        row: the row.
        name: the row's.
        task: name of the task.
        by_seed: seed -> evaluations of that task.
    """

    def __init__(self, row: Row, task: str) -> None:
        self.row, self.name, self.task = row, row.name, task
        self.by_seed: dict[str, list[Evaluation]] = {}
        for seed, evaluations in row.seeds.items():
            if ours := [evaluation for evaluation in evaluations if evaluation.task == task]:
                self.by_seed[seed] = ours

    # ---------------------------------------------------------------- metrics

    def metrics(self, others: Iterable[RowOnTask] = ()) -> list[str]:
        """Its metrics; pass@k for every k that it or one of `others` reports, up to its answers a problem."""
        names: list[str] = []
        for evaluation in self.first_seed():
            names += [*scored(evaluation), *evaluation.aggregates]
        n = self.answers()
        if n > 1:
            names = [name for name in names if not SAMPLED.fullmatch(name)]
            ks = set(ks_for(n))
            for other in others:
                ks.update(ks_for(other.answers()))
            names += [*(f"pass@{k}" for k in ks if k <= n), f"avg@{n}"]
        return in_order(name for name in names if self.evaluations(name))

    def first_seed(self) -> list[Evaluation]:
        """Its evaluations with one of the seeds, from which metrics and answers a problem are taken."""
        return next(iter(self.by_seed.values()), [])

    def answers(self) -> int:
        """The most answers a problem that any evaluation of the first seed has."""
        counts = (evaluation.samples for evaluation in self.first_seed() if judged(evaluation))
        return max(counts, default=1)

    def evaluations(self, metric: str) -> dict[str, Evaluation]:
        """For each seed the evaluation that a metric comes from.

        pass@k and avg@n come from the one with the most answers, the others from the first that has them:
        `one` (one answer a problem, at the protocol's settings) before `samples`.
        """
        chosen = {}
        for seed, evaluations in self.by_seed.items():
            having = [evaluation for evaluation in evaluations if has(evaluation, metric)]
            if SAMPLED.fullmatch(metric):
                having.sort(key=lambda evaluation: -evaluation.samples)
            if having:
                chosen[seed] = having[0]
        return chosen

    # ---------------------------------------------------------------- values

    def seed_values(self, metric: str) -> dict[str, float]:
        """The value of each seed: from the log, else what the results file says."""
        values = {seed: value_of(one, metric) for seed, one in self.evaluations(metric).items()}
        return {seed: value for seed, value in values.items() if math.isfinite(value)}

    def mean_columns(self, metric: str, keys: list[str]) -> Columns:
        """Points and their maxima of each problem, [n] each: means over seeds."""
        by_seed = [columns(one, metric, keys) for one in self.evaluations(metric).values()]
        points, of = np.mean(by_seed, axis=0)  # [seeds, 2, n]
        return points, of

    def keys(self, metric: str) -> list[str]:
        """The problems that all seeds have, sorted; [] where a seed has none in its log."""
        evaluations = list(self.evaluations(metric).values())
        if not evaluations or not all(per_problem(evaluation, metric) for evaluation in evaluations):
            return []
        first, *others = evaluations
        return sorted(set(first.items).intersection(*(other.items for other in others)))

    def binary(self, metric: str) -> bool:
        """Whether it is right or wrong, with one answer a problem, in every seed."""
        return all(is_binary(evaluation, metric) for evaluation in self.evaluations(metric).values())

    def cell(self, metric: str) -> Cell | None:
        """The number of the tables; None where this row has no such metric."""
        values = self.seed_values(metric)
        if not values:
            return None
        first, keys = self.evaluations(metric)[next(iter(values))], self.keys(metric)
        over = statistics.over_seeds(list(values.values()))
        value = sum(values.values()) / len(values)
        items = len(keys) or first.n_items
        return Cell(
            row=self.name,
            task=self.task,
            metric=metric,
            value=value,
            interval=self.interval(metric, keys, value),
            over_seeds=statistics.clipped(over[0], value) if over else None,
            seed_values=values,
            items=items or None,
            samples=first.samples,
            total=first.n_total,
            gen_length=first.gen_length,
        )

    def pass_curve(self) -> list[Cell]:
        """pass@k for every k up to the answers a problem; of many, or without a log, for the reported k."""
        n = self.answers()
        every = 1 < n <= EVERY_K
        names = [f"pass@{k}" for k in range(1, n + 1)] if every else filter(is_pass, self.metrics())
        return [cell for cell in map(self.cell, names) if cell]

    def interval(self, metric: str, keys: list[str], value: float) -> Interval | None:
        """The interval over problems (docs/comparing.md says which)."""
        if keys:
            return statistics.interval(*self.mean_columns(metric, keys), self.one_answer(metric))
        evaluation = next(iter(self.evaluations(metric).values()))
        if len(self.by_seed) > 1 or metric not in evaluation.aggregates:
            return None
        _, error = evaluation.aggregates[metric]
        return statistics.interval_of_error(value, error, evaluation.n_items)

    def one_answer(self, metric: str) -> bool:
        """Whether each problem has one answer that is right or wrong: of one seed only."""
        return len(self.by_seed) == 1 and self.binary(metric)

    # ---------------------------------------------------------------- what is not what it seems

    def not_sampled(self) -> Iterator[str]:
        """Where several answers to a problem are one text, so that there is no pass@k."""
        for seed, evaluations in self.by_seed.items():
            for evaluation in filter(lambda one: one.one_text, evaluations):
                where = f"{self.name}{f' (seed {seed})' if seed else ''} on {self.task}"
                yield f"{where}: {not_sampled(len(evaluation.items), evaluation.samples)}"

    def contradictions(self) -> Iterator[str]:
        """Where results files and logs differ."""
        where = f"{self.name} on {self.task}"
        for evaluations in self.by_seed.values():
            for evaluation in evaluations:
                n, logged = evaluation.n_items, len(evaluation.items)
                if evaluation.log and n and logged and n != logged:
                    log = self.row.notes.name(evaluation.log)
                    yield f"{where}: {log} holds {logged} problems, its results file {n}"
                for metric, (theirs, _) in evaluation.aggregates.items():
                    if per_problem(evaluation, metric):
                        ours = value_of(evaluation, metric)
                        yield from contradiction(where, metric, theirs, evaluation.source.name, ours)
        for metric, theirs in self.row.expected.get(self.task, {}).items():
            if values := self.seed_values(metric):
                mean = sum(values.values()) / len(values)
                yield from contradiction(where, metric, theirs, "results.json of the run", mean)


def contradiction(where: str, metric: str, theirs: float, source: str, ours: float) -> Iterator[str]:
    """A log against a results file, where they differ."""
    if abs(ours - theirs) > TOLERANCE:
        yield (
            f"{where}: {metric} is {theirs:.4f} in {source}, but {ours:.4f} by the sample log, which is what "
            "is shown: one of the two is not of this evaluation"
        )


def on_task(rows: Sequence[Row], task: str) -> list[RowOnTask]:
    """The rows that have a task, on it."""
    return [RowOnTask(row, task) for row in rows if task in row.tasks]


def metrics_of(rows: Sequence[RowOnTask]) -> list[str]:
    """The metrics of a task that any of its rows has, in order."""
    names: list[str] = []
    for row in rows:
        names += row.metrics(rows)
    return in_order(names)


# ---------------------------------------------------------------- an evaluation's metrics


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """What follows from an evaluation's items (and a metric) is computed once, and kept beside them."""

    @wraps(function)
    def known(evaluation: Evaluation, *metric: str) -> Any:
        place = (function.__name__, *metric)
        if place not in evaluation.made:
            evaluation.made[place] = function(evaluation, *metric)
        return evaluation.made[place]

    return known


@once
def judged(evaluation: Evaluation) -> bool:
    """Whether its log says how many answers to each problem are right."""
    return bool(evaluation.items) and all(item.right is not None for item in evaluation.items.values())


@once
def scored(evaluation: Evaluation) -> list[str]:
    """The metrics that all problems of its log have."""
    items = iter(evaluation.items.values())
    names = dict.fromkeys(next(items).scores) if evaluation.items else {}
    for item in items:
        if item.scores.keys() != names.keys():
            names = {name: None for name in names if name in item.scores}
    return list(names)


def has(evaluation: Evaluation, metric: str) -> bool:
    """Whether it has a value of a metric; pass@k of answers that are one text says nothing above k = 1."""
    if is_pass(metric) and metric != "pass@1" and evaluation.one_text:
        return False
    return metric in evaluation.aggregates or per_problem(evaluation, metric)


@once
def per_problem(evaluation: Evaluation, metric: str) -> bool:
    """Whether its log has a metric for each problem, of which the task's value is the share.

    For our tasks it is. Of another task with an aggregation of its own (a perplexity, an F1 of all
    answers) the mean over problems is not the value, and only the results file's counts.
    """
    sampled = SAMPLED.fullmatch(metric)
    if sampled:
        n, k = evaluation.samples, int(sampled[2])
        return judged(evaluation) and n > 1 and (k <= n if sampled[1] == "pass" else k == n)
    if metric not in scored(evaluation):
        return False
    if judged(evaluation) or metric not in evaluation.aggregates:
        return True
    mean = statistics.share(*all_columns(evaluation, metric))
    return abs(mean - evaluation.aggregates[metric][0]) <= TOLERANCE


def value_of(evaluation: Evaluation, metric: str, keys: list[str] | None = None) -> float:
    """A metric's value, on some problems or all: from the log, else what the results file says."""
    if per_problem(evaluation, metric):
        return statistics.share(*columns(evaluation, metric, keys or list(evaluation.items)))
    return evaluation.aggregates[metric][0]


def columns(evaluation: Evaluation, metric: str, keys: list[str]) -> Columns:
    """Points and their maxima of some problems, [n] each; the order of the problems is that of `keys`."""
    points, of = all_columns(evaluation, metric)
    if keys == list(evaluation.items):
        return points, of
    places = places_of(evaluation)
    chosen = np.fromiter(map(places.__getitem__, keys), dtype=np.intp, count=len(keys))
    return points[chosen], of[chosen]


@once
def places_of(evaluation: Evaluation) -> dict[str, int]:
    """Where each problem stands among the items."""
    return {key: i for i, key in enumerate(evaluation.items)}


@once
def all_columns(evaluation: Evaluation, metric: str) -> Columns:
    """Points and their maxima of all problems, [n] each, in the order of the items."""
    items = evaluation.items.values()
    sampled = SAMPLED.fullmatch(metric)
    if sampled and sampled[1] == "pass":
        scores = [(chance(item.n, item.right or 0, int(sampled[2])), 1.0) for item in items]
    elif sampled:
        scores = [((item.right or 0) / item.n, 1.0) for item in items]
    else:
        scores = [item.scores[metric] for item in items]
    table = np.array(scores, dtype=np.float64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


@lru_cache(maxsize=100_000)
def chance(n: int, right: int, k: int) -> float:
    """Pass@k of one problem."""
    return pass_at_k(n, right, k)


@once
def is_binary(evaluation: Evaluation, metric: str) -> bool:
    """Whether every problem has one answer that is right (1) or wrong (0)."""
    if SAMPLED.fullmatch(metric) or not per_problem(evaluation, metric):
        return False
    for item in evaluation.items.values():
        counts = isinstance(item.verdicts[metric][0], (list, tuple))  # one cell of one is not right or wrong
        if counts or item.n > 1 or item.scores[metric] not in ((0, 1), (1, 1)):
            return False
    return True
