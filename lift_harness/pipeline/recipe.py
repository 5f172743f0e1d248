"""Recipes: what to train on what, and how to evaluate it, as a checked YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.training.settings import LoraSettings, Strict, TrainSettings

RECIPES = Path(__file__).parent.parent / "recipes"


class NewModel(Strict):
    """A LLaDA-format model trained from scratch, with a tokenizer made from the recipe's data."""

    d_model: int = Field(128, ge=32, multiple_of=32)
    n_layers: int = Field(4, ge=1)
    mlp_hidden_size: int = Field(512, ge=1)


class Source(Strict):
    """Generated training examples: the first `n` of a source."""

    source: str = Field(description="sudoku, countdown or arithmetic")
    n: int = Field(ge=1)
    seed: int = 0
    options: dict[str, Any] = Field({}, description="of the generator, e.g. {blanks: [4, 6]}")


class ObjectiveSettings(BaseModel):
    """An objective by name, with its options beside it (`{name: lift, H: 3}`)."""

    model_config = ConfigDict(extra="allow")

    name: str


class Method(Strict):
    """One row of the results: an objective, and what it trains differently from the others."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.+-]*$", description="names a folder")
    objective: ObjectiveSettings
    training: dict[str, Any] = Field({}, description="overrides of the recipe's training settings")


class EvalSettings(Strict):
    """How the base model and every checkpoint are evaluated, through lm-eval.

    `acc` comes from the protocol's settings (one answer a problem, temperature 0); pass@k from
    `samples` answers at `temperature` to the first `sample_limit` problems.
    """

    tasks: list[str] = Field(["lift_sudoku_mini", "lift_countdown_mini"], min_length=1)
    limit: int | None = Field(None, ge=1, description="problems a task; null: all")
    samples: int = Field(8, ge=0, description="answers a problem for pass@k; 0: no pass@k")
    sample_limit: int | None = Field(None, ge=1, description="problems a task for pass@k; null: as `limit`")
    temperature: float = Field(0.7, gt=0)
    batch_size: int | str = "auto"
    gen_kwargs: dict[str, Any] = Field({}, description="decoding settings, over those of the protocol")


class Recipe(Strict):
    """A whole experiment."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="names the default output folder")
    description: str = ""
    seed: int = 0
    model: str | NewModel = "lift-tiny"
    data: list[Source] = Field(min_length=1)
    training: TrainSettings = TrainSettings()
    methods: list[Method] = Field(min_length=1)
    eval: EvalSettings | None = EvalSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Recipe:
        names = [method.name for method in self.methods]
        for name in names:
            if names.count(name) > 1 or name == "base":
                raise ValueError(f"methods: the name {name!r} is taken; give each method its own")
        return self

    def training_of(self, method: Method) -> TrainSettings:
        """The training settings of one method."""
        return validated(TrainSettings, _merged(self.training.model_dump(), method.training), method.name)


def recipe_names() -> list[str]:
    """The recipes inside the package."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """A recipe by name or file, with `key=value` overrides (dotted keys, YAML values).

    Raises:
        LiftError: no such recipe, unreadable YAML, an unknown key or a bad value.
    """
    file = RECIPES / f"{name}.yaml" if name in recipe_names() else Path(name)
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LiftError(
            f"no recipe {name!r} ({did_you_mean(name, recipe_names())}), nor such a file"
        ) from error
    except yaml.YAMLError as error:
        raise LiftError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise LiftError(f"{file}: a recipe is a mapping of keys, not {type(raw).__name__}")
    for override in overrides or []:
        apply_override(raw, override)
    recipe = validated(Recipe, raw, name)
    for method in recipe.methods:
        recipe.training_of(method)
    return recipe


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one `dotted.key=value` in a raw recipe; a number in the key indexes a list."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise LiftError(f"--set {override!r}: write key=value, e.g. --set training.max_steps=100")
    *parents, last = key.split(".")
    here: Any = raw
    for part in parents:
        here = _step(here, part, override)
    parsed = yaml.safe_load(value)
    if isinstance(parsed, str) and re.fullmatch(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+", parsed):
        parsed = float(parsed)  # YAML 1.1 takes 1e-4 for a text
    if isinstance(here, list):
        _step(here, last, override)
        here[int(last)] = parsed
    else:
        here[last] = parsed


def _step(here: Any, part: str, override: str) -> Any:
    """The child `part` of a list or mapping, made if a mapping lacks it."""
    if isinstance(here, list):
        if not part.isdigit() or int(part) >= len(here):
            raise LiftError(f"--set {override!r}: {part!r} is not an index below {len(here)}")
        return here[int(part)]
    if not isinstance(here.get(part, {}), (dict, list)):
        here[part] = {}
    return here.setdefault(part, {})


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above`, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def validated(kind: type[Any], raw: dict[str, Any], where: str) -> Any:
    """`raw` as a `kind`; the first thing wrong with it as one line."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"] if part not in ("NewModel", "str")]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            raise LiftError(f"{where}: unknown key {key!r}; {did_you_mean(path[-1], _all_keys())}") from None
        if first["type"] == "missing":
            raise LiftError(f"{where}: {key!r} is missing") from None
        message = first["msg"].removeprefix("Value error, ")
        shown = f"{key}={first['input']!r}: " if key else ""
        raise LiftError(f"{where}: {shown}{message}") from None


def _all_keys() -> set[str]:
    """Every key that a recipe can have."""
    parts = (Recipe, NewModel, Source, Method, TrainSettings, LoraSettings, EvalSettings)
    return {name for part in parts for name in part.model_fields}
