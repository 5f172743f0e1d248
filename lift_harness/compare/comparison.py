"""Rows against each other: values with intervals, differences from the baseline, what does not compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lift_harness.compare.comparable import Mismatch, mismatches, unchecked
from lift_harness.compare.records import Comparison, Difference, Flip, Refusal
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.results import statistics
from lift_harness.results.logs import SAMPLED, Evaluation
from lift_harness.results.read import Row
from lift_harness.results.scores import Side, clipped, columns, in_order, is_binary

Pair = tuple[str, Evaluation, Evaluation]  # seed, the row's, the baseline's


def compare(
    rows: Sequence[Row],
    *,
    baseline: str | None = None,
    tasks: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    anyway: bool = False,
) -> Comparison:
    """Compare rows (`read.load`) with one of them.

    Args:
        rows: their order is the tables'.
        baseline: name of a row; None: the row named base, else the first.
        tasks: these only, with or without `lift_` and "@LENGTH"; None: all.
        metrics: these only; "pass@k" means all of them; None: all.
        anyway: compare what differs in problems, prompts, settings or scoring, with that as a caveat.

    Raises:
        LiftError: no such row, task or metric.
    """
    base = find_baseline(rows, baseline)
    found = Comparison([row.name for row in rows], base.name, {}, anyway=anyway)
    found.notes = [note for row in rows for note in row.notes]
    for task in chosen_tasks(rows, tasks):
        sides = [side for row in rows if (side := Side(row, task)).by_seed]
        names = in_order(name for side in sides for name in side.metrics(sides))
        found.tasks[task] = names
        for side in sides:
            found.notes += side.notes()
            cells = (side.cell(name) for name in wanted_metrics(names, metrics))
            found.cells |= {(cell.row, task, cell.metric): cell for cell in cells if cell}
        theirs = next((side for side in sides if side.row is base), None)
        for side in sides:
            if theirs and side is not theirs:
                compare_sides(side, theirs, wanted_metrics(names, metrics), found)
    known = in_order(name for names in found.tasks.values() for name in names)
    unknown = [name for name in metrics or () if not wanted_metrics(known, [name])]
    if unknown or not found.cells:
        raise LiftError(f"no values of {', '.join(unknown) or 'any metric'}; known: {', '.join(known)}")
    kept = {task: wanted_metrics(names, metrics) for task, names in found.tasks.items()}
    found.tasks = {task: names for task, names in kept.items() if names}
    found.notes = list(dict.fromkeys([*found.notes, *published_notes(found)]))
    adjust(found)
    return found


# ---------------------------------------------------------------- what is compared


def find_baseline(rows: Sequence[Row], name: str | None) -> Row:
    """The row that the others are compared with."""
    if not rows:
        raise LiftError("nothing to compare: no rows")
    if name is not None:
        for row in rows:
            if row.name == name:
                return row
        raise LiftError(f"baseline: no row {name!r}; {did_you_mean(name, [row.name for row in rows])}")
    return next((row for row in rows if row.name.split("/")[-1] == "base"), rows[0])


def chosen_tasks(rows: Sequence[Row], wanted: Sequence[str] | None) -> list[str]:
    """The tasks to compare, in the order of the rows."""
    every = list(dict.fromkeys(task for row in rows for task in row.tasks))
    if wanted is None:
        return every
    found: list[str] = []
    for name in wanted:
        full = (name, f"lift_{name}")
        matching = [task for task in every if task in full or task.partition("@")[0] in full]
        if not matching:
            raise LiftError(f"tasks: no results of {name!r}; {did_you_mean(name, every)}")
        found += matching
    return [task for task in every if task in found]


def wanted_metrics(names: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """Those of `names` that are asked for."""
    if wanted is None:
        return list(names)
    return [name for name in names if name in wanted or ("pass@k" in wanted and name.startswith("pass@"))]


# ---------------------------------------------------------------- a row against the baseline


def compare_sides(side: Side, base: Side, metrics: Sequence[str], found: Comparison) -> None:
    """Differences of a row from the baseline on a task, or why there are none."""
    groups: dict[tuple[int, ...], list[str]] = {}  # metrics that come from the same evaluations
    for metric in metrics:
        ours, theirs = side.evaluations(metric), base.evaluations(metric)
        if ours and theirs:
            groups.setdefault(tuple(map(id, (*ours.values(), *theirs.values()))), []).append(metric)
    where = f"{side.row.name} and {base.row.name} on {side.task}"
    for names in groups.values():
        pairs = paired_seeds(side.evaluations(names[0]), base.evaluations(names[0]))
        reasons = tuple(dict.fromkeys(reason for _, a, b in pairs for reason in mismatches(a, b)))
        logs = [name for name in names if side.keys(name) and base.keys(name)]
        if not logs:
            found.notes.append(
                f"{where}: without sample logs of both there is no difference of {listed(names)}"
            )
            continue
        common = side.keys(logs[0]) and set(side.keys(logs[0])) & set(base.keys(logs[0]))
        if reasons and not (found.anyway and common):
            found.refusals.append(Refusal(side.row.name, base.row.name, side.task, tuple(names), reasons))
            continue
        for missing in dict.fromkeys(text for _, a, b in pairs for text in unchecked(a, b)):
            found.notes.append(f"{where}: {missing} are not known of both, and were not compared")
        for name in logs:
            if difference := difference_of(side, base, name, reasons):
                found.differences[side.row.name, side.task, name] = difference
                found.flips += flips(side, base, name)
        counts = sorted({one.samples for _, *both in pairs for one in both})
        if len(counts) > 1 and any(SAMPLED.fullmatch(name) for name in names):
            found.notes.append(
                f"{where}: {counts[-1]} and {counts[0]} answers a problem, compared up to pass@{counts[0]}"
            )


def paired_seeds(ours: dict[str, Evaluation], theirs: dict[str, Evaluation]) -> list[Pair]:
    """The evaluations that belong together: by seed, or all seeds of one with the only one of the other."""
    if len(theirs) == 1:
        return [(seed, one, next(iter(theirs.values()))) for seed, one in ours.items()]
    if len(ours) == 1:
        return [(seed, next(iter(ours.values())), one) for seed, one in theirs.items()]
    return [(seed, one, theirs[seed]) for seed, one in ours.items() if seed in theirs] or [
        ("", next(iter(ours.values())), next(iter(theirs.values())))
    ]


def difference_of(side: Side, base: Side, metric: str, caveats: tuple[Mismatch, ...]) -> Difference | None:
    """The difference in a metric on the problems that both answered."""
    keys = sorted(set(side.keys(metric)) & set(base.keys(metric)))
    points, of = side.mean_columns(metric, keys)
    base_points, base_of = base.mean_columns(metric, keys)
    paired = statistics.paired(points, of, base_points, base_of)
    if paired is None:
        return None
    ours, theirs = side.evaluations(metric), base.evaluations(metric)
    pairs = paired_seeds(ours, theirs)
    by_seed = [
        statistics.share(*columns(a, metric, keys)) - statistics.share(*columns(b, metric, keys))
        for _, a, b in pairs
    ]
    complete = len(pairs) == max(len(ours), len(theirs))
    over = statistics.over_seeds(by_seed) if complete else None
    gained = lost = mcnemar = None
    if side.binary(metric) and base.binary(metric) and complete:
        changes = [
            (a.items[key].scores[metric][0], b.items[key].scores[metric][0])
            for _, a, b in pairs
            for key in keys
        ]
        gained, lost = changes.count((1, 0)), changes.count((0, 1))
        mcnemar = statistics.mcnemar(gained, lost) if len(pairs) == 1 else None
    return Difference(
        row=side.row.name,
        baseline=base.row.name,
        task=side.task,
        metric=metric,
        value=paired.value,
        interval=paired.interval,
        p=paired.p,
        mcnemar=mcnemar,
        adjusted=paired.p,  # until all rows of the task are known
        over_seeds=clipped(over[0], paired.value, -1) if over else None,
        p_over_seeds=over[1] if over else None,
        items=len(keys),
        gained=gained,
        lost=lost,
        caveats=caveats,
    )


def flips(side: Side, base: Side, metric: str) -> Iterator[Flip]:
    """The problems that only one of the two has right."""
    for seed, a, b in paired_seeds(side.evaluations(metric), base.evaluations(metric)):
        if not (is_binary(a, metric) and is_binary(b, metric)):
            return
        for key in sorted(a.items.keys() & b.items.keys()):
            ours, theirs = a.items[key], b.items[key]
            if ours.scores[metric] != theirs.scores[metric]:
                change = "wrong->right" if ours.scores[metric][0] else "right->wrong"
                yield Flip(side.row.name, base.row.name, side.task, metric, seed, change, ours, theirs)


def adjust(found: Comparison) -> None:
    """Holm's adjustment over the rows of each task and metric."""
    families: dict[tuple[str, str], list[Difference]] = {}
    for one in found.differences.values():
        families.setdefault((one.task, one.metric), []).append(one)
    for family in families.values():
        exact = [one.mcnemar for one in family if one.mcnemar is not None]
        p_values = exact if len(exact) == len(family) else [one.p for one in family]
        for one, adjusted in zip(family, statistics.holm(p_values), strict=True):
            found.differences[one.row, one.task, one.metric] = replace(one, adjusted=adjusted)


def published_notes(found: Comparison) -> Iterator[str]:
    """Where a published number is over more problems than ours."""
    for cell in found.cells.values():
        if cell.published and cell.items and cell.total and cell.items < cell.total:
            yield (
                f"{cell.task}: the published number is over all {cell.total} problems, that of {cell.row} "
                f"over {cell.items}"
            )


def listed(names: Sequence[str]) -> str:
    """Names with commas between."""
    return ", ".join(names)
