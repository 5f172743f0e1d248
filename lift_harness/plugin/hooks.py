"""What lift-harness adds to lm-eval: models and other entry points, the task folder, three call-backs.

lm-eval 0.4.13 reads no entry points, looks for tasks only in its own folder and in `include_path`,
gives an unknown aggregation no standard error, and tells a task nothing about the model. The
functions here add just that, each to one lm-eval module right after it has been imported
(`lift_harness.plugin.startup` calls them). Each can run twice on the same module without harm.
A program that starts with `LIFT_HARNESS_NO_PLUGIN=1`, or from a Python without the `.pth`, gets the same by
`startup.install()`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.plugin.task_names import ExactName, not_found, renamed, split

_indexed: list[
    str
] = []  # what the last TaskManager knows: indexing takes 10 s, too long for an error message
_MARK = "_lift_harness"  # on our wrappers; `functools.wraps` copies it to a wrapper around them


def in_place_of(owner: Any, name: str) -> Callable[[Callable], Callable]:
    """Put the decorated function in the place of `owner.name`, which it is given before its arguments.

    Only once: where one of ours is there already, itself or inside another's wrapper, nothing happens.
    """
    original = getattr(owner, name)

    def put(ours: Callable) -> Callable:
        @functools.wraps(original)
        def wrapper(*args, **kwargs):
            return ours(original, *args, **kwargs)

        if not hasattr(original, _MARK):
            setattr(wrapper, _MARK, True)
            setattr(owner, name, wrapper)
        return ours

    return put


# ---------------------------------------------------------------- entry points


def register_models(models: ModuleType) -> None:
    """Group `lm_eval.models`, after lm-eval has registered its own.

    Not earlier: lm-eval imports `lm_eval.models` on demand only while the registry is empty.
    """
    _register("lm_eval.models", "model_registry")


def register_filters(filters: ModuleType) -> None:
    """Group `lm_eval.filters`, after lm-eval's own."""
    _register("lm_eval.filters", "filter_registry")


def register_metrics(metrics: ModuleType) -> None:
    """Groups `lm_eval.metrics` and `lm_eval.aggregations`, after lm-eval's own, and standard errors (0.5)."""
    use_own_stderr(metrics)
    _register("lm_eval.metrics", "metric_registry")
    _register("lm_eval.aggregations", "aggregation_registry")


def _register(group: str, registry_name: str) -> None:
    """Register a group's entry points without importing what they point at.

    An lm-eval with `registry.load_plugins` (its main branch, after 0.4.13: lm-evaluation-harness#4013 and
    #4014) does this itself and is left alone. A name that is taken is left alone too, as that lm-eval does,
    so that its built-ins win and nothing breaks should an lm-eval discover entry points by some other means.
    """
    from lm_eval.api import registry

    if hasattr(registry, "load_plugins"):
        return
    components = getattr(registry, registry_name)
    for point in entry_points(group=group):
        if point.name not in components:
            # A string, for then `@register_model(name)` on the class is no conflict. The registry
            # takes no dotted attribute in a string; an entry point can load that itself.
            plain = "." not in point.attr
            components.register(point.name, target=f"{point.module}:{point.attr}" if plain else point)


# ---------------------------------------------------------------- tasks


def task_folder() -> Path | None:
    """The folder of `lift_harness.tasks`, found without importing it."""
    spec = find_spec("lift_harness.tasks")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def index_tasks(manager: Any) -> None:
    """Make every `TaskManager` index the project's tasks.

    Later paths win: lm-eval's own tasks, then ours, then the user's `include_path`. (The order that
    lm-evaluation-harness#4015, still open, proposes for installed tasks.)
    """

    @in_place_of(manager.TaskManager, "__init__")
    def __init__(original, *args, **kwargs):
        call = inspect.signature(original).bind(*args, **kwargs)
        users = call.arguments.get("include_path")
        call.arguments["include_path"] = _with_task_folder(users)
        original(*call.args, **call.kwargs)
        made = call.arguments["self"]
        made.include_path = users  # what the caller asked for, as without us
        _indexed[:] = made.all_tasks


def _with_task_folder(include_path: Any) -> list[Any]:
    """The task folder before the user's paths, and only once (twice, lm-eval warns of each task)."""
    if not include_path:
        paths = []
    else:
        paths = list(include_path) if isinstance(include_path, (list, tuple)) else [include_path]
    folder = task_folder()
    if folder is None or any(Path(path).resolve() == folder.resolve() for path in paths):
        return paths
    return [folder, *paths]


# ---------------------------------------------------------------- task names


def rename_on_command_line(config: Any) -> None:
    """Let `lm_eval --model lift_dlm --tasks gsm8k` mean `lift_gsm8k`, and `stock:gsm8k` lm-eval's.

    What a name or a glob has been resolved to is not replaced again. A name that is none is one line.
    """

    @in_place_of(config.EvaluatorConfig, "process_tasks")
    def process_tasks(original, self, *args, **kwargs):
        ours, asked = self.model == "lift_dlm", self.tasks
        self.tasks = renamed(split(asked), ours, self.include_path)
        try:
            manager = original(self, *args, **kwargs)
        except ValueError as error:
            what, _, names = str(error).partition(": ")
            if not ours or what != "Tasks not found":
                raise
            raise LiftError(not_found(names.split(", "), _indexed)) from error
        if ours:
            self.tasks = [ExactName(task) if isinstance(task, str) else task for task in self.tasks]
        if ours and not self.tasks:
            raise LiftError(f"no task files (*.yaml) in {', '.join(split(asked))}")
        return manager


