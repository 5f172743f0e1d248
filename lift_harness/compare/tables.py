"""The tables of a comparison as text cells, for whatever draws them (`render`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lift_harness.compare.comparable import Mismatch
from lift_harness.compare.records import SECONDARY, Cell, Comparison, Difference
from lift_harness.results.logs import SAMPLED
from lift_harness.results.statistics import Interval

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Entry:
    """A cell: what counts, and what stands smaller below or beside it."""

    main: str = ""
    small: tuple[str, ...] = ()


@dataclass
class Grid:
    """A table.

    Attributes:
        title: what it shows.
        header: the first column's name, then the others'; a line break where one may be drawn.
        rows: cells by row.
        sections: index of a row -> the title above it.
        caption: what the reader has to know.
    """

    title: str
    header: list[str]
    rows: list[list[Entry]]
    sections: dict[int, str] = field(default_factory=dict)
    caption: list[str] = field(default_factory=list)


def grids(found: Comparison, *, everything: bool = False) -> list[Grid]:
    """The tables: accuracy, pass@k, differences from the baseline.

    Args:
        found: the comparison.
        everything: all its metrics, also those that tables leave out unless asked for.
    """
    shown = {
        task: found.tasks[task] if everything else without_repetition(found, task) for task in found.tasks
    }
    plain = {task: [m for m in names if not is_pass(m)] for task, names in shown.items()}
    passes = {task: [m for m in names if is_pass(m)] for task, names in shown.items()}
    tables = [accuracy(found, plain), pass_at_k(found, passes), differences(found, shown, everything)]
    return [table for table in tables if table.rows]


def without_repetition(found: Comparison, task: str) -> list[str]:
    """The metrics to show, without an acc that is pass@1: the same answers, the same mean (AIME)."""
    names = found.shown(task)
    pairs = [
        (found.cells.get((row, task, "acc")), found.cells.get((row, task, "pass@1"))) for row in found.rows
    ]
    both = [(acc, one) for acc, one in pairs if acc or one]
    same = all(acc and one and acc.samples > 1 and abs(acc.value - one.value) < 1e-9 for acc, one in both)
    return [name for name in names if name != "acc"] if both and same else names


def notes(found: Comparison) -> list[str]:
    """What stands below the tables: what was not compared and why, and what was missing."""
    return [*refusals(found), *found.notes]


# ---------------------------------------------------------------- tables


def accuracy(found: Comparison, metrics: dict[str, list[str]]) -> Grid:
    """Methods by tasks."""
    columns = [(task, name) for task, names in metrics.items() for name in names]
    rows = [
        [Entry(row), *(value_entry(found, row, task, name) for task, name in columns)]
        for row in found.rows
        if any((row, task, name) in found.cells for task, name in columns)
    ]
    header = ["method", *(f"{short(task)}\n{name}" for task, name in columns)]
    cells = [cell for (_, *column), cell in found.cells.items() if tuple(column) in columns]
    return Grid("Accuracy, percent, with 95 % intervals", header, rows, caption=caption(found, cells))


def pass_at_k(found: Comparison, metrics: dict[str, list[str]]) -> Grid:
    """Methods by k, task by task."""
    ks = sorted({int(name[5:]) for names in metrics.values() for name in names})
    grid = Grid("pass@k, percent, with 95 % intervals", ["method", *(f"k = {k}" for k in ks)], [])
    cells = []
    for task, names in metrics.items():
        known = [row for row in found.rows if any((row, task, name) in found.cells for name in names)]
        if known:
            cells += [
                found.cells[row, task, name]
                for row in known
                for name in names
                if (row, task, name) in found.cells
            ]
            grid.sections[len(grid.rows)] = f"{short(task)}: {answers(cells, task)}"
        for row in known:
            entries = (value_entry(found, row, task, f"pass@{k}") for k in ks)
            grid.rows.append([Entry(row), *entries])
    grid.caption = caption(found, cells)
    return grid


def differences(found: Comparison, metrics: dict[str, list[str]], everything: bool) -> Grid:
    """Differences from the baseline: of pass@k the largest k only, unless metrics are asked for."""
    header = ["method", "difference", "95 % interval", "p", "McNemar", "Holm", "gained / lost"]
    grid = Grid(f"Difference from {found.baseline}, percentage points", header, [])
    seeds = False
    for task, names in metrics.items():
        passes = [name for name in names if is_pass(name)]
        for name in names if everything else [m for m in names if m not in passes[:-1]]:
            known = [one for row in found.rows if (one := found.differences.get((row, task, name)))]
            if not known:
                continue
            counts = sorted({one.items for one in known})
            grid.sections[len(grid.rows)] = f"{short(task)} {name}, {problems(counts)}"
            grid.rows += [difference_entries(one, is_share(found, one)) for one in known]
            seeds |= any(one.over_seeds for one in known)
    grid.caption = [
        "p: paired bootstrap over the problems that both answered; McNemar: exact. Holm: adjusted over the "
        "methods of a task (of McNemar's p where there is one). Gained: wrong there, right here."
    ]
    if seeds:
        grid.caption.append(
            "seeds: t interval over training seeds, for what training again would give; p and the other "
            "interval are over problems, for these checkpoints. Gained and lost are summed over seeds."
        )
    shown_ones = [one for one in found.differences.values() if one.metric in metrics.get(one.task, ())]
    caveats = [(one.task, (one.metric,), one.row, one.caveats) for one in shown_ones if one.caveats]
    grid.caption += [f"Compared anyway: {text}" for text in grouped(caveats)]
    return grid


# ---------------------------------------------------------------- cells


def value_entry(found: Comparison, row: str, task: str, metric: str) -> Entry:
    """A value, its intervals and the published number."""
    cell = found.cells.get((row, task, metric))
    if cell is None:
        return Entry()
    difference = found.differences.get((row, task, metric))
    mark = "*" if difference and difference.adjusted < SIGNIFICANT else ""
    refused = any(one.row == row and one.task == task and metric in one.metrics for one in found.refusals)
    refused |= bool(difference and difference.caveats)
    small = [span(cell.interval, cell)] if cell.interval else []
    if cell.over_seeds:
        small.append(f"seeds {span(cell.over_seeds, cell)}")
    if cell.published:
        small.append(f"paper {100 * cell.published.value:.1f}")
    return Entry(f"{percent(cell.value, cell)}{mark}{'†' if refused else ''}", tuple(small))


def difference_entries(one: Difference, shares: bool) -> list[Entry]:
    """A row of the table of differences; `shares`: in percentage points."""
    seeds = (f"seeds {signed_span(one.over_seeds, shares)}",) if one.over_seeds else ()
    return [
        Entry(one.row),
        Entry(signed(one.value, shares)),
        Entry(signed_span(one.interval, shares), seeds),
        Entry(p_value(one.p)),
        Entry(p_value(one.mcnemar)),
        Entry(p_value(one.adjusted)),
        Entry("" if one.gained is None else f"{one.gained} / {one.lost}"),
    ]


def caption(found: Comparison, cells: Iterable[Cell]) -> list[str]:
    """What marks and small print of a table of values mean."""
    cells = list(cells)
    keys = [(cell.row, cell.task, cell.metric) for cell in cells]
    lines = []
    if any(found.differences[key].adjusted < SIGNIFICANT for key in keys if key in found.differences):
        lines.append(f"*: differs from {found.baseline} (p < 0.05 after Holm's adjustment over the methods).")
    if any((one.row, one.task, name) in keys for one in found.refusals for name in one.metrics):
        lines.append(f"†: not compared with {found.baseline}, see below.")
    if any(found.differences[key].caveats for key in keys if key in found.differences):
        lines.append(f"†: differs from {found.baseline} in more than the model, see below.")
    if any(cell.over_seeds for cell in cells):
        lines.append("seeds: t interval over training seeds; the other interval is over problems.")
    quoted = [cell.published for cell in cells if cell.published]
    for source in dict.fromkeys(one.source for one in quoted):
        what = dict.fromkeys(one.what for one in quoted if one.what)
        lines.append(f"paper: {source}{' (' + '; '.join(what) + ')' if what else ''}.")
    return lines


def refusals(found: Comparison) -> Iterator[str]:
    """What was not compared."""
    for text in grouped((one.task, one.metrics, one.row, one.reasons) for one in found.refusals):
        yield f"Not compared with {found.baseline}: {text}"
    if found.refusals and not found.anyway:
        yield "--anyway compares the problems that both answered all the same."


def grouped(differing: Iterable[tuple[str, tuple[str, ...], str, tuple[Mismatch, ...]]]) -> Iterator[str]:
    """Lines about what differs, from (task, metrics, row, reasons): what has the same reasons in one line."""
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
    names = ["pass@k" if is_pass(name) else name for name in metrics if not SECONDARY.fullmatch(name)]
    return ", ".join(dict.fromkeys(names or metrics))


# ---------------------------------------------------------------- words and numbers


def is_pass(metric: str) -> bool:
    """Whether it is pass@k for a k."""
    sampled = SAMPLED.fullmatch(metric)
    return bool(sampled and sampled[1] == "pass")


def short(task: str) -> str:
    """A task without the prefix that all of ours have."""
    return task.removeprefix("lift_")


def answers(cells: Sequence[Cell], task: str) -> str:
    """How many answers to how many problems."""
    mine = [cell for cell in cells if cell.task == task]
    samples, counts = sorted({cell.samples for cell in mine}), sorted({cell.items or 0 for cell in mine})
    return f"{span_of(samples)} answers a problem, {problems(counts)}"


def problems(counts: Sequence[int]) -> str:
    """`1,319 problems`, `30 to 40 problems`."""
    return f"{span_of(counts)} problem{'s' if counts[-1] != 1 else ''}"


def span_of(counts: Sequence[int]) -> str:
    """`16`, or `8 to 16`."""
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"


def percent(value: float, cell: Cell) -> str:
    """A share in percent, anything else as it is."""
    return f"{100 * value:.1f}" if 0 <= cell.value <= 1 else f"{value:.4g}"


def span(interval: Interval, cell: Cell) -> str:
    """An interval of a value."""
    return f"{percent(interval.low, cell)}–{percent(interval.high, cell)}"


def is_share(found: Comparison, one: Difference) -> bool:
    """Whether it is the difference of two shares."""
    return all(0 <= found.cells[row, one.task, one.metric].value <= 1 for row in (one.row, one.baseline))


def signed(value: float, share: bool) -> str:
    """A difference: of shares in percentage points, of anything else as it is."""
    text = f"{100 * value:+.1f}" if share else f"{value:+.4g}"
    return "0.0" if text in ("-0.0", "+0.0") else text


def signed_span(interval: Interval, share: bool) -> str:
    """An interval of a difference."""
    return f"[{signed(interval.low, share)}, {signed(interval.high, share)}]"


def p_value(p: float | None) -> str:
    """A p-value to three digits."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
