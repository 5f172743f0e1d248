"""What a sweep comes to: accuracy, its difference from the baseline and the speed of every setting.

The numbers are those of `compare --across decoding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from lift_harness.compare.comparison import Comparison, compare
from lift_harness.compare.differences import Difference
from lift_harness.compare.grid import Entry, Grid, p_value, percent, problems, short, signed, span
from lift_harness.compare.render import drawn, markdown_parts, markdown_text, split
from lift_harness.compare.speed_tables import MEASURES, front, same_answers
from lift_harness.results.read import load
from lift_harness.results.scores import Cell
from lift_harness.sweep.schema import Sweep
from lift_harness.sweep.settings import Rows

COLUMNS = [name for name in MEASURES if name != "tokens"]
CAPTION = (
    "Change: from {}, in percentage points; p: exact McNemar, or paired bootstrap, with Holm's "
    "adjustment over the settings. Same: problems with its answers. Tokens of text, up to its end; a pass "
    "over a batch of eight answers counts as eight. Pareto: no other setting is as accurate and commits as "
    "many tokens a pass (pass), or a second (s)."
)
EXACTNESS = (
    "Exact: every token comes from a pass over all that the model sees; approximate: a cache keeps what "
    "later tokens would change; other schedule: another than the model's published one."
)


@dataclass(frozen=True)
class Outcome:
    """The rows of a finished sweep, those with one baseline together.

    Attributes:
        rows: of the sweep.
        comparisons: by baseline.
        fronts: by (baseline, task), of its rows (`Comparison.fronts`).
    """

    rows: Rows
    comparisons: Mapping[str, Comparison]
    fronts: Mapping[tuple[str, str], Mapping[str, list[str]]]

    @property
    def exactness(self) -> dict[str, str]:
        """Row -> how its decoding compares with the published one."""
        return {setting.name: setting.exactness for setting in self.rows.settings}

    def of_row(self, name: str) -> dict[str, Any]:
        """A row for results.json; what depends on the machine stands under "measured"."""
        baseline = self.rows.baselines[name]
        comparison = self.comparisons[baseline]
        tasks, measured = {}, {}
        for task in comparison.tasks:
            speed, fronts = comparison.speeds[name, task], self.fronts[baseline, task][name]
            same = comparison.same.get((name, task))
            tasks[task] = {
                "metrics": {
                    metric: metric_of(comparison, name, task, metric) for metric in comparison.tasks[task]
                },
                **({"same_answers": same[0], "answers": same[1]} if same else {}),
                "tokens": speed.tokens,
                "passes": speed.passes,
                "tokens_per_pass": speed.tokens_per_pass,
                "pareto": "tokens_per_pass" in fronts,
            }
            measured[task] = {
                "tokens_per_second": speed.tokens_per_second,
                "peak_memory_bytes": speed.peak_memory_bytes,
                "pareto": "tokens_per_second" in fronts,
            }
        return {
            "baseline": baseline,
            "decoding": self.exactness[name],
            "tasks": tasks,
            "measured": measured,
        }


def outcome_of(output: Path, rows: Rows) -> Outcome:
    """Read what the settings left in the run's folder, and compare them."""
    read = {row.name: row for row in load([output])}
    comparisons: dict[str, Comparison] = {}
    fronts: dict[tuple[str, str], dict[str, list[str]]] = {}
    for baseline in dict.fromkeys(rows.baselines.values()):
        ours = [read[name] for name, theirs in rows.baselines.items() if theirs == baseline]
        comparison = compare(ours, baseline=baseline, across="decoding")
        comparisons[baseline] = comparison
        fronts |= {(baseline, task): comparison.fronts(task) for task in comparison.tasks}
    return Outcome(rows, comparisons, fronts)


