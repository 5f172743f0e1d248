"""The tables of the page: scores with intervals, pass@k curves, costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lift_harness.report.run import Arm, Run
from lift_harness.results.logs import mapping, number, read_object
from lift_harness.results.scores import Cell, metrics_of, on_task


def summary(run: Run) -> dict[str, Any]:
    """{task: {metric: {"rows": {row: `shown`}, "best": row or None}}}."""
    tables: dict[str, Any] = {}
    for task in run.tasks:
        rows = on_task(run.rows, task)
        for row in rows:
            run.notes.add(*row.contradictions())
        for metric in metrics_of(rows):
            cells = {row.name: cell for row in rows if (cell := row.cell(metric))}
            if cells:
                table = {"rows": {name: shown(cell) for name, cell in cells.items()}, "best": best(cells)}
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


def best(cells: Mapping[str, Cell]) -> str | None:
    """The row whose intervals, over problems and over seeds, lie above all those of every other row."""
    if len(cells) < 2 or any(cell.interval is None for cell in cells.values()):
        return None
    intervals = {name: [i for i in (c.interval, c.over_seeds) if i] for name, c in cells.items()}
    top = max(cells, key=lambda name: cells[name].value)
    others = [interval.high for name in cells if name != top for interval in intervals[name]]
    return top if min(interval.low for interval in intervals[top]) > max(others) else None


def pass_curves(run: Run) -> list[dict[str, Any]]:
    """Pass@k by task and row: [{"task", "rows": {row: {"k", "value", "low", "high", "items"}}}]."""
    curves = []
    for task in run.tasks:
        rows = {}
        for row in on_task(run.rows, task):
            cells = row.pass_curve()
            if len(cells) > 1:
                points = list(map(shown, cells))
                rows[row.name] = {
                    "k": [int(cell.metric.removeprefix("pass@")) for cell in cells],
                    **{name: [point[name] for point in points] for name in ("value", "low", "high")},
                    "items": cells[0].items,
                }
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
            stages = [stage_cost(run, arm, kind) for arm in run.arms_of(row)]
            for measure in MEASURES:
                values = [stage[measure] for stage in stages if stage.get(measure)]
                if values:
                    mean = sum(values) / len(values)
                    means.setdefault(row, {}).setdefault(kind, {})[measure] = mean
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
        known = {name: number(source.get(name)) for name in MEASURES}
        cost |= {name: value for name, value in known.items() if value is not None}
    return cost
