"""What a run consists of, for its page: recipe, manifest, its rows and each of their trainings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.files import read_bytes
from lift_harness.results.logs import Evaluation, Notes, mapping, read_object
from lift_harness.results.rows import Row, run_rows
from lift_harness.yaml_values import parse_yaml


@dataclass(frozen=True)
class Arm:
    """One trained and evaluated model: a row of the results, or one of its seeds."""

    name: str  # "lift-h3", "lift-h3 seed 1"
    row: str
    folder: Path
    evaluations: list[Evaluation]


@dataclass
class Run:
    """A run folder, read as far as it goes."""

    folder: Path
    recipe: dict[str, Any]
    recipe_text: str
    results: dict[str, Any]
    manifest: dict[str, Any]
    rows: list[Row]
    arms: list[Arm]
    notes: Notes

    @property
    def is_sweep(self) -> bool:
        """Whether its rows are decoding settings, in the place of methods."""
        return "sweep" in self.results or "grid" in self.recipe

    @property
    def names(self) -> list[str]:
        """The names of the rows."""
        return [row.name for row in self.rows]

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order of the results."""
        tasks: dict[str, None] = {}
        for row in self.rows:
            tasks |= dict.fromkeys(row.expected)
        for row in self.rows:
            tasks |= dict.fromkeys(row.tasks)
        return list(tasks)

    def arms_of(self, row: str) -> list[Arm]:
        """The seeds of a row."""
        return [arm for arm in self.arms if arm.row == row]


MISSING = {
    "recipe.yaml": ": settings and the commands to reproduce the run are not known.",
    "results.json": ": the run has not ended. Scores are those of the evaluations that have.",
    "manifest.json": ": hardware, package versions, forward passes and GPU hours are not known.",
}


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        LiftError: it is not one.
    """
    if not folder.is_dir():
        raise LiftError(f"no run folder {str(folder)!r}; give one that lift-harness train-eval made")
    notes = Notes(root=folder)
    recipe_text = read_text(folder / "recipe.yaml")
    results = read_object(folder / "results.json", notes)
    manifest = read_object(folder / "manifest.json", notes)
    recipe = read_yaml(recipe_text) or mapping(manifest.get("recipe"))
    rows = list(run_rows(folder, recipe, results, root=folder))
    arms: list[Arm] = []
    for row in rows:
        arms += arms_of(row)
    if not recipe_text and not results and not manifest and not any(map(has_traces, arms)):
        raise LiftError(f"{str(folder)!r} is not a run folder: it has neither recipe.yaml nor results.json")
    for name, data in (("recipe.yaml", recipe), ("results.json", results), ("manifest.json", manifest)):
        if not data:
            notes.add(f"{name} is not there{MISSING[name]}")
    rows = [row for row in rows if row.tasks or row.folders]
    for row in rows:
        notes.add(*row.notes)
    return Run(folder, recipe, recipe_text, results, manifest, rows, arms, notes)


def arms_of(row: Row) -> Iterator[Arm]:
    """The trainings of a row, one a seed."""
    for seed, folder in row.folders.items():
        name = f"{row.name} seed {seed}" if seed else row.name
        yield Arm(name, row.name, folder, row.seeds.get(seed, []))


def has_traces(arm: Arm) -> bool:
    """Whether a folder has what only a training or an evaluation leaves: that makes its parent a run's."""
    logs = ("train/log.jsonl", "eval/traces.jsonl")
    return bool(arm.evaluations) or any((arm.folder / log).exists() for log in logs)


def read_text(file: Path) -> str:
    """The text of a file, "" where there is none. Bytes that are not UTF-8 are replaced."""
    try:
        return read_bytes(file).decode("utf-8", errors="replace")
    except (OSError, LiftError):
        return ""


def read_yaml(text: str) -> dict[str, Any]:
    """A mapping from YAML, empty where it is something else."""
    try:
        return mapping(parse_yaml(text, "recipe.yaml"))
    except LiftError:
        return {}


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """`1 line`, `2 lines`."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"
