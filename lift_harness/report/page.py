"""Put the page together: the template, its style and scripts, and the run as JSON, in one file."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lift_harness import __version__
from lift_harness.errors import LiftError
from lift_harness.files import check_writable, write_whole
from lift_harness.report.against import baselines, compared, differences, speeds
from lift_harness.report.answers import read_problems
from lift_harness.report.breakdown import breakdowns, by_generation_length
from lift_harness.report.embed import Cut, browser, encode, size
from lift_harness.report.frequency import frequencies
from lift_harness.report.header import header
from lift_harness.report.run import read_run
from lift_harness.report.summary import costs, pass_curves, summary
from lift_harness.report.training import training
from lift_harness.results.logs import without_collector
from lift_harness.results.metrics import about, in_order

PARTS = Path(__file__).parent / "template"
STYLES = ("colours", "text", "plots", "browser", "media")
SCRIPTS = (
    *(
        "dom",
        "scale",
        "plot",
        "numbers",
        "figures",
        "curves",
        "against",
        "summary",
        "browser",
        "answers",
        "replay",
    ),
    "main",
)
MAX_BYTES = 14_000_000
SECTIONS = ("frequency", "training", "breakdowns", "passk")  # left out in this order where a page has no room
MOST_NOTES = 200


def write_report(run_folder: Path, output: Path | None = None) -> Path:
    """Write the page of a run from what is in its folder.

    Args:
        run_folder: what `lift-harness train-eval` made, finished or not.
        output: the file; default: `report.html` in the folder.

    Raises:
        LiftError: the folder is not a run, or the file cannot be written.
    """
    named = output is not None
    file = Path(run_folder) / "report.html" if output is None else Path(output)
    if Path(run_folder).is_dir():
        check_writable(file, named=named)
    with without_collector():
        page = render(page_data(Path(run_folder)))
    try:
        write_whole(file, page, named=named)
    except OSError as error:
        raise LiftError(
            f"report {str(file)!r} cannot be written ({error.strerror}); give another file"
        ) from error
    return file


def page_data(folder: Path) -> dict[str, Any]:
    """All that the page shows, as plain data.

    Raises:
        LiftError: the folder is not a run.
    """
    run = read_run(folder)
    problems = read_problems(run)
    comparison = compared(run)
    tables = summary(run, comparison)
    metrics = in_order(chain.from_iterable(tables.values()))
    data: dict[str, Any] = {
        "rows": run.names,
        "arms": [{"name": arm.name, "row": arm.row} for arm in run.arms],
        "tasks": run.tasks,
        "metrics": [[metric, about(metric)] for metric in metrics],
        "summary": tables,
        "baselines": baselines(run),
        "sweep": run.is_sweep,
        "differences": differences(comparison),
        "speeds": speeds(run, comparison),
        "passk": pass_curves(run),
        "costs": {} if run.is_sweep else costs(run),
        "training": [] if run.is_sweep else training(run),
        "breakdowns": [*by_generation_length(tables), *breakdowns(run, problems)],
        "frequency": frequencies(run),
        "header": header(run, problems),
    }
    run.notes[:0] = leave_out(data, MAX_BYTES // 2)
    data["browser"] = browser(run, problems, MAX_BYTES - size(data) - 200_000)
    data["notes"] = list(map(Cut(500), run.notes[:MOST_NOTES]))
    if len(run.notes) > MOST_NOTES:
        data["notes"].append(f"{len(run.notes) - MOST_NOTES:,} more notes are left out.")
    return data


def leave_out(data: dict[str, Any], budget: int) -> Iterator[str]:
    """Leave sections out until the rest has at most `budget` bytes, and say which.

    Raises:
        LiftError: what cannot be left out is larger.
    """
    for section in SECTIONS:
        if size(data) > budget:
            data[section] = []
            yield f"The section {section!r} is left out: it is too large for this page."
    if size(data) > budget:
        raise LiftError(
            f"the run has {len(data['rows']):,} rows on {len(data['tasks']):,} tasks, too many for a page; "
            "lift-harness compare shows some of them (--tasks, or the methods' folders)"
        )


def render(data: dict[str, Any]) -> str:
    """The page as HTML."""
    return document(data["header"]["name"], data, SCRIPTS)


def document(title: str, data: dict[str, Any], scripts: Sequence[str]) -> str:
    """A page of that data, drawn by these scripts of the template."""
    script = "(function () {\n'use strict';\n" + "\n".join(read(f"{name}.js") for name in scripts) + "\n})();"
    style = "\n".join(read(f"{name}.css") for name in STYLES)
    parts = {
        # Half a surrogate pair has no UTF-8, a NUL no place in HTML.
        "title": html.escape("".join(c if c.isprintable() else "\ufffd" for c in title)),
        "version": html.escape(__version__),
        "style": style,
        "theme": read("theme.js"),
        "script": script,
        "data": encode(data),
        "policy": policy([read("theme.js"), script], style),
    }
    return re.sub(r"@@(\w+)@@", lambda match: parts[match[1]], read("page.html"))


def read(name: str) -> str:
    """A part of the page."""
    return (PARTS / name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str], style: str) -> str:
    """The content security policy: these scripts and this style, by hash, and nothing from anywhere."""
    rules = {"script-src": " ".join(map(digest, scripts)), "style-src": digest(style), "img-src": "data:"}
    return "; ".join(["default-src 'none'", *(f"{name} {value}" for name, value in rules.items())])


def digest(text: str) -> str:
    """A source as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
