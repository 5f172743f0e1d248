"""What a run was made of, so that somebody else can make it again: `manifest.json`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from lift_harness import __version__
from lift_harness.pipeline.hardware import git_state, hardware, packages
from lift_harness.pipeline.schema import Recipe


def manifest(recipe: Recipe, stages: dict[str, Any], data: Any, model: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run.

    Args:
        recipe: as resolved.
        stages: name -> record of each stage ("key", "cost", "seconds").
        data: of `training.sources.load_data`.
        model: of `identity.model_identity`.
    """
    machine = hardware()
    gpus = len(machine["gpus"]) and machine["processes"]
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "recipe": recipe.model_dump(mode="json"),
        "code": {"version": __version__, **git_state()},
        "packages": packages(),
        "hardware": machine,
        "model": model,
        "data": data.manifest(),
        "tasks": task_sources(recipe),
        "seeds": recipe.all_seeds(),
        "stages": {name: stage_row(stage, gpus) for name, stage in stages.items()},
    }


def stage_row(stage: dict[str, Any], gpus: int) -> dict[str, Any]:
    """What a stage took: seconds on the clock (of its last attempt), passes of sequences, tokens, memory."""
    hours = round(stage["seconds"] * gpus / 3600, 4)
    return {"key": stage["key"], "seconds": stage["seconds"], "gpu_hours": hours, **stage["cost"]}


def task_sources(recipe: Recipe) -> dict[str, Any]:
    """Where the problems of each task come from: file, revision and sha256, and which of them are asked."""
    from lift_harness.pipeline.evaluation import evaluations
    from lift_harness.tasks.catalog import task_config
    from lift_harness.tasks.data import SOURCES

    if recipe.eval is None:
        return {}
    sources = {}
    for task in {task: None for run in evaluations(recipe, recipe.eval) for task in run.tasks}:
        config = task_config(task)
        source = config.get("dataset_kwargs", {}).get("source")
        sources[task] = SOURCES[source].manifest() if source else {"generated": config["benchmark"]}
        if source and SOURCES[source].drawn:
            sources[task]["subset"] = recipe.eval.subset
    return sources
