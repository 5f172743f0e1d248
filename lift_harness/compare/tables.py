"""The tables of a comparison as text cells, for whatever draws them (`render`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lift_harness.compare.comparable import Mismatch
from lift_harness.compare.comparison import Comparison
from lift_harness.compare.differences import Difference
from lift_harness.compare.grid import (
    Entry,
    Grid,
    answers,
    p_value,
    percent,
    problems,
    short,
    signed,
    signed_span,
    span,
)
from lift_harness.compare.speed_tables import aup, speed
from lift_harness.results.metrics import is_pass, is_shown, kind_of
from lift_harness.results.scores import Cell

SIGNIFICANT = 0.05
WITH_INTERVALS = ", with 95 % intervals"  # how the titles of tables of values end
Reason = tuple[str, tuple[str, ...], str, tuple[Mismatch, ...]]  # task, metrics, row, what differs


def grids(comparison: Comparison, *, everything: bool = False) -> list[Grid]:
    """The tables: accuracy, pass@k, differences from the baseline, speed, accuracy under parallelism.

    Args:
        comparison: what they show.
        everything: all its metrics, also those that tables leave out unless asked for.
    """
    shown = dict(comparison.tasks)
    if not everything:
        shown = {task: without_repetition(comparison, task) for task in shown}
    columns: list[tuple[str, str]] = []
    for task, names in shown.items():
        columns += [(task, name) for name in names]
    passes = [column for column in columns if is_pass(column[1])]
    tables = [
        accuracy(comparison, [column for column in columns if column not in passes]),
        pass_at_k(comparison, passes),
        differences(comparison, shown, everything),
        speed(comparison),
        aup(comparison),
    ]
    return [table for table in tables if table.rows]


def without_repetition(comparison: Comparison, task: str) -> list[str]:
    """The metrics to show, without an acc that is pass@1: the same answers, the same mean (AIME)."""
    names = comparison.shown(task)
    known = False
    for row in comparison.rows:
        acc, first = (comparison.cells.get((row, task, metric)) for metric in ("acc", "pass@1"))
        if acc is None and first is None:
            continue
        if not (acc and first and acc.samples > 1 and abs(acc.value - first.value) < 1e-9):
            return names
        known = True
    return [name for name in names if name != "acc"] if known else names


def notes(comparison: Comparison) -> list[str]:
    """What stands below the tables: what was not compared and why, and what was missing."""
    return [*refusals(comparison), *comparison.notes]


# ---------------------------------------------------------------- tables


def accuracy(comparison: Comparison, columns: Sequence[tuple[str, str]]) -> Grid:
    """Methods by tasks; `columns`: (task, metric)."""
    header = ["method", *(f"{short(task)}\n{metric}" for task, metric in columns)]
    grid = Grid(f"Accuracy, percent{WITH_INTERVALS}", header, [])
    grid.caption = caption(comparison, add_rows(grid, comparison, columns))
    return grid


def pass_at_k(comparison: Comparison, columns: Sequence[tuple[str, str]]) -> Grid:
    """Methods by k, task by task; `columns`: (task, metric)."""
    ks = sorted({kind_of(metric)[1] for _, metric in columns})
    grid = Grid(f"pass@k, percent{WITH_INTERVALS}", ["method", *map("k = {}".format, ks)], [])
    shown: list[Cell] = []
    for task in dict(columns):
        start = len(grid.rows)
        of_task = add_rows(grid, comparison, [(task, f"pass@{k}") for k in ks])
        if of_task:
            grid.sections[start] = f"{short(task)}: {answers(of_task)}"
            shown += of_task
    grid.caption = caption(comparison, shown)
    return grid


def add_rows(grid: Grid, comparison: Comparison, columns: Sequence[tuple[str, str]]) -> list[Cell]:
    """Add a line for each row that has a number in one of the columns, and return the numbers."""
    shown: list[Cell] = []
    for row in comparison.rows:
        cells = [comparison.cells.get((row, *column)) for column in columns]
        if any(cells):
            grid.rows.append([Entry(row), *(value_entry(comparison, cell) for cell in cells)])
            shown += filter(None, cells)
    return shown


def differences(comparison: Comparison, metrics: dict[str, list[str]], everything: bool) -> Grid:
    """Differences from the baseline: of pass@k the largest k only, unless metrics are asked for."""
    header = ["method", "difference", "95 % interval", "p", "McNemar", "Holm", "gained / lost"]
    grid = Grid(f"Difference from {comparison.baseline}, percentage points", header, [])
    shown: list[Difference] = []
    for task, names in metrics.items():
        smaller = list(filter(is_pass, names))[:-1]
        for name in names:
            if name in smaller and not everything:
                continue
            of_rows = (comparison.differences.get((row, task, name)) for row in comparison.rows)
            if known := list(filter(None, of_rows)):
                counts = sorted({difference.items for difference in known})
                grid.sections[len(grid.rows)] = f"{short(task)} {name}, {problems(counts)}"
                grid.rows += [difference_entries(comparison, difference) for difference in known]
                shown += known
    grid.caption = [
        "p: paired bootstrap over the problems that both answered; McNemar: exact. Holm: adjusted over the "
        "methods of a task (of McNemar's p where there is one). Gained: wrong there, right here."
    ]
    if any(difference.over_seeds for difference in shown):
        grid.caption.append(
            "seeds: t interval over training seeds, for what training again would give; p and the other "
            "interval are over problems, for these checkpoints. Gained and lost are summed over seeds."
        )
    caveats: list[Reason] = []
    for difference in comparison.differences.values():
        if difference.caveats and difference.metric in metrics.get(difference.task, ()):
            caveats.append((difference.task, (difference.metric,), difference.row, difference.caveats))
    grid.caption += map("Compared anyway: {}".format, grouped(caveats))
    return grid


# ---------------------------------------------------------------- cells


def value_entry(comparison: Comparison, cell: Cell | None) -> Entry:
    """A value, its intervals and the published number."""
    if cell is None:
        return Entry()
    difference = comparison.differences.get((cell.row, cell.task, cell.metric))
    star = "*" if difference and difference.adjusted < SIGNIFICANT else ""
    dagger = "†" if is_refused(comparison, cell) or (difference and difference.caveats) else ""
    small = [span(cell.interval, cell)] if cell.interval else []
    if cell.over_seeds:
        small.append(f"seeds {span(cell.over_seeds, cell)}")
    if cell.published:
        small.append(f"paper {100 * cell.published.value:.1f}")
    return Entry(f"{percent(cell.value, cell)}{star}{dagger}", tuple(small), cell)


def is_refused(comparison: Comparison, cell: Cell) -> bool:
    """Whether a number was not compared with the baseline's."""
    for refusal in comparison.refusals:
        if (refusal.row, refusal.task) == (cell.row, cell.task) and cell.metric in refusal.metrics:
            return True
    return False


