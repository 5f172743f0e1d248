"""`--dry-run`: what a recipe would do, whether it fits and how long it takes; only small files are read.

Memory, operations and hours are those of `lift_harness.budget`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from lift_harness.budget.machines import Machine, machine
from lift_harness.budget.memory import Memory, Training, decoding_memory, most_requests, training_memory
from lift_harness.budget.operations import decoding_operations, scoring_operations, training_operations
from lift_harness.budget.shape import Shape, shape_of, weight_bytes
from lift_harness.budget.verdict import duration, fits, training_verdict, verdict
from lift_harness.console import Console, titled
from lift_harness.pipeline.schema import EvalSettings, Method, NewModel, Recipe

if TYPE_CHECKING:
    from lift_harness.pipeline.evaluation import Evaluation
    from lift_harness.tasks.protocol import ProtocolTask

CHARACTERS = 3  # a token of a prompt, about


class Where(NamedTuple):
    """What a plan is for: a machine, and how its processes share a training."""

    machine: Machine
    strategy: str = "ddp"


@dataclass(frozen=True)
class Stage:
    """One stage of a plan.

    Attributes:
        where: its folder below the run's, and kind.
        items: examples or problems.
        passes: of sequences through the model.
        tokens: in them.
        flops: that takes.
        memory: of one process.
        note: what it is.
        verdict: whether it fits.
        seconds: that it takes; None: unknown.
    """

    where: str
    items: int
    passes: int
    tokens: int
    flops: float
    memory: Memory
    note: str
    verdict: str
    seconds: float | None


class Lengths(NamedTuple):
    """Tokens of a method's rows, and of their responses, padding included: on average, and the longest."""

    rows: int
    mean: float
    response: float
    longest: int
    longest_response: int


def show_plan(
    recipe: Recipe,
    output: Path,
    only: str | None,
    console: Console | None = None,
    *,
    on: str | None = None,
    nproc: int | None = None,
    strategy: str = "ddp",
) -> None:
    """Print the plan of a recipe.

    Args:
        recipe: to plan.
        output: the run's folder.
        only: "train" or "eval"; None: both.
        console: to print to.
        on: cards, as `--on` names them; None: this machine.
        nproc: processes.
        strategy: how they share a training.
    """
    console = console or Console()
    where = Where(machine(on, nproc), strategy)
    stages = list(plan(recipe, only, where))
    table = Table()
    for column in ("stage", "what", "items", "passes", "time", "memory"):
        right = column in ("items", "passes", "time")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for stage in stages:
        counts = (f"{stage.items:,}", f"{stage.passes:,}")
        table.add_row(stage.where, stage.note, *counts, duration(stage.seconds), stage.verdict)
    console.print(titled(f"{recipe.name}: {recipe.description}", table))
    for line in summary(stages, where):
        console.print(line, soft_wrap=True, highlight=False)
    hours = [method.gpu_hours for method in recipe.methods if method.gpu_hours is not None]
    if hours and only != "eval":
        all_hours = sum(hours) * recipe.seeds
        console.print(
            f"training on an H100, by the paper: {all_hours:g} GPU hours for {recipe.seeds} seed(s)"
        )
    console.print(f"writes to {output}: recipe.yaml, manifest.json, results.json, report.md, report.html,")
    console.print("and below each stage's folder adapters or checkpoints, lm-eval's results and sample logs")


def summary(stages: list[Stage], where: Where) -> Iterator[str]:
    """What all stages take together, and where these numbers come from."""
    on, known = where.machine, [stage.seconds for stage in stages if stage.seconds is not None]
    shared = f", {on.count} processes ({where.strategy})" if on.count > 1 else ""
    total = duration(sum(known) if len(known) == len(stages) else None)
    yield f"all of it on {on.name}{shared}: {total}, reckoned with {on.stated}"
    yield "evaluations are shorter where texts end early; memory is a process's peak (docs/hardware.md)"


