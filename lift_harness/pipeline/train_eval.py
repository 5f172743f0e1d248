"""`lift-harness train-eval`: train every method from one base, evaluate all on the same items, report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import yaml
from rich.console import Console

from lift_harness import __version__
from lift_harness.errors import LiftError, Stopped
from lift_harness.lm.evaluation import Scores
from lift_harness.pipeline.display import Display
from lift_harness.pipeline.evaluating import (
    check_evaluation,
    evaluate_checkpoint,
    evaluation_key,
    quiet,
)
from lift_harness.pipeline.manifest import manifest
from lift_harness.pipeline.report import markdown, score_tables, times_table
from lift_harness.pipeline.runs import done_stage, prepare_output, run_stage, write_json
from lift_harness.pipeline.schema import Method, Recipe
from lift_harness.pipeline.training import check_training, train_method, training_key
from lift_harness.report import write_report
from lift_harness.results.layout import method_folder
from lift_harness.results.read import load
from lift_harness.results.rows import Row

Kind = Literal["train", "eval"]
BASE = "base"


def train_eval(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    only: Kind | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Run a recipe and return what `results.json` holds.

    Args:
        recipe: what to do.
        output: the run's folder (docs/runs.md).
        resume: keep what is valid of another recipe's run in that folder. The same recipe always goes on.
        overwrite: replace what is in the folder.
        only: the stages to do; those of the other kind are taken as they are.
        console: where the run reports.

    Raises:
        LiftError: whatever is wrong with the recipe or the folder, before anything is written.
        Stopped: by a signal; the same call goes on.
    """
    if only != "train" and (recipe.eval is None or not isinstance(recipe.model, str)):
        raise LiftError(f"recipe {recipe.name!r} is for training only; run: lift-harness train {recipe.name}")
    quiet()
    if recipe.eval and only != "train":
        check_evaluation(recipe, recipe.eval)
    data, model = check_training(recipe)
    with Display(console or Console()) as display, no_trace_of_bad_input(output):
        display.lead(lambda: prepare_output(output, recipe_text(recipe), resume, overwrite))
        display.console.print(f"[bold]{recipe.name}[/bold]: {recipe.description}\noutput: {output}")
        stages: dict[str, Any] = {}
        trainings: dict[str, dict[str, Any]] = {}
        seeds: dict[str, dict[str, Scores]] = {}
        base: Scores | None = None

        def evaluate(where: str, checkpoint: Path | None, sha256: str) -> Scores:
            assert recipe.eval is not None
            key = evaluation_key(recipe, recipe.eval, sha256)
            work = partial(evaluate_checkpoint, recipe, recipe.eval, checkpoint)
            stages[f"{where}/eval"] = done = run_stage(
                output / where, "eval", key, display, f"{where}: eval", work
            )
            return done["result"]

        if only == "eval":  # before the first evaluation
            for method, seed, where in trained_ones(recipe):
                if not done_stage(output / where, "train", training_key(recipe, method, seed, data, model)):
                    raise LiftError(
                        f"{where}: train is not done in {output / where}, and --only leaves it out; run "
                        "without --only"
                    )
        if only != "train":
            base = evaluate(BASE, None, str(model))
        for method, seed, where in trained_ones(recipe):
            key = training_key(recipe, method, seed, data, model)
            work = partial(train_method, recipe, data, method, seed)
            stages[f"{where}/train"] = done = run_stage(
                output / where, "train", key, display, f"{where}: train", work
            )
            trainings[where] = done["result"]
            if only != "train":
                checkpoint = output / where / "train" / done["result"]["checkpoint"]
                found = evaluate(where, checkpoint, f"{model} + {done['result']['sha256']}")
                seeds.setdefault(method.name, {})[str(seed)] = found
        results = summary(recipe, base, seeds, trainings)
        display.lead(lambda: finish(recipe, output, results, stages, data, model))
    report(recipe, output, results, stages, display.console)
    return results


def trained_ones(recipe: Recipe) -> Iterator[tuple[Method, int, str]]:
    """(method, seed, folder below the run's) of every training."""
    for method in recipe.methods:
        for seed in recipe.all_seeds():
            yield method, seed, method_folder(method.name, seed, recipe.seeds)


@contextmanager
def no_trace_of_bad_input(output: Path) -> Iterator[None]:
    """Bad input that is found late, with nothing done yet, leaves no folder behind."""
    existed = output.exists()
    try:
        yield
    except Stopped:
        raise
    except (LiftError, OSError):
        kept = ("train.json", "eval.json", "checkpoint-*")
        if not existed and not any(any(output.rglob(name)) for name in kept):
            shutil.rmtree(output, ignore_errors=True)
        raise


# ---------------------------------------------------------------- results


def summary(
    recipe: Recipe,
    base: Scores | None,
    seeds: dict[str, dict[str, Scores]],
    trainings: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """What `results.json` holds: nothing in it depends on when or how often the run was interrupted."""
    scores = {BASE: base} if base else {}
    for method, by_seed in seeds.items():
        scores[method] = mean_scores(list(by_seed.values()))
    found = {"recipe": recipe.name, "version": __version__, "scores": scores, "training": trainings}
    return found | ({"seeds": seeds} if recipe.seeds > 1 else {})


def mean_scores(found: Sequence[Scores]) -> Scores:
    """The scores of one training as they are; of several the mean of each metric, with its error."""
    if len(found) == 1:
        return found[0]
    means: Scores = {}
    for task, metrics in found[0].items():
        for name in metrics:
            values = [scores[task][name]["value"] for scores in found]
            error = stdev(values) / sqrt(len(values))
            means.setdefault(task, {})[name] = {
                "value": mean(values),
                "stderr": error,
                "n_seeds": len(values),
            }
    return means


def finish(
    recipe: Recipe, output: Path, results: dict[str, Any], stages: dict[str, Any], data: Any, model: Any
) -> None:
    """Write what sums the run up."""
    write_json(output / "manifest.json", manifest(recipe, stages, data, model))
    if results["scores"]:
        write_json(output / "results.json", results)
        page = markdown(recipe, rows_of(output, results), results, stages)
        (output / "report.md").write_text(page, encoding="utf-8")
        write_report(output)


def rows_of(output: Path, results: dict[str, Any]) -> list[Row]:
    """The rows of this recipe: a folder that went on with --resume may hold another one's, too."""
    return [row for row in load([output]) if row.name in results["scores"]]


def report(
    recipe: Recipe, output: Path, results: dict[str, Any], stages: dict[str, Any], console: Console
) -> None:
    """Print the tables, or where the weights are."""
    if console.quiet:  # not the first process, which may be the only one that sees the folder
        return
    if results["scores"]:
        console.print(score_tables(rows_of(output, results), console.width))
        console.print(times_table(stages))
    else:
        for where, trained in results["training"].items():
            seconds = stages[f"{where}/train"]["seconds"]
            console.print(f"{where}: {output / where / 'train' / trained['checkpoint']} ({seconds:.0f} s)")


def recipe_text(recipe: Recipe) -> str:
    """The recipe as resolved, every default spelled out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
