"""Token frequency against confidence, where `lift-harness analyze` has been run into the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lift_harness.report.files import number, read_csv, read_mapping
from lift_harness.report.run import Run

FIELDS = ("frequency_low", "frequency_high", "count", "confidence_mean", "confidence_stderr")


def frequencies(run: Run) -> list[dict[str, Any]]:
    """The frequency tables of a run: [{"name", "model", "data", "sentences", "series": [{"t", "bins"}]}]."""
    found = []
    files = sorted(run.folder.rglob("frequency.csv"))
    for file in files:
        name = str(file.parent.relative_to(run.folder))
        try:
            series = curves(file)
        except (OSError, ValueError):
            series = []
        if not series:
            run.notes.add(f"{name}/frequency.csv has no row with {', '.join(FIELDS)}.")
            continue
        about = read_mapping(file.with_name("analysis.json"), run.notes, f"{name}/analysis.json")
        sentences = about.get("sentences")
        found.append(
            {
                "name": name,
                "model": str(about.get("model") or ""),
                "data": str(about.get("data") or ""),
                "sentences": [str(one) for one in sentences] if isinstance(sentences, list) else [],
                "series": series,
            }
        )
    return found


def curves(file: Path) -> list[dict[str, Any]]:
    """A curve for each diffusion time (column t, if there is one), all times together first."""
    by_time: dict[str, list[dict[str, Any]]] = {}
    for row in read_csv(file):
        values = {name: number(row.get(name)) for name in FIELDS}
        low, high = values["frequency_low"], values["frequency_high"]
        if low and high and low > 0 and values["confidence_mean"] is not None:
            by_time.setdefault(row.get("t") or "all", []).append(values)
    order = sorted(by_time, key=lambda t: (t != "all", number(t) or 0.0))
    return [{"t": t if t == "all" else number(t), "bins": by_time[t]} for t in order]