def metric_of(comparison: Comparison, row: str, task: str, metric: str) -> dict[str, Any]:
    """A metric of a row on a task: {"value", "low", "high", "problems", "difference": {...}}."""
    cell = comparison.cells[row, task, metric]
    found: dict[str, Any] = {"value": cell.value, "problems": cell.items}
    if cell.interval:
        found |= {"low": cell.interval.low, "high": cell.interval.high}
    if difference := comparison.differences.get((row, task, metric)):
        found["difference"] = {
            "value": difference.value,
            "low": difference.interval.low,
            "high": difference.interval.high,
            "p": difference.p,
            "p_mcnemar": difference.mcnemar,
            "p_holm": difference.adjusted,
        }
    return found


# ---------------------------------------------------------------- tables


def grid_of(outcome: Outcome, comparison: Comparison) -> Grid:
    """The settings with one baseline: a section for each task and metric."""
    header = ["setting", "%", "95 %\ninterval", "change", "p", "same", *COLUMNS, "decoding", "Pareto"]
    grid = Grid(f"Settings against {comparison.baseline}", header, [])
    for task in comparison.tasks:
        fronts = outcome.fronts[comparison.baseline, task]
        for metric in comparison.shown(task):
            cells = [comparison.cells.get((row, task, metric)) for row in comparison.rows]
            known = [cell for cell in cells if cell]
            counts = sorted({cell.items or 0 for cell in known})
            grid.sections[len(grid.rows)] = f"{short(task)} {metric}, {problems(counts)}"
            for cell in known:
                line = accuracy_of(comparison, cell)
                if metric == comparison.shown(task)[0]:  # of the task's other metrics it would be the same
                    line += speed_of(comparison, cell, outcome.exactness[cell.row], fronts[cell.row])
                line += [""] * (len(header) - len(line))
                grid.rows.append(list(map(Entry, line)))
    grid.caption = [CAPTION.format(comparison.baseline), EXACTNESS]
    return grid


def accuracy_of(comparison: Comparison, cell: Cell) -> list[str]:
    """A setting's value in a metric, beside the baseline's."""
    difference = comparison.differences.get((cell.row, cell.task, cell.metric))
    interval = span(cell.interval, cell) if cell.interval else ""
    return [cell.row, percent(cell.value, cell), interval, *differs(difference, cell)]


def speed_of(comparison: Comparison, cell: Cell, exactness: str, fronts: list[str]) -> list[str]:
    """How many answers are the baseline's, and what a setting took."""
    speed = comparison.speeds[cell.row, cell.task]
    return [
        same_answers(comparison, speed),
        *(MEASURES[name](speed) for name in COLUMNS),
        exactness,
        front(fronts),
    ]


def differs(difference: Difference | None, cell: Cell) -> list[str]:
    """The difference from the baseline and its p-value."""
    if difference is None:
        return ["", ""]
    return [signed(difference.value, 0 <= cell.value <= 1), p_value(difference.adjusted)]


def grids(outcome: Outcome) -> list[Grid]:
    """A table for each baseline."""
    return [grid_of(outcome, comparison) for comparison in outcome.comparisons.values()]


def table(outcome: Outcome, width: int) -> RenderableType:
    """The tables for a terminal of that width."""
    parts: list[RenderableType] = []
    for grid in grids(outcome):
        for piece in split(grid, width):
            parts += [drawn(piece), *(Text(line, style="dim") for line in piece.caption)]
    return Group(*parts)


def markdown(sweep: Sweep, notes: list[str], outcome: Outcome) -> str:
    """The sweep as a Markdown page."""
    parts = [f"# {markdown_text(sweep.name)}", markdown_text(f"Models: {', '.join(sweep.model)}.")]
    for grid in grids(outcome):
        parts += markdown_parts(grid, "##")
    if notes:
        parts += ["## Left out", "\n".join(f"- {markdown_text(note)}" for note in notes)]
    parts.append("The sweep as run is in `recipe.yaml`; `lift-harness sweep` takes it.")
    return "\n\n".join(parts) + "\n"
