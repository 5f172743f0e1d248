"""One row on one task: its evaluations over seeds, and each metric as numbers a problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from lift_harness.compare.comparable import mismatches
from lift_harness.compare.published import published
from lift_harness.compare.records import Cell
from lift_harness.results import statistics
from lift_harness.results.logs import SAMPLED, Evaluation
from lift_harness.results.read import Row
from lift_harness.results.statistics import Array, Interval
from lift_harness.tasks.passk import ks_for, pass_at_k

TOLERANCE = 1e-6  # between a results file and what its log gives
LEADING = ("acc", "solved")

Columns = tuple[Array, Array]  # points [n], of [n]


class Side:
    """A row on a task.

    Attributes:
        row: the row.
        task: name of the task.
        by_seed: seed -> evaluations of that task.
    """

    def __init__(self, row: Row, task: str) -> None:
        self.row, self.task = row, task
        found = {seed: [one for one in all_ if one.task == task] for seed, all_ in row.seeds.items()}
        self.by_seed = {seed: kept for seed, kept in found.items() if kept}

    # ---------------------------------------------------------------- metrics

    def metrics(self, sides: Iterable[Side] = ()) -> list[str]:
        """Its metrics; pass@k for every k that it or one of `sides` reports, up to its answers a problem."""
        if not self.by_seed:
            return []
        evaluations = next(iter(self.by_seed.values()))
        names = [name for one in evaluations for name in (*scored(one), *one.aggregates)]
        names = [name for name in names if not SAMPLED.fullmatch(name)]
        n = max((one.samples for one in evaluations if judged(one)), default=1)
        if n > 1:
            ks = {k for side in (self, *sides) for k in ks_for(side.answers())}
            names += [*(f"pass@{k}" for k in sorted(ks) if k <= n), f"avg@{n}"]
        else:
            names += [name for one in evaluations for name in one.aggregates if SAMPLED.fullmatch(name)]
        return in_order(names)

    def answers(self) -> int:
        """The most answers a problem that any evaluation of the first seed has."""
        evaluations = next(iter(self.by_seed.values()), [])
        return max((one.samples for one in evaluations if judged(one)), default=1)

    def evaluations(self, metric: str) -> dict[str, Evaluation]:
        """For each seed the evaluation that a metric comes from.

        pass@k and avg@n come from the one with the most answers, the others from the first that has them:
        `one` (one answer a problem, at the protocol's settings) before `samples`.
        """
        found = {}
        for seed, evaluations in self.by_seed.items():
            having = [one for one in evaluations if has(one, metric)]
            if SAMPLED.fullmatch(metric):
                having.sort(key=lambda one: -one.samples)
            if having:
                found[seed] = having[0]
        return found

    # ---------------------------------------------------------------- values

    def seed_values(self, metric: str) -> dict[str, float]:
        """The value of each seed: from the log, else what the results file says."""
        found = {}
        for seed, one in self.evaluations(metric).items():
            if per_problem(one, metric):
                found[seed] = statistics.share(*columns(one, metric, list(one.items)))
            else:
                found[seed] = one.aggregates[metric][0]
        return {seed: value for seed, value in found.items() if math.isfinite(value)}

    def mean_columns(self, metric: str, keys: list[str]) -> Columns:
        """Points and their maxima of each problem, [n] each: means over seeds."""
        found = [columns(one, metric, keys) for one in self.evaluations(metric).values()]
        points, of = (np.mean(part, axis=0) for part in zip(*found, strict=True))
        return points, of

    def keys(self, metric: str) -> list[str]:
        """The problems that all seeds have, sorted; [] where a seed has none in its log."""
        found = list(self.evaluations(metric).values())
        if not found or not all(per_problem(one, metric) for one in found):
            return []
        return sorted(set.intersection(*(set(one.items) for one in found)))

    def binary(self, metric: str) -> bool:
        """Whether it is right or wrong, with one answer a problem, in every seed."""
        return all(is_binary(one, metric) for one in self.evaluations(metric).values())

    def cell(self, metric: str) -> Cell | None:
        """The number of the tables; None where this row has no such metric."""
        values, found = self.seed_values(metric), self.evaluations(metric)
        if not values:
            return None
        first, keys = found[next(iter(values))], self.keys(metric)
        over = statistics.over_seeds(list(values.values()))
        value = sum(values.values()) / len(values)
        items = len(keys) or first.n_items
        return Cell(
            row=self.row.name,
            task=self.task,
            metric=metric,
            value=value,
            interval=self.interval(metric, keys, value),
            over_seeds=clipped(over[0], value) if over else None,
            seed_values=values,
            items=int(items) if items else None,
            samples=first.samples,
            total=first.n_total,
            gen_length=first.gen_length,
            published=published(
                self.row.model,
                self.row.method,
                self.task,
                metric,
                gen_length=first.gen_length,
                data=self.row.data,
            ),
        )

    def interval(self, metric: str, keys: list[str], value: float) -> Interval | None:
        """The interval over problems (docs/comparing.md says which)."""
        if keys:
            points, of = self.mean_columns(metric, keys)
            if len(self.by_seed) == 1 and self.binary(metric):
                return statistics.binary_interval(points)
            return statistics.share_interval(points, of)
        one = next(iter(self.evaluations(metric).values()))
        if len(self.by_seed) > 1 or metric not in one.aggregates:
            return None
        error = one.aggregates[metric][1]
        if one.n_items and 0 <= value <= 1 and (error == 0 or looks_binary(value, error, one.n_items)):
            return Interval(*statistics.wilson(value * one.n_items, one.n_items), "wilson")
        if not error:
            return None
        half = statistics.NORMAL.inv_cdf(0.975) * error
        return clipped(Interval(value - half, value + half, "normal"), value)

    # ---------------------------------------------------------------- what contradicts itself

    def notes(self) -> Iterator[str]:
        """Where results files and logs differ, and where seeds were evaluated differently."""
        where = f"{self.row.name} on {self.task}"
        evaluations = [one for found in self.by_seed.values() for one in found]
        for one in evaluations:
            if one.items and one.n_items and one.n_items != len(one.items):
                yield f"{where}: {one.log} holds {len(one.items)} problems, its results file {one.n_items}"
            for metric, (theirs, _) in one.aggregates.items():
                if per_problem(one, metric):
                    ours = statistics.share(*columns(one, metric, list(one.items)))
                    if abs(ours - theirs) > TOLERANCE:
                        yield f"{where}: {contradiction(metric, theirs, one.source.name, ours)}"
        for metric, theirs in self.row.expected.get(self.task, {}).items():
            values = self.seed_values(metric)
            if values and abs(sum(values.values()) / len(values) - theirs) > TOLERANCE:
                mean = sum(values.values()) / len(values)
                yield f"{where}: {contradiction(metric, theirs, 'results.json of the run', mean)}"
        for first, *others in zip(*self.by_seed.values(), strict=False):
            for other in others:
                for found in mismatches(other, first):
                    yield f"{where}: its seeds were not evaluated alike: {found}"


def contradiction(metric: str, theirs: float, source: str, ours: float) -> str:
    """A log against a results file."""
    return (
        f"{metric} is {theirs:.4f} in {source}, but {ours:.4f} by the sample log, which is what is shown: "
        "one of the two is not of this evaluation"
    )


# ---------------------------------------------------------------- an evaluation's metrics


def judged(one: Evaluation) -> bool:
    """Whether its log says how many answers to each problem are right."""
    return bool(one.items) and all(item.right is not None for item in one.items.values())


def scored(one: Evaluation) -> list[str]:
    """The metrics that all problems of its log have."""
    items = list(one.items.values())
    return [name for name in items[0].scores if all(name in item.scores for item in items)] if items else []


def has(one: Evaluation, metric: str) -> bool:
    """Whether it has a value of a metric."""
    return metric in one.aggregates or per_problem(one, metric)


def per_problem(one: Evaluation, metric: str) -> bool:
    """Whether its log has a metric for each problem, of which the task's value is the share.

    For our tasks it is. Of another task with an aggregation of its own (a perplexity, an F1 of all
    answers) the mean over problems is not the value, and only the results file's counts.
    """
    sampled = SAMPLED.fullmatch(metric)
    if sampled:
        n, k = one.samples, int(sampled[2])
        return judged(one) and n > 1 and (k <= n if sampled[1] == "pass" else k == n)
    if metric not in scored(one):
        return False
    if judged(one) or metric not in one.aggregates:
        return True
    return (
        abs(statistics.share(*columns(one, metric, list(one.items))) - one.aggregates[metric][0]) <= TOLERANCE
    )


def columns(one: Evaluation, metric: str, keys: list[str]) -> Columns:
    """Points and their maxima of some problems, [n] each; the order of the problems is that of `keys`."""
    items = [one.items[key] for key in keys]
    sampled = SAMPLED.fullmatch(metric)
    if sampled and sampled[1] == "pass":
        scores = [(chance(item.n, item.right or 0, int(sampled[2])), 1.0) for item in items]
    elif sampled:
        scores = [((item.right or 0) / item.n, 1.0) for item in items]
    else:
        scores = [item.scores[metric] for item in items]
    table = np.array(scores, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@lru_cache(maxsize=100_000)
def chance(n: int, right: int, k: int) -> float:
    """Pass@k of one problem."""
    return pass_at_k(n, right, k)


def is_binary(one: Evaluation, metric: str) -> bool:
    """Whether every problem has one answer that is right (1) or wrong (0)."""
    if SAMPLED.fullmatch(metric) or not per_problem(one, metric):
        return False
    return all(
        item.n == 1 and item.scores[metric] in ((0, 1), (1, 1)) for item in one.items.values()
    ) and all(not isinstance(item.verdicts[metric][0], (list, tuple)) for item in one.items.values())


def looks_binary(value: float, error: float | None, n: int) -> bool:
    """Whether a share and its standard error are those of n zeros and ones."""
    whole = abs(value * n - round(value * n)) < 1e-6
    return (
        whole and n > 1 and error is not None and abs(error - math.sqrt(value * (1 - value) / (n - 1))) < 1e-9
    )


def clipped(interval: Interval, value: float, lowest: float = 0) -> Interval:
    """The interval of a share, inside of `lowest` to 1; of anything else as it is."""
    if not lowest <= value <= 1:
        return interval
    return Interval(max(lowest, interval.low), min(1.0, interval.high), interval.method)


def in_order(names: Iterable[str]) -> list[str]:
    """acc, solved, pass@k by k, the others, avg@n; each once."""

    def key(name: str) -> tuple[int, int]:
        sampled = SAMPLED.fullmatch(name)
        if sampled:
            return (2 if sampled[1] == "pass" else 4, int(sampled[2]))
        return (LEADING.index(name) if name in LEADING else 3, 0)

    return sorted(dict.fromkeys(names), key=key)
