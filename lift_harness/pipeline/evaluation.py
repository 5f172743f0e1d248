"""The evaluation stage of an experiment: one checkpoint, or one setting of a sweep, on all tasks."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

from lift_harness.errors import LiftError
from lift_harness.lm.evaluation import Scores, evaluate
from lift_harness.lm.requests import configure, spelled
from lift_harness.pipeline.schema import EvalSettings, NewModel
from lift_harness.pipeline.stages import KEY, RESPONSES, Progress, stage_key
from lift_harness.results import layout
from lift_harness.tasks.catalog import expand, task_config

if TYPE_CHECKING:
    from lift_harness.tasks.protocol import ProtocolTask

TRACES = "traces.jsonl"


class Asked(Protocol):
    """What an evaluation has to know beside its settings: a recipe, or a model of a sweep."""

    @property
    def model(self) -> str | NewModel:
        """Folder, Hub id, a model inside the package; of a recipe also one made from scratch."""

    @property
    def seed(self) -> int:
        """Of sampling."""

    @property
    def loading(self) -> Mapping[str, Any]:
        """How the checkpoint is loaded: arguments of `load_model`."""


class Evaluation(NamedTuple):
    """One lm-eval run.

    Attributes:
        label: names its folder.
        tasks: names of tasks of ours.
        length: gen_length, None: the protocol's; it is part of the metrics' names ("lift_gsm8k@512").
        samples: answers a problem, None: as many as the task says.
        limit: problems a task.
        gen_kwargs: decoding settings.
    """

    label: str
    tasks: list[str]
    length: int | None
    samples: int | None
    limit: int | None
    gen_kwargs: dict[str, Any]

    def name(self, task: str) -> str:
        """What the results call a task of this run."""
        return layout.task_at(task, self.length)


def evaluations(recipe: Asked, settings: EvalSettings) -> list[Evaluation]:
    """The lm-eval runs of a checkpoint: one for each gen_length, then one for pass@k.

    Raises:
        LiftError: an unknown task, a length that is none, or steps beside lengths.
    """
    by_length = tasks_by_length(settings.tasks)
    common = {"seed": recipe.seed, **settings.gen_kwargs}
    lengths = [length for length in by_length if length]
    if lengths and settings.gen_kwargs.get("steps") is not None:
        raise LiftError(
            f"gen_kwargs: steps={settings.gen_kwargs['steps']} are of one gen_length, and tasks has "
            f"TASK@{lengths[0]}; say tokens_per_step, which holds for every length"
        )
    runs = []
    for length, tasks in by_length.items():
        # Without steps: the model's own pace, or that of tokens_per_step.
        decoding = {**common, "gen_length": length} if length else common
        runs.append(Evaluation(layout.label(length), tasks, length, None, settings.limit, decoding))
    single = [task for task in by_length.get(None, []) if task_config(task)["repeats"] == 1]
    if settings.samples > 1 and single:
        limit = settings.sample_limit or settings.limit
        sampled = {**common, "temperature": settings.temperature}
        runs.append(Evaluation(layout.SAMPLES, single, None, settings.samples, limit, sampled))
    return runs


def tasks_by_length(entries: Sequence[str]) -> dict[int | None, list[str]]:
    """gen_length (None: the task's) -> tasks, each once, from entries such as gsm8k or gsm8k@512.

    Raises:
        LiftError: an unknown task, or a length that is none.
    """
    by_length: dict[int | None, dict[str, None]] = {}
    for entry in entries:
        name, at, length = entry.partition("@")
        if at and not re.fullmatch(r"[1-9]\d{0,8}", length) or length == "1":
            raise LiftError(f"eval.tasks: {entry!r}: after @ comes a gen_length, e.g. {name}@256")
        tasks = by_length.setdefault(int(length) if at else None, {})
        tasks.update(dict.fromkeys(expand([name])))
    return {length: list(tasks) for length, tasks in by_length.items()}


def asked_of(task: ProtocolTask, run: Evaluation, weaker: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What a run asks of a task's decoding, the weakest first: by its preset, the model args, gen_kwargs.

    Args:
        task: whose own settings (`decoding`) are weaker still.
        run: that it is part of.
        weaker: the decoding settings among the model args.
    """
    preset = task.preset.decoding if task.preset else {}
    return preset, spelled(weaker), spelled(run.gen_kwargs)


def check_evaluation(recipe: Asked, settings: EvalSettings) -> None:
    """Refuse tasks, data, model args and settings that are not in order, before weights are loaded."""
    from lift_harness.lm.before_loading import Unloaded, check_requests, check_sandbox

    model = Unloaded({**model_args(recipe, settings), "batch_size": settings.batch_size})
    for run in evaluations(recipe, settings):
        tasks = load_tasks(run, settings)
        check_sandbox(tasks, False)
        check_requests(tasks, model, gen_kwargs=run.gen_kwargs, samples=run.samples, limit=run.limit)


def load_tasks(run: Evaluation, settings: EvalSettings) -> list[ProtocolTask]:
    """The tasks of a run, worded and drawn as the recipe says."""
    from lift_harness.tasks.protocol import load_task

    shots = {"num_fewshot": settings.num_fewshot} if settings.num_fewshot else {}
    return [load_task(name, metadata=settings.metadata, **shots) for name in run.tasks]


def evaluation_key(recipe: Asked, settings: EvalSettings, checkpoint: str) -> str:
    """What an evaluation depends on; `checkpoint`: the hash of the weights."""
    from lift_harness import __version__
    from lift_harness.tasks.benchmarks import load_benchmark
    from lift_harness.tasks.presets import preset
    from lift_harness.tasks.wording import wording_of

    runs = evaluations(recipe, settings)
    configs = {task: task_config(task) for run in runs for task in run.tasks}
    benchmarks = {task: load_benchmark(config["benchmark"]) for task, config in configs.items()}
    words = {task: wording_of(task, one, settings.prompts) for task, one in benchmarks.items()}
    named = {"preset": asdict(preset(settings.preset))} if settings.preset else {}
    return stage_key(
        **named,
        version=__version__,
        num_fewshot=settings.num_fewshot,
        checkpoint=checkpoint,
        runs=[run._asdict() for run in runs],
        protocol=configs,
        prompts={task: vars(worded) for task, worded in words.items()},
        subset=settings.subset,
        model_args=settings.model_args,
        traces=settings.traces,
    )


def evaluate_checkpoint(
    recipe: Asked, settings: EvalSettings, checkpoint: Path | None, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Evaluate the base model (`checkpoint` None), an adapter or a whole checkpoint: see `evaluate_model`."""
    return evaluate_model(open_checkpoint(recipe, settings, checkpoint), recipe, settings, folder, progress)


def evaluate_model(
    lm: Any, recipe: Asked, settings: EvalSettings, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Evaluate a loaded model.

    Every response is kept in `responses.sqlite` as soon as it is there, so that a killed evaluation goes on
    item by item; lm-eval's files go to a folder for each run, decodings of the first problems to
    `traces.jsonl`. These are written beside the folder and put into it when they are whole: who reads the run
    meanwhile finds all answers of a task, or none.

    Returns:
        {"result": Scores, "cost": {...}}.
    """
    from lift_harness.pipeline.hardware import peak_memory, reset_peak_memory

    reset_peak_memory()
    lm.use_response_cache(str(folder / RESPONSES))
    part = folder.with_name(f"{folder.name}.part")
    if lm.rank == 0:
        remove_unfinished(folder)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    lm.barrier()
    scores: Scores = {}
    cost: Counter[str] = Counter()
    traced = f"{TRACES}{lm.rank or ''}"
    with (part / traced).open("w", encoding="utf-8") as traces:
        runs = evaluations(recipe, settings)
        sizes = [answer_tokens(lm, run, settings) for run in runs]
        for i, run in enumerate(runs):
            lm.on_response = keep_response(lm.tokenizer, run, settings.traces, cost, traces)
            lm.on_progress = partial(show_progress, progress, run.label, sizes, i)
            evaluated = evaluate(
                lm,
                load_tasks(run, settings),
                label=run.label,
                samples=run.samples,
                limit=run.limit,
                gen_kwargs=run.gen_kwargs,
                output=part,
            )
            if lm.rank == 0:
                os.replace(part / run.label, folder / run.label)
            for task, metrics in evaluated.items():
                # Of a run for pass@k only what k samples tell: `acc` is the one answer's of the other run.
                counted = [name for name in metrics if run.samples is None or "@" in name]
                scores.setdefault(run.name(task), {}).update({name: metrics[name] for name in counted})
    lm.responses.close()  # also in a process that had no problem to answer
    total = dict(lm.ranks.sum(cost))  # all have written their traces now
    if lm.rank == 0:
        join_traces(part, folder)
        part.rmdir()
    return {"result": scores, "cost": {**total, "peak_memory_bytes": peak_memory()}}


def join_traces(part: Path, folder: Path) -> None:
    """Put the processes' traces into a folder as one file."""
    own, *others = sorted(part.iterdir())
    with own.open("ab") as joined:
        for file in others:
            with file.open("rb") as one:
                shutil.copyfileobj(one, joined)
            file.unlink()
    os.replace(own, folder / TRACES)


def open_checkpoint(recipe: Asked, settings: EvalSettings, checkpoint: Path | None) -> Any:
    """The base model (`checkpoint` None), with an adapter or as a whole checkpoint, as lm-eval's model."""
    from lift_harness.lm.model import LiftDLM

    weights = model_args(recipe, settings)
    if checkpoint is not None and (checkpoint / "adapter_config.json").is_file():
        weights["peft"] = str(checkpoint)
    elif checkpoint is not None:
        weights["pretrained"] = str(checkpoint)
    return LiftDLM(**weights, batch_size=settings.batch_size)


def model_args(recipe: Asked, settings: EvalSettings) -> dict[str, Any]:
    """The recipe's checkpoint as arguments of `LiftDLM`."""
    assert isinstance(recipe.model, str)
    return {**settings.model_args, **recipe.loading, "pretrained": recipe.model}


def remove_unfinished(folder: Path) -> None:
    """Remove the files of an attempt that was interrupted; its responses stay."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith(RESPONSES) and path.name != KEY:
            path.unlink()


def keep_response(
    tokenizer: Any, run: Evaluation, problems: int, cost: Counter[str], traces: TextIO
) -> Callable[[Any, Any], None]:
    """What is done with each response of a run: count its cost, and trace it for the first problems."""

    def kept(asked: Any, out: Any) -> None:
        cost.update(asked.cost(tokenizer, out))
        if asked.doc_id is not None and asked.doc_id < problems:
            traces.write(json.dumps(trace(tokenizer, run, asked, out), ensure_ascii=False) + "\n")

    return kept


def answer_tokens(lm: Any, run: Evaluation, settings: EvalSettings) -> int:
    """Tokens of all answers of a run."""
    tokens = 0
    for task in load_tasks(run, settings):
        asked = {**run.gen_kwargs, "protocol": task.config.metadata["decoding"]}
        decoding, _, _ = configure(asked, lm.settings, lm.model)
        tokens += task.count(run.limit) * (run.samples or task.config.repeats) * decoding.gen_length
    return tokens


def show_progress(
    progress: Progress, label: str, sizes: list[int], i: int, done: int, total: int, kept: bool
) -> None:
    """Progress of a stage whose i-th run, of so many tokens each, has come to a part of its requests."""
    now = round(sizes[i] * done / total) if total else 0
    progress(sum(sizes[:i]) + now, sum(sizes), label, kept)


def trace(tokenizer: Any, run: Evaluation, asked: Any, out: Any) -> dict[str, Any]:
    """How one answer was decoded: for each token its text, its step and its confidence."""
    return {
        "task": asked.task,
        "doc_id": asked.doc_id,
        "sample": asked.sample,
        "label": run.label,
        "tokens": [tokenizer.decode([token]) for token in out.ids],
        "step": out.step,
        "confidence": [round(sure, 4) for sure in out.confidence],
    }


def quiet() -> None:
    """Leave the terminal to our own progress display."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    import datasets
    import transformers
    from lm_eval.api import task
    from tqdm import tqdm

    task.tqdm = partial(tqdm, disable=True)  # of the prompts it builds; TQDM_DISABLE would come too late
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
