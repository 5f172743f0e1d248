"""`lift-harness reproduce`: an experiment again, and whether every number is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lift_harness import __version__
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.files import files_sha256, read_json
from lift_harness.pipeline.hardware import hardware, packages
from lift_harness.pipeline.schema import Recipe, validated

HARDWARE = ("machine", "system", "cpu", "threads", "gpus", "cuda", "processes")
Difference = tuple[str, Any, Any]  # where, then, now


def reproduce(
    run: Path, output: Path | None = None, *, anyway: bool = False, console: Console | None = None
) -> bool:
    """Run the recipe of a run's manifest again and compare; True if every number is equal.

    Args:
        run: the run's folder.
        output: folder of the new run.
        anyway: also where the environment differs, so that equality is not to be expected.
        console: where the comparison is printed.

    Raises:
        LiftError: there is no finished run there, or the environment differs.
    """
    console = console or Console()
    folder = run.parent if run.is_file() else run
    then = read_run(folder)
    differing = list(differences(relevant(then["manifest"]), environment()))
    if differing and not anyway:
        listed = "; ".join(f"{where}: {old} then, {new} now" for where, old, new in differing)
        raise LiftError(
            f"{folder} was run in another environment, so equal numbers cannot be expected ({listed}); use "
            "the same, or --anyway"
        )
    for where, old, new in differing:
        console.print(f"environment differs: {where}: {old} then, {new} now", highlight=False)
    from lift_harness.pipeline.train_eval import train_eval

    recipe = validated(Recipe, then["manifest"]["recipe"], str(folder / "manifest.json"))
    target = output or folder.with_name(f"{folder.name}-reproduced")
    now = train_eval(recipe, target, console=console)
    written = then["manifest"].get("results_sha256")  # earlier versions did not say
    if written not in (None, files_sha256(folder / "results.json")):
        console.print(f"{folder / 'results.json'} is not as its run wrote it", highlight=False)
    changed = list(differences(then["results"], now))
    for where, old, new in changed:
        console.print(f"different: {where}: {old} then, {new} now", highlight=False)
    compared = sum(1 for _ in leaves(now))
    console.print(f"{compared - len(changed)} of {compared} values equal, {len(changed)} different: {target}")
    return not changed


def read_run(folder: Path) -> dict[str, Any]:
    """Manifest and results of a finished run."""
    run = {}
    for name in ("manifest", "results"):
        try:
            run[name] = read_json(folder / f"{name}.json")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise LiftError(
                f"{folder}: no readable {name}.json ({why}); give the folder of a finished train-eval run"
            ) from error
    if isinstance(run["manifest"], dict) and "sweep" in run["manifest"]:
        raise LiftError(
            f"{folder} is a sweep; do it again with lift-harness sweep {folder}/recipe.yaml --output ..."
        )
    mappings = all(isinstance(one, dict) for one in run.values())
    missing = {"recipe", "code", "packages", "hardware"} - set(run["manifest"] if mappings else ())
    if missing:
        raise LiftError(
            f"{folder}: manifest.json or results.json is damaged (no {', '.join(sorted(missing))}); give the "
            "folder of a finished train-eval run"
        )
    return run


def environment() -> dict[str, Any]:
    """What equality depends on, as it is now."""
    return relevant({"code": {"version": __version__}, "packages": packages(), "hardware": hardware()})


def relevant(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What equality depends on, of a manifest: versions, processor, GPUs, threads, processes."""
    machine = {name: manifest["hardware"].get(name) for name in HARDWARE}
    return {
        "code": {"version": manifest["code"]["version"]},
        "packages": dict(manifest["packages"]),
        "hardware": machine,
    }


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of everything in nested mappings and lists."""
    if isinstance(tree, list):
        tree = dict(enumerate(tree))
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for key, value in tree.items():
        yield from leaves(value, f"{path}.{key}" if path else str(key))


def differences(then: Any, now: Any) -> Iterator[Difference]:
    """Values that are not the same, and keys that only one of them has (None in the other)."""
    old, new = dict(leaves(then)), dict(leaves(now))
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)