def rename_tasks(evaluator: Any) -> None:
    """The same names for `simple_evaluate(model="lift_dlm", tasks=["gsm8k"])`."""

    @in_place_of(evaluator, "simple_evaluate")
    def simple_evaluate(original, *args, **kwargs):
        call = inspect.signature(original).bind(*args, **kwargs)
        tasks, ours = call.arguments.get("tasks"), is_lift_dlm(call.arguments["model"])
        users = getattr(call.arguments.get("task_manager"), "include_path", None)
        call.arguments["tasks"] = renamed(tasks, ours, users)
        if call.arguments["model"] == "lift_dlm":
            from lift_harness.lm.before_loading import check_call

            check_call(call.arguments)
        results = original(*call.args, **call.kwargs)
        config = (results or {}).get("config", {})  # only one of several processes has results
        if "model_device" in config:  # lm-eval writes down what was asked for, by default cuda:0
            config["device"] = config["model_device"]
        return results


def is_lift_dlm(model: Any) -> bool:
    """Whether a name or a model is ours. Where the class has not been loaded, no model is one of it."""
    module = sys.modules.get("lift_harness.lm.model")  # not imported for this: it needs torch
    return model == "lift_dlm" or (module is not None and isinstance(model, module.LiftDLM))


# ---------------------------------------------------------------- evaluation


def extend_evaluator(evaluator: Any) -> None:
    """Both changes to lm-eval's evaluator."""
    bind_tasks(evaluator)
    rename_tasks(evaluator)


def bind_tasks(evaluator: Any) -> None:
    """Before an evaluation, call `task.bind(lm, confirm_run_unsafe_code)` on each task that has it.

    A task of ours may build its requests differently for `lift_dlm` than for another model, and looks for
    a sandbox if it runs code; lm-eval hands a task only a tokenizer name and a chat template.
    """

    @in_place_of(evaluator, "evaluate")
    def evaluate(original, *args, **kwargs):
        arguments = inspect.signature(original).bind(*args, **kwargs).arguments
        lm = _without_cache(arguments["lm"])
        for task in _leaf_tasks(arguments["task_dict"]):
            bind = getattr(task, "bind", None)
            if bind is not None:
                bind(lm, bool(arguments.get("confirm_run_unsafe_code")))
        return original(*args, **kwargs)


def use_own_cache(model: Any) -> None:
    """Let a model that has `use_response_cache(path)` keep its responses itself under `--use_cache`.

    lm-eval's cache is keyed by the prompt alone: another checkpoint (lm-evaluation-harness#4063) or another
    sample (#3046) gets the same answer.
    """

    @in_place_of(model.CachingLM, "__new__")
    def __new__(original, cls, lm, cache_db):
        if not hasattr(lm, "use_response_cache"):
            return original(cls)
        lm.use_response_cache(cache_db)
        return lm  # and no wrapper around it


def _without_cache(lm: Any) -> Any:
    """The model inside lm-eval's `--use_cache` wrapper, or the model itself."""
    from lm_eval.api.model import CachingLM

    return lm.lm if isinstance(lm, CachingLM) else lm


def _leaf_tasks(task_dict: Any) -> Iterator[Any]:
    """The tasks in what `TaskManager.load` returns, or in the older nested dictionaries."""
    for value in task_dict.get("tasks", task_dict).values():  # lm-eval tells the two apart by this key too
        if isinstance(value, dict):
            yield from _leaf_tasks(value)
        elif hasattr(value, "get_all_tasks"):  # a group
            yield from value.get_all_tasks()
        else:
            yield value


def use_own_stderr(module: Any) -> None:
    """Let an aggregation bring its standard error, as an attribute `stderr`: list of values -> float.

    lm-eval knows the standard error of its own aggregations only; others get "N/A".
    """

    @in_place_of(module, "stderr_for_metric")
    def stderr_for_metric(original, metric, bootstrap_iters, *args, **kwargs):
        own = getattr(metric, "stderr", None)
        if callable(own) and bootstrap_iters > 0:
            return own
        return original(metric, bootstrap_iters, *args, **kwargs)


# ---------------------------------------------------------------- errors


def show_errors(harness: Any) -> None:
    """Let the `lm_eval` command print a `LiftError` as one line, with exit code 2."""

    @in_place_of(harness.HarnessCLI, "execute")
    def execute(original, self, args):
        try:
            return original(self, args)
        except LiftError as error:
            from lift_harness.console import one_line

            sys.stderr.write(f"error: {one_line(str(error))}\n")
            sys.exit(2)


# What to do after each of `startup.WATCHED` has been imported.
HOOKS: dict[str, Callable[[ModuleType], None]] = {
    "lm_eval._cli.harness": show_errors,
    "lm_eval.api.metrics": register_metrics,
    "lm_eval.api.model": use_own_cache,
    "lm_eval.config.evaluate_config": rename_on_command_line,
    "lm_eval.evaluator": extend_evaluator,
    "lm_eval.evaluator_utils": use_own_stderr,
    "lm_eval.filters": register_filters,
    "lm_eval.models": register_models,
    "lm_eval.tasks.manager": index_tasks,
}
