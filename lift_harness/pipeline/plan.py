"""`--dry-run`: what a recipe would do, and roughly what that takes; nothing is loaded but small files.

A pass of P parameters over n tokens is counted as 2 P n floating-point operations, its backward pass as twice
that (as once with adapters, whose base has no gradient). The rate is measured with a matrix product on this
machine, of which a transformer reaches a part.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from lift_harness.console import Console, titled
from lift_harness.pipeline.schema import EvalSettings, Method, NewModel, Recipe

if TYPE_CHECKING:
    from lift_harness.models.experts import Parameters

PART = 0.4  # of the rate of a large matrix product


@dataclass(frozen=True)
class Stage:
    """One stage of a plan.

    Attributes:
        where: its folder below the run's, and kind.
        items: examples or problems.
        passes: of sequences through the model.
        tokens: in them.
        flops: that takes.
        memory: bytes of weights, gradients and optimiser state.
        note: what it is.
    """

    where: str
    items: int
    passes: int
    tokens: int
    flops: float
    memory: int
    note: str


def show_plan(recipe: Recipe, output: Path, only: str | None, console: Console | None = None) -> None:
    """Print the plan of a recipe."""
    console = console or Console()
    stages = list(plan(recipe, only))
    device, rate = flops_per_second()
    table = Table()
    for column in ("stage", "what", "items", "passes", "time", "memory"):
        table.add_column(column, justify="left" if column in ("stage", "what") else "right")
    for stage in stages:
        table.add_row(
            stage.where,
            stage.note,
            str(stage.items),
            str(stage.passes),
            duration(stage.flops / rate),
            f"{stage.memory / 2**30:.2f} GiB",
        )
    console.print(titled(f"{recipe.name}: {recipe.description}", table))
    total = sum(stage.flops for stage in stages) / rate
    console.print(
        f"about {duration(total)} on this machine ({device}, {rate / 1e9:.0f} GFLOP/s): an estimate,"
    )
    console.print("within a factor of three; activations come on top of the memory")
    hours = [method.gpu_hours for method in recipe.methods if method.gpu_hours is not None]
    if hours and only != "eval":
        all_hours = sum(hours) * recipe.seeds
        console.print(
            f"training on an H100, by the paper: {all_hours:g} GPU hours for {recipe.seeds} seed(s)"
        )
    console.print(f"writes to {output}: recipe.yaml, manifest.json, results.json, report.md, report.html,")
    console.print("and below each stage's folder adapters or checkpoints, lm-eval's results and sample logs")


def plan(recipe: Recipe, only: str | None) -> Iterator[Stage]:
    """The stages of a recipe, in their order.

    Raises:
        LiftError: whatever `train-eval` would refuse that can be seen without the weights.
    """
    from lift_harness.pipeline.data import (
        block_size_of,
        check_priority,
        check_settings,
        method_examples,
        recipe_data,
        split_records,
    )
    from lift_harness.pipeline.evaluation import check_evaluation
    from lift_harness.pipeline.train_eval import trained_ones

    if recipe.eval and only != "train" and isinstance(recipe.model, str):
        check_evaluation(recipe, recipe.eval)
    parameters = parameters_of(recipe)
    evaluated = evaluation_stage(recipe, recipe.eval, parameters) if recipe.eval and only != "train" else None
    if evaluated:
        yield replace(evaluated, where="base/eval")
    tokenizer, context, data = recipe_data(recipe)
    check_settings(recipe, context)
    with_blocks = block_size_of(recipe) is not None
    records, _ = split_records(recipe, data.records)
    lengths: dict[str, list[int]] = {}
    for method, _seed, where in trained_ones(recipe):
        objective = method.build_objective()
        if only != "eval":
            if method.name not in lengths:  # the same for every seed
                settings = recipe.training_of(method)
                examples, _ = method_examples(records, tokenizer, settings, context, objective)
                check_priority(examples)
                lengths[method.name] = [len(example) for example in examples]
            texts = lengths[method.name]
            yield training_stage(recipe, method, where, parameters, texts, with_blocks)
        if evaluated:
            yield replace(evaluated, where=f"{where}/eval")


def training_stage(
    recipe: Recipe,
    method: Method,
    where: str,
    parameters: Parameters,
    lengths: list[int],
    with_blocks: bool = False,
) -> Stage:
    """The training of one method."""
    settings = recipe.training_of(method)
    step = settings.batch_size * settings.gradient_accumulation_steps
    steps = settings.max_steps or ceil(ceil(len(lengths) / step) * settings.epochs)
    rows = steps * step if settings.max_steps else round(len(lengths) * settings.epochs)
    mean = settings.pad_to or sum(lengths) / len(lengths)
    trained, scored = method.build_objective().passes
    if with_blocks:  # the clean text is a pass too, and one for each pass that cannot share it
        trained += 1
        scored += scored * bool(settings.lora and settings.lora.dropout)
    backward = 1 if settings.lora else 2
    passes = rows * (trained + scored)
    flops = 2 * parameters.active * mean * rows * (trained * (1 + backward) + scored)
    with_gradient = parameters.total if settings.lora is None else parameters.total // 50
    weights = parameters.total * (2 if settings.bf16 and settings.lora else 4)
    note = f"{steps} steps of {step}, {mean:.0f} tokens a row"
    return Stage(
        f"{where}/train",
        len(lengths),
        round(passes),
        round(passes * mean),
        flops,
        weights + 12 * with_gradient,
        note,
    )


def evaluation_stage(recipe: Recipe, settings: EvalSettings, parameters: Parameters) -> Stage:
    """The evaluation of a checkpoint, whichever it is."""
    from lift_harness.decoding import DecodingConfig, settings_for
    from lift_harness.lm.requests import SETTINGS, spelled
    from lift_harness.models.without_weights import shape_of
    from lift_harness.pipeline.evaluation import evaluations, load_tasks
    from lift_harness.tasks.catalog import decoding_settings

    items, passes, tokens, notes = 0, 0, 0, []
    shape = None if isinstance(recipe.model, NewModel) else shape_of(recipe.model)
    weaker = spelled({name: value for name, value in settings.model_args.items() if name in SETTINGS})
    for run in evaluations(recipe, settings):
        for task in load_tasks(run, settings):
            docs = task.count(run.limit)
            own = decoding_settings(task.task_name)
            decoding = (
                DecodingConfig.of(own, weaker, run.gen_kwargs)
                if shape is None
                else settings_for(shape, weaker, run.gen_kwargs, task=own)
            )
            answers = docs * (run.samples or task.config.repeats)
            first = range(min(docs, 8))
            characters = sum(len(task.doc_to_text(task.eval_docs[i])) for i in first) / len(first)
            prompt = characters / 3  # tokens, about
            items += docs
            passes += answers * decoding.steps
            tokens += round(answers * decoding.steps * (prompt + decoding.gen_length))
        notes.append(f"{run.label}: {len(run.tasks)} tasks")
    flops = 2.0 * parameters.active * tokens
    return Stage("eval", items, passes, tokens, flops, parameters.total * 4, ", ".join(notes))


def parameters_of(recipe: Recipe) -> Parameters:
    """Parameters of the recipe's model, from its configuration."""
    from lift_harness.models.experts import Parameters, count_parameters

    if isinstance(recipe.model, NewModel):
        d, h = recipe.model.d_model, recipe.model.mlp_hidden_size
        made = recipe.model.n_layers * (4 * d * d + 3 * d * h) + 2 * 1000 * d
        return Parameters(made, made)
    from lift_harness.models.checkpoint import find_folder
    from lift_harness.models.loading import empty_model

    folder = find_folder(recipe.model, weights=False)
    _, empty = empty_model(folder, recipe.model)
    return count_parameters(empty)


def flops_per_second() -> tuple[str, float]:
    """The device, and the floating-point rate that a transformer may reach on it."""
    import torch

    cuda = torch.cuda.is_available()
    size, kind = (8192, torch.bfloat16) if cuda else (1024, torch.float32)
    a = torch.randn(size, size, dtype=kind, device="cuda" if cuda else "cpu")
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        b = a @ a
        float(b[0, 0])  # waits for the GPU
        best = min(best, time.perf_counter() - started)
    name = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} threads"
    return name, PART * 2 * size**3 / best


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