def difference_entries(comparison: Comparison, difference: Difference) -> list[Entry]:
    """A row of the table of differences: of shares in percentage points."""
    task, metric = difference.task, difference.metric
    ours = comparison.cells[difference.row, task, metric].value
    theirs = comparison.cells[difference.baseline, task, metric].value
    shares = 0 <= min(ours, theirs) <= max(ours, theirs) <= 1
    over = difference.over_seeds
    seeds = (f"seeds {signed_span(over, shares)}",) if over else ()
    return [
        Entry(difference.row),
        Entry(signed(difference.value, shares)),
        Entry(signed_span(difference.interval, shares), seeds),
        Entry(p_value(difference.p)),
        Entry(p_value(difference.mcnemar)),
        Entry(p_value(difference.adjusted)),
        Entry("" if difference.gained is None else f"{difference.gained} / {difference.lost}"),
    ]


# ---------------------------------------------------------------- captions and notes


def caption(comparison: Comparison, cells: Sequence[Cell]) -> list[str]:
    """What the marks of a table of values mean."""
    base, lines = comparison.baseline, []
    starred = refused = caveats = seeds = False
    conditions: dict[str, dict[str, None]] = {}  # of published numbers by their source
    for cell in cells:
        difference = comparison.differences.get((cell.row, cell.task, cell.metric))
        if difference:
            starred |= difference.adjusted < SIGNIFICANT
            caveats |= bool(difference.caveats)
        refused |= is_refused(comparison, cell)
        seeds |= cell.over_seeds is not None
        if cell.published:
            conditions.setdefault(cell.published.source, {})[cell.published.what] = None
    if starred:
        lines.append(f"*: differs from {base} (p < 0.05 after Holm's adjustment over the methods).")
    if refused:
        lines.append(f"†: not compared with {base}, see below.")
    if caveats:
        lines.append(f"†: differs from {base} in more than the model, see below.")
    if seeds:
        lines.append("seeds: t interval over training seeds; the other interval is over problems.")
    for source, of_source in conditions.items():
        what = "; ".join(filter(None, of_source))
        lines.append(f"paper: {source}{f' ({what})' if what else ''}.")
    return lines


def refusals(comparison: Comparison) -> Iterator[str]:
    """What was not compared."""
    refused: list[Reason] = []
    for refusal in comparison.refusals:
        refused.append((refusal.task, refusal.metrics, refusal.row, refusal.reasons))
    for text in grouped(refused):
        yield f"Not compared with {comparison.baseline}: {text}"
    if refused and not comparison.anyway:
        yield "--anyway compares the problems that both answered all the same."


def grouped(differing: Iterable[Reason]) -> Iterator[str]:
    """Lines about what differs: what has the same reasons in one line."""
    metrics: dict[tuple[str, str, str], list[str]] = {}
    for task, several, row, reasons in differing:
        metrics.setdefault((task, row, "; ".join(map(str, reasons))), []).extend(several)
    rows: dict[tuple[str, str, str], list[str]] = {}
    for (task, row, text), names in metrics.items():
        rows.setdefault((task, family(names), text), []).append(row)
    tasks: dict[tuple[str, str, str], list[str]] = {}
    for (task, those, text), methods in rows.items():
        tasks.setdefault((", ".join(methods), those, text), []).append(short(task))
    for (who, those, text), where in tasks.items():
        yield f"{who} on {', '.join(where)} ({those}): {text}."


def family(metrics: Sequence[str]) -> str:
    """The metrics that come from one evaluation, in short."""
    names = ["pass@k" if is_pass(name) else name for name in metrics if is_shown(name)]
    return ", ".join(dict.fromkeys(names or metrics))
