"""What a comparison holds."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from lift_harness.compare.comparable import Mismatch
from lift_harness.compare.published import Published
from lift_harness.results.logs import Item
from lift_harness.results.statistics import Interval

SECONDARY = re.compile(r"format|math_verify|avg@\d+")  # not in the tables unless asked for


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
        published: the paper's number.
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
    published: Published | None


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
    anyway: bool = False

    def shown(self, task: str) -> list[str]:
        """The metrics of a task that tables show unless others are asked for."""
        return [name for name in self.tasks[task] if not SECONDARY.fullmatch(name)] or self.tasks[task]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the flips' texts, for JSON."""
        return {
            "rows": self.rows,
            "baseline": self.baseline,
            "tasks": self.tasks,
            "cells": [asdict(one) for one in self.cells.values()],
            "differences": [asdict(one) for one in self.differences.values()],
            "not_compared": [asdict(one) for one in self.refusals],
            "notes": self.notes,
            "anyway": self.anyway,
        }
