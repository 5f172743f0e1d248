"""`lift-harness train-eval`: train every method from one base, evaluate all on the same items, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from rich.text import Text

from lift_harness import __version__
from lift_harness.console import Console, options_of, say, say_where, typed, visible
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.files import files_sha256, write_json, write_whole
from lift_harness.lm.evaluation import Scores
from lift_harness.pipeline.display import Display
from lift_harness.pipeline.evaluation import (
    check_evaluation,
    evaluate_checkpoint,
    evaluation_key,
    quiet,
)
from lift_harness.pipeline.manifest import manifest
from lift_harness.pipeline.pace import kind_of
from lift_harness.pipeline.recipe import recipe_text
from lift_harness.pipeline.report import markdown, score_tables, times_table
from lift_harness.pipeline.schema import Method, Recipe
from lift_harness.pipeline.stages import (
    Found,
    Work,
    find_stage,
    no_trace_of_bad_input,
    prepare_output,
    run_stage,
)
from lift_harness.pipeline.training import check_training, train_method, training_key, training_work
from lift_harness.report import write_report
from lift_harness.results.layout import method_folder
from lift_harness.results.lock import sole_writer
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
    select: Sequence[str] = (),
    console: Console | None = None,
) -> dict[str, Any]:
    """Run a recipe and return what `results.json` holds.

    Args:
        recipe: what to do.
        output: the run's folder (docs/runs.md).
        resume: keep what is valid of another recipe's run in that folder. The same recipe always goes on.
        overwrite: replace what is in the folder.
        only: the stages to do; those of the other kind are taken as they are.
        select: what to do of the recipe: METHOD, METHOD/SEED or "base"; nothing: all. Of the rest it takes
            what is in the folder.
        console: where the run reports.

    Raises:
        LiftError: whatever is wrong with the recipe or the folder, before anything is written.
        Stopped: by a signal; the same call goes on.
    """
    if only != "train" and (recipe.eval is None or not isinstance(recipe.model, str)):
        raise LiftError(f"recipe {recipe.name!r} is for training only; run: lift-harness train {recipe.name}")
    quiet()
    wanted = selected(recipe, select)
    # 1. Whatever is wrong with the recipe is said before anything is written.
    if recipe.eval and only != "train":
        check_evaluation(recipe, recipe.eval)
    data, model = check_training(recipe)
    with Display(console or Console()) as display, ExitStack() as cleanup:
        # 2. The folder, which is this run's alone. One process of several has the lock for all.
        display.lead(lambda: cleanup.enter_context(sole_writer(output)))
        cleanup.enter_context(no_trace_of_bad_input(output))
        display.lead(lambda: prepare_output(output, recipe_text(recipe), resume, overwrite))
        title = Text.assemble((recipe.name, "bold"), f": {recipe.description}\noutput: {output}")
        display.console.print(title)
        run = Run(recipe, output, data, model, display, wanted)
        display.pace.expect(run.work(only))
        if only == "eval":
            run.take_trained()
        # 3. Every stage of it, and what it comes to.
        results = run.results(only)
        display.lead(lambda: finish(run, results, manifest(recipe, run.stages, data, model)))
    report(run, results)
    return results


@dataclass
class Run:
    """A recipe at work in its folder.

    Attributes:
        recipe: what is done.
        output: the folder.
        data: the training data.
        model: the base model, as the manifest names it.
        display: where progress is shown.
        wanted: folders below `output` of what is to be done; of the others what is there is taken.
        stages: "METHOD/train" or "METHOD/eval" -> its record (`run_stage`).
    """

    recipe: Recipe
    output: Path
    data: Any
    model: dict[str, Any]
    display: Display
    wanted: set[str]
    stages: dict[str, Any] = field(default_factory=dict)

    def work(self, only: Kind | None) -> dict[str, float]:
        """Which stages there are, and how much each is of its kind."""
        from lift_harness.pipeline.data import block_size_of

        records, with_blocks = len(self.data.records), block_size_of(self.recipe) is not None
        stages = {f"{BASE}/eval": 1.0}  # all evaluations are the same work
        for method, _, where in trained_ones(self.recipe):
            stages[f"{where}/train"] = training_work(self.recipe, method, records, with_blocks)
            stages[f"{where}/eval"] = 1.0
        kinds = ("train", "eval") if only is None else (only,)
        mine = (stage for stage in stages if stage.rpartition("/")[0] in self.wanted)
        return {stage: stages[stage] for stage in mine if kind_of(stage) in kinds}

    def results(self, only: Kind | None) -> dict[str, Any]:
        """Do every stage; what they come to."""
        # The model that all start from.
        base = None if only == "train" else self.evaluate(BASE, None, str(self.model))
        # Each method with each seed: train it, evaluate it.
        trainings: dict[str, dict[str, Any]] = {}
        seeds: dict[str, dict[str, Scores]] = {}
        for method, seed, where in trained_ones(self.recipe):
            trained = self.train(method, seed, where)
            if trained is None:
                continue
            trainings[where] = trained
            if only != "train":
                checkpoint = self.output / where / "train" / trained["checkpoint"]
                scores = self.evaluate(where, checkpoint, f"{self.model} + {trained['sha256']}")
                if scores is not None:
                    seeds.setdefault(method.name, {})[str(seed)] = scores
        return summary(self.recipe, base, seeds, trainings)

    def train(self, method: Method, seed: int, where: str) -> dict[str, Any] | None:
        """Train a method from the base model, or take what was trained: the stage's result."""
        key = training_key(self.recipe, method, seed, self.data, self.model)
        return self.stage(where, "train", key, partial(train_method, self.recipe, self.data, method, seed))

    def evaluate(self, where: str, checkpoint: Path | None, sha256: str) -> Scores | None:
        """Evaluate a checkpoint (None: the base model), whose weights a hash tells, or take its scores."""
        assert self.recipe.eval is not None
        key = evaluation_key(self.recipe, self.recipe.eval, sha256)
        work = partial(evaluate_checkpoint, self.recipe, self.recipe.eval, checkpoint)
        return self.stage(where, "eval", key, work)

    def stage(self, where: str, kind: Kind, key: str, work: Work) -> Any:
        """Do a stage, or take its record; its result, None where it is not to be done and is not there."""
        name, folder = f"{where}/{kind}", self.output / where
        if name not in self.stages:
            if where in self.wanted:
                self.stages[name] = run_stage(folder, kind, key, self.display, name, work)
            else:
                found: Found = self.display.ask(lambda: find_stage(folder, kind, key))
                if found.record is None:
                    return None
                self.stages[name] = found.record
        return self.stages[name]["result"]

    def take_trained(self) -> None:
        """Take every training as it is, to evaluate only.

        Raises:
            LiftError: one is not done, or not as it was written.
        """
        for method, seed, where in trained_ones(self.recipe):
            if where not in self.wanted:
                continue
            key = training_key(self.recipe, method, seed, self.data, self.model)
            found: Found = self.display.ask(partial(find_stage, self.output / where, "train", key))
            if not found.record:
                not_done = f"not done in {self.output / where}"
                why = f"damaged ({found.damage})" if found.damage else not_done
                raise LiftError(f"{where}: train is {why}, and --only leaves it out; run without --only")
            self.display.skip(f"{where}/train")
            self.stages[f"{where}/train"] = found.record


