"""The tables of the page: scores with intervals, pass@k curves, costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from lift_harness.compare.comparison import Comparison
from lift_harness.report.run import Arm, Run
from lift_harness.results.logs import mapping, number, read_object
from lift_harness.results.metrics import kind_of
from lift_harness.results.scores import Cell, on_task


def summary(run: Run, comparison: Comparison | None) -> dict[str, Any]:
    """{task: {metric: {"rows": {row: `shown`}, "best": row or None}}}, in the order of the run's tasks."""
    tables: dict[str, Any] = {}
    if comparison is None:
        return tables
    for task in run.tasks:
        for metric in comparison.tasks.get(task, ()):
            known = (comparison.cells.get((row, task, metric)) for row in run.names)
            if cells := list(filter(None, known)):
                table = {"rows": {cell.row: shown(cell) for cell in cells}, "best": best(cells)}
                tables.setdefault(task, {})[metric] = table
    return tables


def shown(cell: Cell) -> dict[str, Any]:
    """A cell as the page has it: the interval over problems, and beside it the one over seeds."""
    over, seeds = cell.interval, cell.over_seeds
    return {
        "value": cell.value,
        "low": over.low if over else None,
        "high": over.high if over else None,
        "seeds": len(cell.seed_values),
        "seeds_low": seeds.low if seeds else None,
        "seeds_high": seeds.high if seeds else None,
        "items": cell.items,
    }


def best(cells: Sequence[Cell]) -> str | None:
    """The row whose intervals, over problems and over seeds, lie above all those of every other row."""
    top = max(cells, key=lambda cell: cell.value)
    lows, highs = [], []  # of the top's intervals, of the others'
    for cell in cells:
        if cell.interval is None:  # it may be anywhere
            return None
        intervals = [cell.interval, cell.over_seeds or cell.interval]
        if cell is top:
            lows = [interval.low for interval in intervals]
        else:
            highs += [interval.high for interval in intervals]
    return top.row if highs and min(lows) > max(highs) else None


def pass_curves(run: Run) -> list[dict[str, Any]]:
    """Pass@k by task and row: [{"task", "rows": {row: {"k", "value", "low", "high", "items"}}}]."""
    curves = []
    for task in run.tasks:
        rows = {}
        for row in on_task(run.rows, task):
            cells = row.pass_curve()
            if len(cells) > 1:
                points = list(map(shown, cells))
                curve: dict[str, Any] = {"k": [kind_of(cell.metric)[1] for cell in cells]}
                for name in ("value", "low", "high"):
                    curve[name] = [point[name] for point in points]
                rows[row.name] = {**curve, "items": cells[0].items}
        if rows:
            curves.append({"task": task, "rows": rows})
    return curves


# ---------------------------------------------------------------- costs

MEASURES = ("seconds", "gpu_hours", "forward_passes", "tokens", "peak_memory_bytes")


def costs(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """{row: {"train" or "eval": {measure: mean over seeds}}}; what nothing was counted of is left out."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for row in run.names:
        for kind in ("train", "eval"):
            values: dict[str, list[float]] = {}
            for arm in run.arms_of(row):
                for measure, value in stage_cost(run, arm, kind).items():
                    if value:
                        values.setdefault(measure, []).append(value)
            if values:
                means.setdefault(row, {})[kind] = {name: fmean(known) for name, known in values.items()}
    return means


def stage_cost(run: Run, arm: Arm, kind: str) -> dict[str, float]:
    """What a stage took: from the manifest, else from its own record or, of older runs, the results."""
    where = arm.folder.relative_to(run.folder).as_posix()
    record = read_object(arm.folder / f"{kind}.json", run.notes)
    seconds = mapping(mapping(run.results.get("seconds")).get(arm.row)).get(kind)
    weakest_first = (
        {"seconds": seconds},
        record,
        mapping(record.get("cost")),
        mapping(mapping(run.manifest.get("stages")).get(f"{where}/{kind}")),
    )
    cost: dict[str, float] = {}
    for source in weakest_first:
        for name in MEASURES:
            value = number(source.get(name))
            if value is not None:
                cost[name] = value
    return cost
