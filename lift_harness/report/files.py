"""Reading what a run left on disk, whole or not: what cannot be read becomes a note in the page."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lift_harness import sample_logs
from lift_harness.sample_logs import BROKEN, json_lines


class Notes:
    """What the page has to say about what is missing or left out, each thing once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Say something, unless it was said."""
        if line not in self.lines:
            self.lines.append(line)


def read_text(file: Path) -> str | None:
    """The text of a file, None where there is none. Bytes that are not UTF-8 are replaced."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_json(file: Path, notes: Notes, name: str) -> Any:
    """What a JSON file holds, None where it is absent or broken (which is noted)."""
    text = read_text(file)
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        notes.add(f"{name} is not valid JSON and was not read.")
        return None


def read_mapping(file: Path, notes: Notes, name: str) -> dict[str, Any]:
    """The same for a file that should hold an object: empty where it does not."""
    found = read_json(file, notes, name)
    return found if isinstance(found, dict) else {}


def mapping(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The mapping below a key, empty where there is none."""
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def read_yaml(text: str | None) -> dict[str, Any]:
    """A mapping from YAML, empty where it is something else."""
    try:
        found = yaml.safe_load(text or "")
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def read_lines(file: Path, notes: Notes, name: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, nothing where it is absent; broken lines are noted."""
    broken = 0
    try:
        for row in json_lines(file):
            broken += row is BROKEN
            if isinstance(row, dict):
                yield row
    except OSError:
        return
    if broken:
        notes.add(f"{name}: {counted(broken, 'line')} could not be read.")


def read_csv(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with file.open(encoding="utf-8", errors="replace", newline="") as stream:
        return [{str(k): v for k, v in row.items() if isinstance(v, str)} for row in csv.DictReader(stream)]


def number(value: Any) -> float | None:
    """A finite number (or a text that is one) as a float, None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return sample_logs.number(value)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """`1 line`, `2 lines`."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"