def trained_ones(recipe: Recipe) -> Iterator[tuple[Method, int, str]]:
    """(method, seed, folder below the run's) of every training."""
    for method in recipe.methods:
        for seed in recipe.all_seeds():
            yield method, seed, method_folder(method.name, seed, recipe.seeds)


def selected(recipe: Recipe, select: Sequence[str]) -> set[str]:
    """The folders of what `--select` names; without it of all.

    Raises:
        LiftError: a method or a seed that the recipe does not have.
    """
    folders = {f"{method.name}/{seed}": where for method, seed, where in trained_ones(recipe)}
    if not select:
        return {BASE, *folders.values()}
    wanted = set()
    for entry in select:
        whole_method = [where for name, where in folders.items() if name.rpartition("/")[0] == entry]
        one = [BASE] if entry == BASE else [folders[entry]] if entry in folders else whole_method
        if not one:
            known = [BASE, *(method.name for method in recipe.methods), *folders]
            raise LiftError(f"--select {entry}: no such method or seed; {did_you_mean(entry, known)}")
        wanted.update(one)
    return wanted


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
    results = {"recipe": recipe.name, "version": __version__, "scores": scores, "training": trainings}
    return results | ({"seeds": seeds} if recipe.seeds > 1 else {})


def mean_scores(by_seed: Sequence[Scores]) -> Scores:
    """The scores of one training as they are; of several the mean of each metric, with its error."""
    if len(by_seed) == 1:
        return by_seed[0]
    means: Scores = {}
    for task, metrics in by_seed[0].items():
        for name in metrics:
            values = [scores[task][name]["value"] for scores in by_seed]
            error = stdev(values) / sqrt(len(values))
            noted = {key: note for scores in by_seed for key, note in scores[task][name].items()}
            means.setdefault(task, {})[name] = {
                **noted,
                "value": mean(values),
                "stderr": error,
                "n_seeds": len(values),
            }
    return means


def finish(run: Run, results: dict[str, Any], made_of: dict[str, Any]) -> None:
    """Write what sums the run up; `made_of`: its manifest."""
    if results["scores"]:
        write_json(run.output / "results.json", results)
        made_of["results_sha256"] = files_sha256(run.output / "results.json")
    write_json(run.output / "manifest.json", made_of)
    if results["scores"]:
        page = markdown(run.recipe, rows_of(run.output, results), results, run.stages)
        write_whole(run.output / "report.md", visible(page))
        write_report(run.output)


def rows_of(output: Path, results: dict[str, Any]) -> list[Row]:
    """The rows of this recipe: a folder that went on with --resume may hold another one's, too."""
    return [row for row in load([output]) if row.name in results["scores"]]


def report(run: Run, results: dict[str, Any]) -> None:
    """Print the tables, or where the weights are."""
    console = run.display.console
    if console.quiet:  # not the first process, which may be the only one that sees the folder
        return
    if results["scores"]:
        console.print(score_tables(rows_of(run.output, results), console.width))
        console.print(times_table(run.stages))
    else:
        for where, trained in results["training"].items():
            seconds = run.stages[f"{where}/train"]["seconds"]
            say(console, f"{where}: {checkpoint_of(run, where, trained)} ({seconds:.0f} s)")
    say_where(**what_next(run, results))


def checkpoint_of(run: Run, where: str, trained: dict[str, Any]) -> Path:
    """The folder of an adapter, or of a model's weights."""
    return run.output / where / "train" / trained["checkpoint"]


def what_next(run: Run, results: dict[str, Any]) -> dict[str, object]:
    """Where the page is, and the commands that go on from here."""
    places: dict[str, object] = {}
    if results["scores"]:
        places = {"report": run.output / "report.html", "compare": typed("compare", run.output)}
    if results["training"]:
        where, trained = list(results["training"].items())[-1]
        tasks = ",".join(map(str, run.recipe.eval.tasks)) if run.recipe.eval else "mini"
        loaded = options_of(run.recipe.model, checkpoint_of(run, where, trained))
        for name, value in run.recipe.loading.items():
            loaded += ["--model_args", f"{name}={value}"]
        places[f"evaluate {where}"] = typed("eval", *loaded, "--tasks", tasks)
    return places
