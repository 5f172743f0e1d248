"""`sweep --dry-run`: the settings, the passes that each takes at most, and how long where that is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from lift_harness.budget.verdict import duration
from lift_harness.compare.speed_tables import figure
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.pipeline.evaluation import evaluations, load_tasks
from lift_harness.pipeline.plan import answers_of
from lift_harness.results.read import load
from lift_harness.results.scores import RowOnTask
from lift_harness.results.speed import speed_of
from lift_harness.sweep.schema import Sweep
from lift_harness.sweep.settings import Rows, rows_of


@dataclass(frozen=True)
class Planned:
    """A setting of a plan: its row, and how many answers and passes of sequences it takes at most."""

    name: str
    answers: int
    passes: int


def show_plan(sweep: Sweep, output: Path, console: Console | None = None) -> None:
    """Print what a sweep would do."""
    console = console or Console()
    rows = rows_of(sweep)
    baseline = rows.baselines[rows.settings[0].name]
    planned = plan(sweep, rows)
    seconds = seconds_a_pass(output, baseline)
    table = Table(title=f"{sweep.name}: {len(planned)} settings", title_justify="left")
    for column in ("setting", "answers", "passes", "time"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for one in planned:
        time = None if seconds is None else one.passes * seconds
        table.add_row(one.name, f"{one.answers:,}", f"{one.passes:,}", duration(time))
    console.print(table)
    for note in rows.notes:
        console.print(note, soft_wrap=True, highlight=False)
    total = sum(one.passes for one in planned)
    console.print(
        f"at most {total:,} passes of sequences: fewer where a text ends early, or a schedule is sure"
    )
    if seconds is None:
        console.print(f"how long is not known before {baseline} has run in {output}")
    else:
        pace = figure(1 / seconds)
        console.print(f"about {duration(total * seconds)} at the {pace} passes a second of {baseline}")
    console.print(f"writes to {output}: recipe.yaml, manifest.json, results.json, report.md, report.html,")
    console.print("and in a folder for each setting lm-eval's results and sample logs")


def plan(sweep: Sweep, rows: Rows) -> list[Planned]:
    """What each setting takes."""
    counts: dict[tuple[str, str], int] = {}  # the same under every setting
    for run in evaluations(rows.settings[0].checkpoint, sweep):
        for task in load_tasks(run, sweep):
            counts[run.label, task.task_name] = answers_of(task, run)[1]
    planned = []
    for setting in rows.settings:
        passes = sum(counts[key] * config.most_passes for key, config in setting.configs.items())
        planned.append(Planned(setting.name, sum(counts.values()), passes))
    return planned


def seconds_a_pass(output: Path, baseline: str) -> float | None:
    """Seconds that a pass took under the baseline, where it has run in the folder; None: not known."""
    try:
        row = next((row for row in load([output]) if row.name == baseline), None)
    except LiftError:  # nothing is there
        return None
    speeds = [speed_of(RowOnTask(row, task)) for task in row.tasks] if row else []
    for speed in filter(None, speeds):
        if speed.tokens_per_second:
            return speed.tokens_per_pass / speed.tokens_per_second
    return None
