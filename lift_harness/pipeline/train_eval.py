"""`lift-harness train-eval`: train every method from one base, evaluate all on the same items, report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from lift_harness import __version__
from lift_harness.errors import LiftError
from lift_harness.pipeline import stages
from lift_harness.pipeline.display import Display
from lift_harness.pipeline.recipe import Recipe
from lift_harness.pipeline.report import markdown, score_tables, times_table


def train_eval(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run a recipe and return what `results.json` holds.

    The output folder has `recipe.yaml` as resolved, `results.json`, `report.md`, and a folder for the base
    model and for each method with its adapter or checkpoint (`train/`), lm-eval's result and sample files
    (`eval/`) and what each stage returned (`train.json`, `eval.json`; a resumed run skips those stages).
    """
    if recipe.eval is None or not isinstance(recipe.model, str):
        raise LiftError(f"recipe {recipe.name!r} is for training only; run: lift-harness train {recipe.name}")
    settings = recipe.eval
    console = console or Console()
    stages.quiet()
    stages.check_tasks(settings)
    text = check_training(recipe)
    stages.prepare_output(output, recipe_text(recipe), resume, overwrite)
    console.print(f"[bold]{recipe.name}[/bold]: {recipe.description}\noutput: {output}")
    results: dict[str, Any] = {
        "recipe": recipe.name,
        "version": __version__,
        "scores": {},
        "training": {},
        "seconds": {},
    }
    with Display(console) as display:

        def stage(name: str, kind: str, work: Callable[[Path, stages.Progress], Any]) -> Any:
            done = run_stage(output / name, kind, display, f"{name}: {kind}", work)
            results["seconds"].setdefault(name, {})[kind] = done["seconds"]
            return done["result"]

        evaluate = partial(stages.evaluate_checkpoint, recipe, settings)
        results["scores"]["base"] = stage("base", "eval", partial(evaluate, None))
        for method in recipe.methods:
            name = method.name
            trained = stage(name, "train", partial(stages.train_method, recipe, text, method))
            checkpoint = output / name / "train" / trained["checkpoint"]
            results["training"][name] = trained
            results["scores"][name] = stage(name, "eval", partial(evaluate, checkpoint))
    stages.write_json(output / "results.json", results)
    (output / "report.md").write_text(markdown(recipe, results), encoding="utf-8")
    for table in (*score_tables(results), times_table(results)):
        console.print(table)
    return results


def train_only(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train every method of a recipe without evaluating; returns {method: what was trained}."""
    console = console or Console()
    stages.quiet()
    text = check_training(recipe)
    stages.prepare_output(output, recipe_text(recipe), resume, overwrite)
    trained = {}
    with Display(console) as display:
        for method in recipe.methods:
            done = run_stage(
                output / method.name,
                "train",
                display,
                f"{method.name}: train",
                partial(stages.train_method, recipe, text, method),
            )
            trained[method.name] = {**done["result"], "seconds": done["seconds"]}
            where = output / method.name / "train" / done["result"]["checkpoint"]
            console.print(f"{method.name}: {where} ({done['seconds']:.0f} s)")
    return trained


def check_training(recipe: Recipe) -> list[Any]:
    """The training text, once methods, data and model are found to be in order.

    Whatever is wrong with them is a LiftError here, before anything is written.
    """
    from lift_harness.training.data import tokenize
    from lift_harness.training.objectives import get_objective
    from lift_harness.training.trainer import check_lengths

    for method in recipe.methods:
        get_objective(method.objective.name, **(method.objective.model_extra or {}))
    text = stages.training_text(recipe)
    model, tokenizer = stages.base_model(recipe, text)
    check_lengths(tokenize(text, tokenizer), model.config.max_position_embeddings)
    return text


def run_stage(
    folder: Path, kind: str, display: Display, label: str, work: Callable[[Path, stages.Progress], Any]
) -> dict[str, Any]:
    """Do a stage, or take its saved result: {"result", "seconds"}.

    A stage writes into `folder/kind`; what an interrupted one left there is cleared first.
    """
    record = folder / f"{kind}.json"
    if record.is_file():
        display.skip(label)
        return stages.read_json(record)
    shutil.rmtree(folder / kind, ignore_errors=True)
    (folder / kind).mkdir(parents=True)
    started = time.perf_counter()
    try:
        with display.stage(label) as progress:
            result = work(folder / kind, progress)
    except LiftError:
        if not any(folder.parent.glob("*/*.json")):  # bad input, found late, and nothing done: leave nothing
            shutil.rmtree(folder.parent)
        raise
    done = {"result": result, "seconds": round(time.perf_counter() - started, 1)}
    stages.write_json(record, done)
    return done


def recipe_text(recipe: Recipe) -> str:
    """The recipe as resolved, every default spelled out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
