"""The evaluation stage of an experiment: one checkpoint on all tasks of the recipe."""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from lift_harness.errors import LiftError
from lift_harness.lm.evaluation import Scores, evaluate
from lift_harness.pipeline.runs import KEY, Progress, stage_key
from lift_harness.pipeline.schema import EvalSettings, Recipe
from lift_harness.results import layout
from lift_harness.tasks.catalog import decoding_settings, expand, task_config

RESPONSES = "responses.sqlite"
TRACES = "traces.jsonl"


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


def evaluations(recipe: Recipe, settings: EvalSettings) -> list[Evaluation]:
    """The lm-eval runs of a checkpoint: one for each gen_length, then one for pass@k.

    Raises:
        LiftError: an unknown task, or a length that is none.
    """
    by_length: dict[int | None, list[str]] = {}
    for entry in settings.tasks:
        name, at, given = entry.partition("@")
        if at and (not given.isdecimal() or int(given) < 2):
            raise LiftError(f"eval.tasks: {entry!r}: after @ comes a gen_length, e.g. {name}@256")
        by_length.setdefault(int(given) if at else None, []).extend(expand([name]))
    common = {"seed": recipe.seed, **settings.gen_kwargs}
    runs = []
    for length, tasks in by_length.items():
        own = {"gen_length": length, "steps": length // 2} if length else {}
        label = layout.label(length)
        runs.append(
            Evaluation(label, list(dict.fromkeys(tasks)), length, None, settings.limit, {**common, **own})
        )
    single = [task for task in by_length.get(None, []) if task_config(task)["repeats"] == 1]
    if settings.samples > 1 and single:
        limit = settings.sample_limit or settings.limit
        sampled = {**common, "temperature": settings.temperature}
        runs.append(Evaluation(layout.SAMPLES, single, None, settings.samples, limit, sampled))
    return runs


def check_evaluation(recipe: Recipe, settings: EvalSettings) -> None:
    """Refuse tasks, data and decoding settings that are not in order, before anything is trained."""
    from lift_harness.decoding import DecodingConfig
    from lift_harness.tasks.benchmarks import load_benchmark
    from lift_harness.tasks.protocol import load_task

    for run in evaluations(recipe, settings):
        for task in run.tasks:
            load_task(task)
            if ready := load_benchmark(task_config(task)["benchmark"]).ready:
                ready(False)
            DecodingConfig.of(decoding_settings(task), run.gen_kwargs)


def evaluation_key(recipe: Recipe, settings: EvalSettings, checkpoint: str) -> str:
    """What an evaluation depends on; `checkpoint`: the hash of the weights."""
    from lift_harness import __version__
    from lift_harness.tasks.benchmarks import load_benchmark

    runs = evaluations(recipe, settings)
    configs = {task: task_config(task) for run in runs for task in run.tasks}
    return stage_key(
        version=__version__,
        checkpoint=checkpoint,
        runs=[run._asdict() for run in runs],
        protocol=configs,
        prompts={task: load_benchmark(config["benchmark"]).instruction for task, config in configs.items()},
        traces=settings.traces,
    )


def evaluate_checkpoint(
    recipe: Recipe, settings: EvalSettings, checkpoint: Path | None, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Evaluate the base model (`checkpoint` None), an adapter or a whole checkpoint.

    Every response is kept in `responses.sqlite` as soon as it is there, so that a killed evaluation goes on
    item by item; lm-eval's files go to a folder for each run, decodings of the first problems to
    `traces.jsonl`.

    Returns:
        {"result": Scores, "cost": {...}}.
    """
    from lift_harness.lm.model import LiftDLM
    from lift_harness.pipeline.hardware import peak_memory

    assert isinstance(recipe.model, str)
    where: dict[str, Any] = {"pretrained": recipe.model}
    if checkpoint is not None:
        adapter = (checkpoint / "adapter_config.json").is_file()
        where = {**where, "peft": str(checkpoint)} if adapter else {"pretrained": str(checkpoint)}
    lm = LiftDLM(**where, batch_size=settings.batch_size, response_cache=str(folder / RESPONSES))
    if lm.rank == 0:
        for path in folder.iterdir():  # files of an attempt that was interrupted; its responses stay
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.startswith(RESPONSES) and path.name != KEY:
                path.unlink()
    lm.barrier()
    scores: Scores = {}
    cost: Counter[str] = Counter()
    with (folder / f"{TRACES}{lm.rank or ''}").open("w", encoding="utf-8") as traces:
        for run in evaluations(recipe, settings):

            def kept(asked: Any, out: Any, run: Evaluation = run) -> None:
                cost.update(requests=1, forward_passes=out.forward_passes, tokens=len(out.ids))
                if asked.doc_id is not None and asked.doc_id < settings.traces:
                    traces.write(json.dumps(trace(lm.tokenizer, run, asked, out), ensure_ascii=False) + "\n")

            lm.on_response = kept
            lm.on_progress = lambda done, total, run=run: progress(done, total, run.label)  # type: ignore[misc]
            found = evaluate(
                lm,
                run.tasks,
                label=run.label,
                samples=run.samples,
                limit=run.limit,
                gen_kwargs=run.gen_kwargs,
                output=folder,
            )
            for task, metrics in found.items():
                only = [name for name in metrics if run.samples is None or "@" in name]
                scores.setdefault(run.name(task), {}).update({name: metrics[name] for name in only})
    total = dict(lm.ranks.sum(cost))
    return {"result": scores, "cost": {**total, "peak_memory_bytes": peak_memory()}}


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
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is first imported
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