def plan(recipe: Recipe, only: str | None, where: Where | None = None) -> Iterator[Stage]:
    """The stages of a recipe, in their order.

    Raises:
        LiftError: whatever `train-eval` would refuse that can be seen without the weights.
    """
    from lift_harness.pipeline.data import (
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
    where = where or Where(machine(None, None))
    tokenizer, context, data = recipe_data(recipe)
    shape = recipe_shape(recipe, tokenizer)
    evaluated = (
        evaluation_stage(recipe, recipe.eval, shape, where) if recipe.eval and only != "train" else None
    )
    if evaluated:
        yield replace(evaluated, where="base/eval")
    check_settings(recipe, context)
    records, held_out = split_records(recipe, data.records)
    lengths: dict[str, Lengths] = {}
    for method, _seed, folder in trained_ones(recipe):
        objective = method.build_objective()
        if only != "eval":
            if method.name not in lengths:  # the same for every seed
                settings = recipe.training_of(method)
                examples, _ = method_examples(records, tokenizer, settings, context, objective)
                check_priority(examples)
                lengths[method.name] = lengths_of(examples, settings.pad_to)
            texts = lengths[method.name]
            yield training_stage(recipe, method, f"{folder}/train", shape, texts, len(held_out), where)
        if evaluated:
            yield replace(evaluated, where=f"{folder}/eval")


def lengths_of(examples: Any, pad_to: int | None) -> Lengths:
    """The lengths of tokenised examples; rows are padded with what counts as response."""
    longest, prompts = pad_to or max(map(len, examples)), [len(example.prompt) for example in examples]
    mean = pad_to or sum(map(len, examples)) / len(examples)
    response = mean - sum(prompts) / len(prompts)
    return Lengths(len(examples), mean, response, longest, longest - min(prompts))


def packed(texts: Lengths, together: int, width: int) -> Lengths:
    """The lengths of rows of a width that hold so many examples each."""
    response = texts.response * together
    return Lengths(ceil(texts.rows / together), width, response, width, ceil(response))


def training_stage(
    recipe: Recipe,
    method: Method,
    name: str,
    shape: Shape,
    texts: Lengths,
    held_out: int,
    where: Where,
) -> Stage:
    """The training of one method, whose validation has so many examples."""
    settings, objective, on = recipe.training_of(method), method.build_objective(), where.machine
    step = settings.batch_size * settings.gradient_accumulation_steps * on.count
    steps = settings.max_steps or ceil(ceil(texts.rows / step) * settings.epochs)
    rows = steps * step if settings.max_steps else round(texts.rows * settings.epochs)
    together = 1  # examples in a row
    if settings.pack_to:  # about: they do not fill it to its end
        together = max(1, int(settings.pack_to // texts.mean))
        rows, texts = ceil(rows / together), packed(texts, together, settings.pack_to)
    cost = objective.passes
    how = Training(
        rows=ceil(ceil(settings.batch_size / together) * cost.trained),
        length=texts.longest,
        supervised=texts.longest_response,
        accumulated=settings.gradient_accumulation_steps > 1,
        lora=settings.lora,
        bf16=settings.bf16,
        checkpointing=settings.gradient_checkpointing,
        scored=cost.scored > 0,
        reference=objective.needs_reference and settings.lora is None,
        processes=on.count,
        strategy=where.strategy,
        kind=on.kind,
    )
    trained, scored = cost
    if shape.block_size is not None:  # the clean text is a pass too, and one for each that cannot share it
        trained += 1
        scored *= 1 if how.one_clean_text else 2
    flops = rows * training_operations(shape, how, texts.mean, texts.response, cost)
    if settings.eval_steps:
        bounds = (steps // settings.eval_steps) * held_out * settings.eval_samples
        flops += bounds * scoring_operations(shape, texts.mean, texts.response)
    memory, passes = training_memory(shape, how), rows * (trained + scored)
    calls = rows / settings.batch_size * (3 * trained + scored)  # a backward pass counts as two
    there = fits(memory, on) and memory.activations is not None
    return Stage(
        where=name,
        items=texts.rows,
        passes=round(passes),
        tokens=round(passes * texts.mean),
        flops=flops,
        memory=memory,
        note=f"{steps} steps of {step}, {texts.mean:.0f} tokens a row",
        verdict=training_verdict(shape, how, on),
        seconds=on.seconds(flops, calls, shape.layers) if there else None,
    )


def evaluation_stage(recipe: Recipe, settings: EvalSettings, shape: Shape, where: Where) -> Stage:
    """The evaluation of a checkpoint, whichever it is."""
    from lift_harness.decoding import DecodingConfig, settings_for
    from lift_harness.lm.requests import SETTINGS
    from lift_harness.models import without_weights
    from lift_harness.pipeline.evaluation import asked_of, evaluations, load_tasks

    items, passes, tokens, notes = 0, 0, 0, []
    model = None
    if not isinstance(recipe.model, NewModel):
        model = without_weights.shape_of(recipe.model, **recipe.loading)
    shape, on = replace(shape, dtype_bytes=loaded_bytes(settings, shape)), where.machine
    flops, seconds, needed = 0.0, 0.0, []
    weaker = {name: value for name, value in settings.model_args.items() if name in SETTINGS}
    for run in evaluations(recipe, settings):
        for task in load_tasks(run, settings):
            docs, answers = answers_of(task, run)
            asked = asked_of(task, run, weaker)
            decoding = (
                DecodingConfig.of(task.decoding, *asked)
                if model is None
                else settings_for(model, *asked, task=task.decoding)
            )
            first = range(min(docs, 8))
            characters = sum(len(task.doc_to_text(task.eval_docs[i])) for i in first) / len(first)
            prompt = characters / CHARACTERS
            items += docs
            passes += answers * decoding.most_passes
            tokens += round(answers * decoding.most_passes * (prompt + decoding.gen_length))
            operations = answers * decoding_operations(shape, decoding, prompt)
            batch, memory = decoding_batch(shape, settings.batch_size, decoding, prompt, on)
            calls = answers * decoding.most_passes / batch
            weights = shape.parameters.total * shape.dtype_bytes
            flops += operations
            seconds += on.seconds(operations, calls, shape.layers, calls * weights)
            needed.append(memory)
        notes.append(f"{run.label}: {len(run.tasks)} tasks")
    most = max(needed, key=lambda memory: memory.total)
    remedy = (
        "lower eval.batch_size" if settings.batch_size not in ("auto", 1) else "take a larger card, or CPU"
    )
    return Stage(
        where="eval",
        items=items,
        passes=passes,
        tokens=tokens,
        flops=flops,
        memory=most,
        note=", ".join(notes),
        verdict=verdict(most, on, remedy),
        seconds=seconds if fits(most, on) else None,
    )


def answers_of(task: ProtocolTask, run: Evaluation) -> tuple[int, int]:
    """How many problems of a task a run asks, and how many answers."""
    docs = task.count(run.limit)
    return docs, docs * (run.samples or task.config.repeats)


def decoding_batch(
    shape: Shape, asked: int | str, decoding: Any, prompt: float, on: Machine
) -> tuple[int, Memory]:
    """Requests that are decoded together, and what they take; of `auto` what one takes, the least."""
    columns, with_cache = round(prompt) + decoding.gen_length, decoding.cache != "none"
    block, noisy = decoding.block_length, decoding.temperature > 0
    rows = asked if isinstance(asked, int) else 1
    memory = decoding_memory(shape, rows, columns, block, with_cache, noisy, on.kind)
    if isinstance(asked, int):
        return asked, memory
    room = int(0.7 * (on.memory - on.reserved))
    return max(1, most_requests(shape, room, columns, block, with_cache, on.kind)), memory


def loaded_bytes(settings: EvalSettings, shape: Shape) -> int:
    """Bytes of a weight as an evaluation loads it."""
    from lift_harness.models.loading import check_dtype

    dtype = check_dtype(settings.model_args.get("dtype", "auto"))
    return shape.dtype_bytes if dtype is None else dtype.itemsize


def recipe_shape(recipe: Recipe, tokenizer: Any) -> Shape:
    """The shape of the recipe's model, from its configuration; of a new one with its tokenizer."""
    import torch

    from lift_harness.models.checkpoint import find_folder
    from lift_harness.models.families import MODEL_CLASSES
    from lift_harness.models.loading import empty_model
    from lift_harness.models.tiny import tiny_config

    if isinstance(recipe.model, NewModel):
        made = tiny_config(tokenizer, **recipe.model.shape)
        with torch.device("meta"):
            return shape_of(MODEL_CLASSES[made.model_type](made), dtype_bytes=4)
    folder = find_folder(recipe.model, weights=False)
    config, empty = empty_model(folder, recipe.model, **recipe.loading)
    return shape_of(empty, weight_bytes(config, folder))
