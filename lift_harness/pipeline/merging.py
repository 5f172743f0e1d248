"""`lift-harness merge-runs`: one run of the parts that `--select` made of it, say in the jobs of an array."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.files import read_json, read_text, write_whole
from lift_harness.pipeline.display import Display
from lift_harness.pipeline.evaluation import quiet
from lift_harness.pipeline.manifest import now
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.reproduce import differences, relevant
from lift_harness.pipeline.stages import RECIPE, Work, find_stage, prepare_output
from lift_harness.pipeline.train_eval import BASE, Kind, Run, finish, report, selected, trained_ones
from lift_harness.pipeline.training import check_training
from lift_harness.results.lock import sole_writer
from lift_harness.yaml_values import read_yaml

KINDS: tuple[Kind, ...] = ("train", "eval")


@dataclass
class Merged(Run):
    """A run whose stages were done in other folders.

    Attributes:
        parts: those folders.
        origins: stage -> the folder that it is taken from.
    """

    parts: Sequence[Path] = ()
    origins: dict[str, Path] = field(default_factory=dict)

    def stage(self, where: str, kind: Kind, key: str, work: Work) -> Any:
        """Find a stage in the parts; its result.

        Raises:
            LiftError: none has it, one has another or a damaged one, or two have different ones.
        """
        name = f"{where}/{kind}"
        for part in self.parts:
            if not (part / where / f"{kind}.json").is_file():
                continue
            found = find_stage(part / where, kind, key)
            if found.record is None:
                why = found.damage or "its key is another: settings, data, model or version differ"
                raise LiftError(f"{part}: {name} is not the recipe's ({why}); do it again, or leave it out")
            known = self.stages.setdefault(name, found.record)
            origin = self.origins.setdefault(name, part)
            if found.record["result"] != known["result"]:
                raise LiftError(
                    f"{name} came out differently in {origin} and in {part}; leave one of them out"
                )
        if name not in self.stages:
            what = BASE if where == BASE else where.replace("/seed-", "/")
            raise LiftError(f"{name} is in none of the runs; run train-eval with --select {what}, then merge")
        return self.stages[name]["result"]


def merge_runs(runs: Sequence[Path], output: Path, console: Console | None = None) -> dict[str, Any]:
    """Make one run's folder of the stages of several, and return what `results.json` holds.

    The results are those of a single run, byte for byte: a stage is taken if its key is that of the whole
    recipe and its files are as they were written.

    Args:
        runs: folders of runs of one recipe, by `train_eval(..., select=...)`.
        output: folder of the merged run. Killed, the same call goes on.
        console: where it reports.

    Raises:
        LiftError: a folder is no finished run, is of another recipe, or holds something that is not the
            recipe's; a stage is missing. Nothing is written then.
    """
    for run in runs:
        check_same_recipe(runs[0], run)
    manifests = {run: manifest_of(run) for run in runs}
    recipe = load_recipe(str(runs[0] / RECIPE))
    check_names(runs, {BASE, *(where for _, _, where in trained_ones(recipe))})
    quiet()
    data, model = check_training(recipe)
    with Display(console or Console()) as display, ExitStack() as locks:
        for folder in (*runs, output):
            locks.enter_context(sole_writer(folder))
        for run in runs[1:]:
            tell_differences(display.console, (runs[0], manifests[runs[0]]), (run, manifests[run]))
        merged = Merged(recipe, output, data, model, display, selected(recipe, ()), parts=runs)
        evaluated = any(any(run.rglob("eval.json")) for run in runs)
        results = merged.results(None if evaluated else "train")
        prepare_output(output, read_text(runs[0] / RECIPE), False, False)
        for name, origin in merged.origins.items():
            copy_stage(origin, output, name)
            display.console.print(f"  {name}: {origin}", soft_wrap=True, highlight=False)
        finish(merged, results, joined(merged, manifests))
    report(merged, results)
    return results


def check_same_recipe(first: Path, run: Path) -> None:
    """Refuse a folder that is no run, or of another recipe than the first one."""
    recipes = []
    for folder in (first, run):
        if not (folder / RECIPE).is_file():
            raise LiftError(f"{folder}: no {RECIPE}; give the folder of a train-eval run")
        recipes.append(read_yaml(folder / RECIPE))
    for where, ours, theirs in differences(*recipes):
        raise LiftError(
            f"{run} is a run of another recipe than {first}: {where} is {theirs} there, not {ours}"
        )


def manifest_of(run: Path) -> dict[str, Any]:
    """The manifest of a finished run."""
    try:
        manifest = read_json(run / "manifest.json")
        relevant(manifest)
        dict(manifest["stages"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LiftError(
            f"{run}: no readable manifest.json ({type(error).__name__}), so it is not finished; run its "
            "command again"
        ) from error
    return dict(manifest)


def check_names(runs: Sequence[Path], known: set[str]) -> None:
    """Refuse stages of methods or seeds that the recipe does not have."""
    for run in runs:
        for kind in KINDS:
            for record in sorted(run.rglob(f"{kind}.json")):
                where = str(record.parent.relative_to(run))
                if where not in known:
                    raise LiftError(f"{run}: {where} is no method or seed of the recipe; take it out")


def tell_differences(console: Console, ours: tuple[Path, Any], theirs: tuple[Path, Any]) -> None:
    """Say in what the environments of two runs differ: a single run would have had one."""
    for where, one, other in differences(relevant(ours[1]), relevant(theirs[1])):
        text = f"environment differs: {where}: {one} in {ours[0]}, {other} in {theirs[0]}"
        console.print(text, soft_wrap=True, highlight=False)


def copy_stage(origin: Path, output: Path, name: str) -> None:
    """Copy a stage's files, then its record, unless they are there."""
    source, place = origin / name, output / name
    record = source.with_suffix(".json")
    key = read_json(record)["key"]
    if find_stage(place.parent, place.name, key).record:
        return
    part = place.with_name(f"{place.name}.part")
    for folder in (part, place):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, part)
    os.replace(part, place)
    write_whole(place.with_suffix(".json"), read_text(record))


def joined(merged: Merged, manifests: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """The manifest of a merged run: the first one's, the stages as their runs told them, and those runs."""
    stages = {name: manifests[part]["stages"][name] for name, part in merged.origins.items()}
    parts = [{"run": str(run), **relevant(manifest)} for run, manifest in manifests.items()]
    return {**next(iter(manifests.values())), "made": now(), "stages": stages, "merged": parts}
