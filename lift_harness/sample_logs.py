"""lm-eval's result and sample files, whole or not: what all their readers share."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = re.compile(r"results_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.json")
LOG = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+?)(?P<again>\.scored)?\.jsonl")
SAMPLED = re.compile(r"(pass|avg)@(\d+)")
BROKEN = object()  # a line that is not JSON


def json_lines(file: Path) -> Iterator[Any]:
    """What each line of a file holds, `BROKEN` for one that is not JSON; empty lines are passed over.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for text in stream:
            if text.strip():
                try:
                    yield json.loads(text)
                except (ValueError, RecursionError):
                    yield BROKEN


def number(value: Any) -> float | None:
    """A finite number as a float, None for anything else."""
    if not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
