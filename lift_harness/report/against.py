"""The rows of a page against each other: values, differences from a baseline, and of a sweep speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lift_harness.compare.comparison import Comparison, compare
from lift_harness.compare.differences import Difference
from lift_harness.compare.quoting import published_notes
from lift_harness.compare.tables import refusals
from lift_harness.errors import LiftError
from lift_harness.report.run import Run
from lift_harness.results.logs import mapping
from lift_harness.results.rows import listed


def compared(run: Run) -> Comparison | None:
    """The rows of a run compared each with its baseline; None where none has been evaluated.

    Every difference names its baseline: the base model, or of a sweep the row that `results.json` says.
    """
    groups: dict[str, list[str]] = {}
    for row, baseline in baselines(run).items():
        groups.setdefault(baseline, []).append(row)
    whole: Comparison | None = None
    for baseline, names in groups.items():
        rows = [row for row in run.rows if row.name in (baseline, *names)]
        try:
            part = compare(rows, baseline=baseline, across="decoding" if run.is_sweep else None)
        except LiftError:  # no value of any metric: evaluations that were interrupted
            continue
        run.notes.add(*notes_of(part))
        if whole is None:
            whole = part
        else:
            for name in ("tasks", "cells", "differences", "speeds", "same"):
                getattr(whole, name).update(getattr(part, name))
    return whole


def baselines(run: Run) -> dict[str, str]:
    """Row -> the row that it is compared with: of a sweep its own, else the base model or the first."""
    names = [row.name for row in run.rows if row.tasks]
    usual = next((name for name in ("base", *names) if name in names), "")
    of_sweep = {str(row.get("name")): str(row.get("baseline")) for row in swept(run)}
    wanted = {name: of_sweep.get(name, usual) for name in names}
    return {name: baseline if baseline in names else name for name, baseline in wanted.items()}


def swept(run: Run) -> list[dict[str, Any]]:
    """What the results of a sweep say of its rows."""
    return list(map(mapping, listed(run.results.get("rows"))))


def notes_of(comparison: Comparison) -> Iterator[str]:
    """What there is to say of a comparison on a page, which quotes no published numbers."""
    quoted = set(published_notes(comparison))
    yield from (note for note in comparison.notes if note not in quoted)
    yield from (line for line in refusals(comparison) if not line.startswith("--"))


def differences(comparison: Comparison | None) -> dict[str, Any]:
    """{task: {metric: {row: `difference`}}}."""
    tables: dict[str, Any] = {}
    for (row, task, metric), found in comparison.differences.items() if comparison else ():
        tables.setdefault(task, {}).setdefault(metric, {})[row] = difference(found)
    return tables


def difference(found: Difference) -> dict[str, Any]:
    """A difference as the page has it."""
    return {
        "baseline": found.baseline,
        "value": found.value,
        "low": found.interval.low,
        "high": found.interval.high,
        "p": found.adjusted,
        "items": found.items,
        "gained": found.gained,
        "lost": found.lost,
    }


def speeds(run: Run, comparison: Comparison | None) -> dict[str, Any]:
    """Of a sweep {task: {"metric", "rows": {row: what is known of its speed}}}, else {}."""
    if comparison is None or not run.is_sweep:
        return {}
    words = {str(row.get("name")): row.get("decoding") for row in swept(run)}
    fronts = {task: comparison.fronts(task) for task in comparison.tasks}
    tables: dict[str, Any] = {}
    for (row, task), known in comparison.speeds.items():
        same, of = comparison.same.get((row, task), (None, None))
        exact = None if known.exact is None else "exact" if known.exact else "approximate"
        table = tables.setdefault(task, {"metric": comparison.shown(task)[0], "rows": {}})
        table["rows"][row] = {
            "tokens_per_pass": known.tokens_per_pass,
            "tokens_per_second": known.tokens_per_second,
            "passes": known.passes,
            "tokens": known.tokens,
            "peak_memory_bytes": known.peak_memory_bytes,
            "decoding": word if isinstance(word := words.get(row), str) else exact,
            "same": same,
            "of": of,
            "front": fronts[task].get(row, []),
        }
    return tables
