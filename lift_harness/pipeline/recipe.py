"""From a YAML file to a recipe.

Beside the recipe's own keys a file may have `base` (a recipe to start from: mappings are merged, lists
replaced), `select` (of its methods only these) and `sweep`, for all methods or in one: a list of values for a
dotted key of the method, e.g. {objective.H: [2, 3]}; each combination becomes a method.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import yaml

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.files import DEPTH
from lift_harness.papers import PAPERS
from lift_harness.pipeline.schema import METHODS, Recipe, merged, validated
from lift_harness.yaml_values import read_yaml, yaml_value

RECIPES = Path(__file__).parent.parent / "recipes"


def recipe_names() -> list[str]:
    """The recipes inside the package."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def recipes_by_paper() -> dict[str, list[Recipe]]:
    """The recipes inside the package by paper ("": of none), in the order of its tables."""
    papers: dict[str, list[Recipe]] = {"": [], **{paper: [] for paper in PAPERS}}
    for recipe in map(load_recipe, recipe_names()):
        papers[recipe.reproduces.partition(",")[0]].append(recipe)
    for recipes in papers.values():
        recipes.sort(key=lambda recipe: place(recipe.reproduces))
    return papers


def place(reproduces: str) -> tuple[str, int]:
    """What a table or figure is sorted by: its kind (appendices, figures, tables) and its number."""
    _, _, what = reproduces.partition(", ")
    kind, _, number = what.partition(" ")
    return kind.removesuffix("s"), next((int(n) for n in re.findall(r"\d+", number)), 0)


