"""One lm-eval run of the project's tasks on a loaded model: for `lift-harness eval` and train-eval."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lift_harness.errors import LiftError
from lift_harness.results.lock import sole_writer
from lift_harness.results.metrics import is_pass
from lift_harness.results.read import load
from lift_harness.results.rows import Row
from lift_harness.tasks import presets
from lift_harness.tasks.catalog import expand

if TYPE_CHECKING:
    from lift_harness.tasks.protocol import ProtocolTask

RESULTS = "results_*.json"  # lm-eval's, with the time in the name
Scores = dict[str, dict[str, dict[str, Any]]]  # task -> metric -> {"value", "stderr"}


def evaluate(
    lm: Any,
    tasks: Sequence[str | ProtocolTask],
    *,
    label: str,
    samples: int | None = None,
    limit: int | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    output: Path | None = None,
    confirm_run_unsafe_code: bool = False,
) -> Scores:
    """Run tasks through lm-eval.

    Args:
        lm: a `LiftDLM`. Of several processes as many work as there are problems in the smallest task.
        tasks: tasks of ours, with the worked examples they are to show, or their names.
        label: names the folder of this run's files below `output`.
        samples: answers a problem; None: as many as the task says.
        limit: problems a task; None: all.
        gen_kwargs: decoding settings, above those of the task and of the model.
        output: where lm-eval's result and sample files go; None: nowhere.
        confirm_run_unsafe_code: run generated code where no sandbox can be had.
    """
    from lm_eval import evaluator
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    from lift_harness.plugin import startup
    from lift_harness.tasks.protocol import load_task

    startup.install()
    evaluator.add_env_info = lambda storage: storage.update(environment())
    evaluator.get_git_commit_hash = git_hash
    tracker = EvaluationTracker(output_path=str(output)) if output else None
    loaded = [load_task(task) if isinstance(task, str) else task for task in tasks]
    if samples is not None:
        for task in loaded:
            task.set_config("repeats", samples)
    with lm.ranks.first(min(task.count(limit) for task in loaded)) as takes_part:
        results = takes_part and evaluator.simple_evaluate(
            model=lm,
            model_args={"pretrained": label},  # names lm-eval's output folder
            task_manager=TaskManager(include_defaults=False),  # indexing lm-eval's own takes 10 s
            tasks=loaded,
            limit=limit,
            gen_kwargs=dict(gen_kwargs or {}),
            evaluation_tracker=tracker,
            log_samples=True,
            confirm_run_unsafe_code=confirm_run_unsafe_code,
        )
    if not results:  # not the process that gathers
        return {}
    logged = results.pop("samples")
    if tracker:
        tracker.save_results_aggregated(results=results, samples=logged)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=logged[task])
    scores = {}
    for task in loaded:
        scores[task.task_name] = metric_table(results["results"][task.task_name])
        for name, metric in scores[task.task_name].items():
            if is_pass(name) and name != "pass@1":
                metric |= task.config.metadata.get("not_sampled", {})
    return scores


def evaluate_model(
    model: str,
    tasks: Sequence[str],
    *,
    model_args: str | Mapping[str, Any],
    gen_kwargs: str | Mapping[str, Any],
    batch_size: str,
    preset: str | None = None,
    num_fewshot: int | None = None,
    output: Path | None = None,
    **options: Any,
) -> list[Row]:
    """Load a checkpoint and run tasks on it; arguments as the command line has them.

    Args:
        model: folder, Hub id or a model inside the package.
        tasks: names of tasks or groups of ours, with or without `lift_`; none: the preset's.
        model_args: of `LiftDLM`, "KEY=VALUE,..." or by name.
        gen_kwargs: decoding settings in either form.
        batch_size: a number or "auto".
        preset: a published protocol (`tasks/presets.py`); None: that of each task's file.
        num_fewshot: worked examples before each question; None: as the preset or the task's file says.
        output: where lm-eval's result and sample files go; None: nowhere.
        options: `peft`, and those of `evaluate`.

    Returns:
        The row of the files that lm-eval wrote; nothing in a process that does not gather the results.

    Raises:
        LiftError: whatever is wrong with these, before the model is loaded where possible; another process
            writes to `output`.
    """
    from lift_harness.lm.before_loading import Unloaded, check_requests, check_sandbox
    from lift_harness.lm.model import LiftDLM
    from lift_harness.tasks.protocol import load_task

    counts = {name: options.get(name) for name in ("samples", "limit")}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise LiftError(f"{name}={count} must be a whole number of at least 1")
    asked = [name.strip() for name in tasks]
    names = expand(asked) if preset is None else presets.preset(preset).names(asked)
    shots = {} if num_fewshot is None else {"num_fewshot": num_fewshot}
    metadata = None if preset is None else {"preset": preset}
    loaded = [load_task(name, metadata=metadata, **shots) for name in names]
    peft = options.pop("peft", None)
    arguments = {"pretrained": model, "batch_size": batch_size, **({"peft": peft} if peft else {})}
    arguments |= by_name(model_args)
    settings = by_name(gen_kwargs)
    check_sandbox(loaded, options.get("confirm_run_unsafe_code", False))
    check_requests(loaded, Unloaded(arguments), gen_kwargs=settings, **counts)
    label = peft or model
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(TemporaryDirectory(prefix="lift-harness-")))
        if output and int(os.environ.get("RANK", 0)) == 0:  # one process has the lock for all
            stack.enter_context(sole_writer(output))
        lm = LiftDLM(**arguments)
        before = set(folder.rglob(RESULTS))
        if not evaluate(lm, loaded, label=label, gen_kwargs=settings, output=folder, **options):
            return []
        written = max(set(folder.rglob(RESULTS)) - before)
        return load([written], {label: written})


def by_name(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, of lm-eval's "KEY=VALUE,..." too."""
    from lm_eval.utils import simple_parse_args_string

    return simple_parse_args_string(given) if isinstance(given, str) else dict(given)


def metric_table(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """lm-eval's flat "acc,none" and "acc_stderr,none" as {"acc": {"value", "stderr"}}."""
    table = {}
    for key, value in row.items():
        name, comma, filter_name = key.partition(",")
        if comma and not name.endswith("_stderr"):
            stderr = row.get(f"{name}_stderr,{filter_name}")
            table[name] = {"value": value, "stderr": stderr if isinstance(stderr, float) else None}
    return table


@cache
def environment() -> dict[str, Any]:
    """lm-eval's description of the machine; it takes seconds, so it is made once."""
    from lm_eval.loggers.utils import add_env_info

    storage: dict[str, Any] = {}
    add_env_info(storage)
    return storage


@cache
def git_hash() -> str | None:
    """The commit of the working folder, None outside of a repository."""
    try:
        done = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
