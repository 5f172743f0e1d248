"""Token frequency against confidence, where `lift-harness analyze` has been run into the folder."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lift_harness.files import read_bytes
from lift_harness.report.run import Run
from lift_harness.results.logs import number, read_object

FIELDS = ("frequency_low", "frequency_high", "count", "confidence_mean", "confidence_stderr")


def frequencies(run: Run) -> list[dict[str, Any]]:
    """The frequency tables of a run: [{"name", "model", "data", "sentences", "series": [{"t", "bins"}]}]."""
    tables = []
    for file in sorted(run.folder.rglob("frequency.csv")):
        name = str(file.parent.relative_to(run.folder))
        try:
            series = curves(file)
        except (OSError, ValueError, csv.Error):  # no file, too large, a cell of 131,072 characters
            series = []
        if not series:
            run.notes.add(f"{name}/frequency.csv has no row with {', '.join(FIELDS)}.")
            continue
        about = read_object(file.with_name("analysis.json"), run.notes)
        sentences = about.get("sentences")
        tables.append(
            {
                "name": name,
                "model": str(about.get("model") or ""),
                "data": str(about.get("data") or ""),
                "sentences": list(map(str, sentences)) if isinstance(sentences, list) else [],
                "series": series,
            }
        )
    return tables


def curves(file: Path) -> list[dict[str, Any]]:
    """A curve for each diffusion time (column t, if there is one), all times together first."""
    by_time: dict[str, list[dict[str, Any]]] = {}
    text = read_bytes(file).decode("utf-8", errors="replace")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        values = {name: parsed(row.get(name)) for name in FIELDS}
        low, high = values["frequency_low"], values["frequency_high"]
        if low and high and low > 0 and values["confidence_mean"] is not None:
            by_time.setdefault(row.get("t") or "all", []).append(values)
    order = sorted(by_time, key=lambda t: (t != "all", parsed(t) or 0.0))
    return [{"t": t if t == "all" else parsed(t), "bins": by_time[t]} for t in order]


def parsed(text: str | None) -> float | None:
    """A cell of the table as a finite number, None for anything else."""
    try:
        return number(float(text or ""))
    except ValueError:
        return None
