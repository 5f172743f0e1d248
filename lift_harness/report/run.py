"""What a run consists of: its rows (the base model and the methods), their seeds, scores and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.lm.evaluation import over_seeds
from lift_harness.report.files import Notes, mapping, number, read_mapping, read_text, read_yaml
from lift_harness.results.layout import seed_folders
from lift_harness.sample_logs import SAMPLED


@dataclass(frozen=True)
class Arm:
    """One trained and evaluated model: a row of the results, or one of its seeds."""

    name: str  # "lift-h3", "lift-h3 seed 1"
    row: str
    seed: str | None
    folder: Path


@dataclass
class Run:
    """A run folder, read as far as it goes."""

    folder: Path
    recipe: dict[str, Any]
    recipe_text: str
    results: dict[str, Any]
    manifest: dict[str, Any]
    arms: list[Arm]
    rows: list[str]
    scores: dict[str, dict[str, dict[str, dict[str, Any]]]]  # row -> task -> metric -> {"value", "stderr"}
    notes: Notes = field(default_factory=Notes)

    @property
    def tasks(self) -> list[str]:
        """Tasks in the order of the results."""
        return list(dict.fromkeys(task for found in self.scores.values() for task in found))

    def arms_of(self, row: str) -> list[Arm]:
        """The seeds of a row."""
        return [arm for arm in self.arms if arm.row == row]


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        LiftError: it is not one.
    """
    if not folder.is_dir():
        raise LiftError(f"no run folder {str(folder)!r}; give one that lift-harness train-eval made")
    notes = Notes()
    recipe_text = read_text(folder / "recipe.yaml")
    results = read_mapping(folder / "results.json", notes, "results.json")
    manifest = read_mapping(folder / "manifest.json", notes, "manifest.json")
    recipe = read_yaml(recipe_text) or mapping(manifest, "recipe")
    arms = find_arms(folder, method_names(recipe, results))
    logs = (log for arm in arms for name in LOGS for log in arm.folder.glob(name))
    if recipe_text is None and not results and not manifest and not any(logs):
        raise LiftError(f"{str(folder)!r} is not a run folder: it has neither recipe.yaml nor results.json")
    for name, found in (("recipe.yaml", recipe), ("results.json", results), ("manifest.json", manifest)):
        if not found:
            notes.add(f"{name} is not there" + MISSING[name])
    scores = read_scores(results, arms, notes)
    rows = list(dict.fromkeys([*scores, *(arm.row for arm in arms)]))
    return Run(folder, recipe, recipe_text or "", results, manifest, arms, rows, scores, notes)


LOGS = (
    "train/log.jsonl",
    "eval/traces.jsonl",
    "eval/**/samples_*.jsonl",
)  # what makes a folder a run's where nothing else does
MISSING = {
    "recipe.yaml": ": settings and the commands to reproduce the run are not known.",
    "results.json": ": the run has not ended. Scores are those of the evaluations that have.",
    "manifest.json": ": hardware, package versions, forward passes and GPU hours are not known.",
}


def method_names(recipe: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """The rows in the order in which they should be shown."""
    methods = recipe.get("methods")
    named = [m.get("name") for m in methods if isinstance(m, dict)] if isinstance(methods, list) else []
    scored = list(results.get("scores") or {})
    return [str(name) for name in dict.fromkeys(["base", *named, *scored]) if name]


def find_arms(folder: Path, order: Sequence[str]) -> list[Arm]:
    """METHOD/ and METHOD/seed-N/ folders that hold a training or an evaluation."""

    def holds(place: Path) -> bool:
        return any((place / name).exists() for name in ("train.json", "eval.json", "train", "eval"))

    places = sorted(place for place in folder.iterdir() if place.is_dir())
    places.sort(key=lambda place: order.index(place.name) if place.name in order else len(order))
    arms = []
    for place in places:
        seeds = {n: seed for n, seed in seed_folders(place).items() if holds(seed)}
        arms += [Arm(f"{place.name} seed {n}", place.name, n, seed) for n, seed in seeds.items()]
        if not seeds and holds(place):
            arms.append(Arm(place.name, place.name, None, place))
    return arms


def read_scores(results: dict[str, Any], arms: Sequence[Arm], notes: Notes) -> dict[str, Any]:
    """Scores of the results, or of an interrupted run's evaluations: a mean where a row has several."""
    scores = results.get("scores")
    if isinstance(scores, dict) and scores:
        return {row: found for row, found in scores.items() if isinstance(found, dict)}
    by_row: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        record = read_mapping(arm.folder / "eval.json", notes, f"eval.json of {arm.name}")
        if isinstance(record.get("result"), dict):
            by_row.setdefault(arm.row, []).append(record["result"])
    return {row: mean_scores(found) for row, found in by_row.items()}


def mean_scores(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Scores of one evaluation as they are; of several the mean over seeds and its standard error."""
    if len(seeds) == 1:
        return seeds[0]
    means: dict[str, Any] = {}
    for task, metrics in seeds[0].items():
        for metric in metrics:
            found = [number((seed.get(task) or {}).get(metric, {}).get("value")) for seed in seeds]
            values = [value for value in found if value is not None]
            means.setdefault(task, {})[metric] = over_seeds(values)
    return means


def metric_order(metrics: Sequence[str]) -> list[str]:
    """acc, solved, pass@k by k, the others, avg@n."""

    def key(name: str) -> tuple[int, int, str]:
        sampled = SAMPLED.fullmatch(name)
        if sampled:
            return (2 if sampled[1] == "pass" else 4, int(sampled[2]), name)
        return ({"acc": 0, "solved": 1}.get(name, 3), 0, name)

    return sorted(metrics, key=key)
