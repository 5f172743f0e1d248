"""What a sweep is: models, tasks, and the decoding settings to go through (docs/decoding.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.pipeline.schema import METHODS, EvalSettings, validated
from lift_harness.yaml_values import read_yaml, yaml_value

NO_ADAPTER = (None, "none")


class Sweep(EvalSettings):
    """A sweep: beside its own keys it has those of a recipe's `eval`, which hold for every setting."""

    name: str = Field("sweep", pattern=r"^[A-Za-z0-9][\w.-]*$", description="names the default output folder")
    model: list[str] = Field(["lift-tiny"], min_length=1, description="one, or several to compare")
    peft: list[str | None] = Field([], description="adapters of the only model; null: the model without one")
    tasks: list[str] = Field(min_length=1, description="tasks or groups, as in a recipe")
    block_size: int | None = Field(None, ge=1, description="of checkpoints whose files name none")
    seed: int = Field(0, ge=0, lt=2**31)
    samples: int = Field(0, ge=0, description="answers a problem for pass@k; 0: no pass@k")
    grid: dict[str, list[Any]] = Field(min_length=1, description="decoding setting: its values")
    baseline: str | None = Field(None, description="the row to compare with; null: the protocol")

    @field_validator("model", "peft", "tasks", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("peft")
    @classmethod
    def _named(cls, adapters: list[str | None]) -> list[str | None]:
        return [None if adapter in NO_ADAPTER else adapter for adapter in adapters]

    @field_validator("grid")
    @classmethod
    def _known(cls, grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
        from lift_harness.lm.requests import SETTINGS

        count = 1
        for key, values in grid.items():
            # As on the command line: of a YAML file 1e-3 comes as a text.
            values[:] = [yaml_value(value, key) if isinstance(value, str) else value for value in values]
            if key not in SETTINGS:
                raise ValueError(f"{key!r} is no decoding setting; {did_you_mean(key, SETTINGS)}")
            if not values:
                raise ValueError(f"{key} has no values")
            shown = list(map(repr, values))
            if twice := next((value for value in shown if shown.count(value) > 1), None):
                raise ValueError(f"{key}: the value {twice} stands twice")
            count *= len(values)
        if count > METHODS:
            raise ValueError(f"{count:,} combinations; at most {METHODS:,} in a sweep")
        return grid

    @model_validator(mode="after")
    def _go_together(self) -> Sweep:
        if self.peft and len(self.model) > 1:
            raise ValueError("peft: adapters belong to one model; give one model, or merge them (merge)")
        for what, names in (("model", self.model), ("peft", [str(adapter) for adapter in self.peft])):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{what}: {twice} stands twice")
        if both := sorted(self.grid.keys() & self.gen_kwargs.keys()):
            raise ValueError(f"{both[0]} stands in grid and in gen_kwargs; give it once")
        return self


def load_sweep(file: Path | None, options: Mapping[str, Any]) -> Sweep:
    """A sweep from a YAML file, options of the command line, or both.

    Args:
        file: holds keys of `Sweep`; its name is the sweep's where it has none.
        options: keys of `Sweep` that stand over the file's; of `grid` value by value.

    Raises:
        LiftError: no such file, no YAML, an unknown key, or a bad value.
    """
    raw: dict[str, Any] = {}
    if file is not None:
        try:
            raw = read_yaml(file)
        except OSError as error:
            raise LiftError(f"{file}: cannot be read: {error.strerror}; give a sweep's YAML file") from error
        if not isinstance(raw, dict):
            raise LiftError(f"{file}: a sweep is a mapping of keys, not {type(raw).__name__}")
        raw.setdefault("name", re.sub(r"[^\w.-]+", "-", file.stem).lstrip("._-") or "sweep")
    below = raw.get("grid")
    merged = {**raw, **options}
    if isinstance(below, dict) and "grid" in options:
        merged["grid"] = {**below, **options["grid"]}
    return validated(Sweep, merged, str(file or "sweep"))


def grid_of(texts: Sequence[str]) -> dict[str, list[str]]:
    """The grid of several "KEY=VALUE,VALUE", its values as they were typed.

    Raises:
        LiftError: something without key or values, or a key twice.
    """
    grid: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = map(str.strip, text.partition("="))
        parts = list(map(str.strip, values.split(",")))
        if not (key and equals and all(parts)):
            raise LiftError(f"--grid {text!r}: write KEY=VALUE,VALUE, e.g. --grid cache=none,prefix")
        if key in grid:
            raise LiftError(f"--grid: {key} is given twice; put its values together: {key}=A,B")
        grid[key] = parts
    return grid