def load_recipe(name: str, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name or file.

    Args:
        name: of a recipe inside the package, or a file.
        overrides: `key=value` each (dotted keys, YAML values).
        values: what Python code changes: by dotted key, or a mapping that is merged as that of a file is.

    Raises:
        LiftError: no such recipe, unreadable YAML, an unknown key or a bad value.
    """
    raw = read(name)
    for override in overrides or ():
        apply_override(raw, override)
    for key, value in (values or {}).items():
        if isinstance(value, Mapping) and "." not in key:
            raw = merged(raw, {key: value})
        else:
            set_value(raw, key, value, f"{key}={value!r}")
    recipe = validated(Recipe, expanded(raw, name), name)
    for method in recipe.methods:
        recipe.training_of(method)
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """The recipe as resolved, every default spelled out, in YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read(name: str, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe as its file has it, on top of its `base`."""
    if name in below:
        raise LiftError(f"recipe {name!r} is its own base: {' -> '.join((*below, name))}")
    file = RECIPES / f"{name}.yaml" if name in recipe_names() else Path(name)
    try:
        raw = read_yaml(file)
    except OSError as error:
        if file.exists():
            raise LiftError(f"recipe {name!r} cannot be read: {error.strerror}") from error
        near = did_you_mean(name, recipe_names(), "lift-harness recipes list names them")
        raise LiftError(f"no recipe {name!r} ({near}), nor such a file") from error
    if not isinstance(raw, dict):
        raise LiftError(f"{file}: a recipe is a mapping of keys, not {type(raw).__name__}")
    if "grid" in raw:
        raise LiftError(f"{file} is a sweep, which trains nothing; lift-harness sweep {file} runs it")
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str):
        raise LiftError(f"{name}: base={base!r}: give the name or file of a recipe")
    beside = file.parent / base
    below_it = read(str(beside) if beside.is_file() else base, (*below, name))
    return merged(inherited(below_it, raw, file), raw)


def inherited(base: dict[str, Any], own: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What a recipe takes over of its base: not what says something about the base itself.

    That is its description, what it reproduces, and its name, in whose place that of the recipe's file
    comes; and the GPU hours of its methods, where the recipe trains another model, on other data or
    otherwise.
    """
    taken = {key: value for key, value in base.items() if key not in ("description", "reproduces")}
    taken["name"] = re.sub(r"[^\w.-]+", "-", file.stem).lstrip("._-") or base.get("name")
    methods = base.get("methods")
    if isinstance(methods, list) and own.keys() & {"model", "data", "training"}:
        taken["methods"] = [without_hours(method) for method in methods]
    return taken


def without_hours(method: Any) -> Any:
    """A method without its `gpu_hours`; what is no mapping is refused later."""
    if not isinstance(method, dict):
        return method
    return {key: value for key, value in method.items() if key != "gpu_hours"}


# ---------------------------------------------------------------- select and sweep


def expanded(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A recipe with its sweeps as methods, and of them the selected ones."""
    recipe = copy.deepcopy(dict(raw))
    sweep, select = recipe.pop("sweep", None) or {}, recipe.pop("select", None)
    methods = recipe.get("methods")
    if isinstance(methods, list) and all(isinstance(method, dict) for method in methods):
        sweeps = [sweep_of(method, sweep, where) for method in methods]
        count = sum(prod(len(values) for values in keys.values()) for keys in sweeps)
        if count > METHODS:
            raise LiftError(f"{where}: methods and sweep make {count:,} methods; at most {METHODS:,}")
        pairs = zip(methods, sweeps, strict=True)
        recipe["methods"] = methods = [one for method, keys in pairs for one in swept(method, keys, where)]
        if select is not None:
            recipe["methods"] = selected(methods, select, where)
    return recipe


def sweep_of(method: dict[str, Any], sweep: Any, where: str) -> dict[str, list[Any]]:
    """The sweep of a method, which is taken out of it: the recipe's with its own over it."""
    own = method.pop("sweep", None) or {}
    for part in (sweep, own):
        if not isinstance(part, dict) or not all(
            isinstance(key, str) and isinstance(values, list) and values for key, values in part.items()
        ):
            raise LiftError(f"{where}: sweep={part!r}: give lists of values, e.g. {{objective.H: [2, 3]}}")
    return {**sweep, **own}


def swept(method: dict[str, Any], keys: dict[str, list[Any]], where: str) -> Iterator[dict[str, Any]]:
    """A method once for each combination of the values of a sweep."""
    for values in product(*keys.values()):
        one = copy.deepcopy(method)
        for key, value in zip(keys, values, strict=True):
            set_value(one, key, value, f"{where}: sweep of {key!r}")
            shown = re.sub(r"[^\w.+-]+", "-", str(value).replace(":", "")).strip("-")
            one["name"] = f"{one.get('name')}-{key.rpartition('.')[2]}{shown}"
        yield one


def selected(methods: list[dict[str, Any]], select: Any, where: str) -> list[dict[str, Any]]:
    """The methods with these names, in this order."""
    by_name = {str(method.get("name")): method for method in methods}
    names = [select] if isinstance(select, str) else select
    if not isinstance(names, list) or not names:
        raise LiftError(f"{where}: select={select!r}: give a list of methods: {', '.join(by_name)}")
    for name in names:
        if not isinstance(name, str) or name not in by_name:
            raise LiftError(f"{where}: select: no method {name!r}; {did_you_mean(str(name), by_name)}")
    return [by_name[name] for name in names]


# ---------------------------------------------------------------- --set


def apply_override(
    raw: dict[str, Any], override: str, option: str = "--set", example: str = "training.max_steps=100"
) -> None:
    """Set one `dotted.key=value` in a raw recipe; a number in the key indexes a list.

    Args:
        raw: changed.
        override: as it was typed.
        option: of which command line option, for messages.
        example: of what could be typed.
    """
    key, equals, value = override.partition("=")
    where = f"{option} {override!r}"
    if not equals or not key:
        raise LiftError(f"{where}: write key=value, e.g. {option} {example}")
    set_value(raw, key, yaml_value(value, f"{where}: the value"), where)


def set_value(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a dotted key."""
    *parents, last = key.split(".")
    if len(parents) > DEPTH:
        raise LiftError(f"{where}: a key of {len(parents) + 1:,} parts; at most {DEPTH}")
    here: Any = raw
    for part in parents:
        here = _step(here, part, where)
    if isinstance(here, list):
        _step(here, last, where)
        here[int(last)] = value
    else:
        here[last] = value


def _step(here: Any, part: str, where: str) -> Any:
    """The child `part` of a list or mapping, made if a mapping lacks it."""
    if isinstance(here, list):
        if not part.isdecimal() or len(part) > 9 or int(part) >= len(here):
            raise LiftError(f"{where}: {part!r} is not an index below {len(here)}")
        return here[int(part)]
    if not isinstance(here.get(part, {}), (dict, list)):
        here[part] = {}
    return here.setdefault(part, {})
