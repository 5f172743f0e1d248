"""What a run was made of, so that somebody else can make it again: `manifest.json`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lift_harness import __version__
from lift_harness.pipeline.hardware import git_state, hardware, packages
from lift_harness.pipeline.schema import EvalSettings, Recipe

if TYPE_CHECKING:
    from lift_harness.pipeline.evaluation import Asked


def manifest(recipe: Recipe, stages: dict[str, Any], data: Any, model: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run.

    Args:
        recipe: as resolved.
        stages: name -> record of each stage ("key", "cost", "seconds").
        data: of `training.sources.load_data`.
        model: of `identity.model_identity`.
    """
    made_in = environment()
    return {
        **made_in,
        "recipe": recipe.model_dump(mode="json"),
        "model": model,
        "data": data.manifest(),
        "tasks": task_sources(recipe, recipe.eval) if recipe.eval else {},
        "seeds": recipe.all_seeds(),
        "stages": stage_rows(stages, made_in["hardware"]),
    }


def environment() -> dict[str, Any]:
    """When, with what code and where a run was made."""
    return {
        "made": now(),
        "code": {"version": __version__, **git_state()},
        "packages": packages(),
        "hardware": hardware(),
    }


def now() -> str:
    """The time, UTC, to a second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def stage_rows(stages: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """What each stage took: seconds on the clock (of its last attempt), sequences' passes, tokens, memory."""
    gpus = len(machine["gpus"]) and machine["processes"]
    rows = {}
    for name, stage in stages.items():
        hours = round(stage["seconds"] * gpus / 3600, 4)
        rows[name] = {"key": stage["key"], "seconds": stage["seconds"], "gpu_hours": hours, **stage["cost"]}
    return rows


def task_sources(recipe: Asked, settings: EvalSettings) -> dict[str, Any]:
    """Where the problems of each task come from: file, revision and sha256, and which of them are asked."""
    from lift_harness.pipeline.evaluation import evaluations
    from lift_harness.tasks.catalog import task_config
    from lift_harness.tasks.data import SOURCES

    sources = {}
    for task in {task: None for run in evaluations(recipe, settings) for task in run.tasks}:
        config = task_config(task)
        source = config.get("dataset_kwargs", {}).get("source")
        sources[task] = SOURCES[source].manifest() if source else {"generated": config["benchmark"]}
        if source and SOURCES[source].drawn:
            sources[task]["subset"] = settings.subset
    return sources
