"""The evaluation protocol as an lm-eval task class: prompt, n samples a problem, metrics.

A task's YAML names the class and the kind of puzzle, the rest is lm-eval's own configuration:

    class: !function lift_harness.tasks.protocol.ProtocolTask
    benchmark: sudoku

With `repeats: n` above 1 each problem is answered n times: the benchmark's metrics are averaged over the
samples, and pass@k and avg@n join them. What each sample scored stands in the sample log, below
`doc.verdicts`, since lm-eval makes every key that `process_results` returns a column of the results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lm_eval.api.registry import get_aggregation
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import BENCHMARKS, Benchmark
from lift_harness.tasks.passk import ks_for
from lift_harness.tasks.scoring.verdicts import judge
from lift_harness.tasks.settings import task_names

FILTER = "none"  # lm-eval's name for unfiltered responses: results read "acc,none"


def load_task(name: str, *, metadata: dict[str, Any] | None = None, **config: Any) -> ProtocolTask:
    """A task of ours with changed settings, for `simple_evaluate(tasks=[load_task(name, repeats=8)])`.

    lm-eval 0.4.13 does not look a name up when a setting comes with it ({"task": name, "repeats": 8}
    given to `TaskManager.load` is taken for a whole task; inside a group it does work).
    """
    if name not in task_names():
        raise LiftError(f"no task {name!r}: {did_you_mean(name, task_names())}")
    manager = TaskManager(include_path=str(Path(__file__).parent), include_defaults=False, metadata=metadata)
    task = manager.load(name)["tasks"][name]
    assert isinstance(task, ProtocolTask)
    for key, value in config.items():
        if not hasattr(task.config, key):
            raise LiftError(f"{name}: no setting {key!r}: {did_you_mean(key, vars(task.config))}")
        task.set_config(key, value)
    return task


def instruction_for(task_name: str, benchmark: str, replaced: str | Mapping[str, str] | None) -> str:
    """The instruction of a task: the project's own, unless `--metadata prompts=FILE.json` has one.

    Args:
        task_name: as in the file, "lift_sudoku_mini".
        benchmark: key of `prompts.INSTRUCTIONS`.
        replaced: path of a JSON object {task name: instruction}, or that object, or None.
    """
    theirs = _read_prompts(replaced) if isinstance(replaced, (str, Path)) else replaced or {}
    where = f"prompts={replaced}" if isinstance(replaced, (str, Path)) else "prompts"
    if not isinstance(theirs, Mapping):
        raise LiftError(f"{where}: not a JSON object {{task name: instruction}} but {type(theirs).__name__}")
    for name, text in theirs.items():
        if name not in task_names():
            raise LiftError(f"{where}: no task {name!r}: {did_you_mean(str(name), task_names())}")
        if not isinstance(text, str) or not text.strip():
            raise LiftError(f"{where}: the instruction of {name} must be a text, not {text!r}")
    return theirs.get(task_name, prompts.INSTRUCTIONS[benchmark])


def _read_prompts(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LiftError(
            f"prompts={path}: {error.strerror}; give a JSON file {{task: instruction}}"
        ) from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise LiftError(f"prompts={path}: not JSON ({error}); give {{task: instruction}}") from error


class ProtocolTask(ConfigurableTask):
    """An lm-eval task under the protocol."""

    def __init__(self, config: dict[str, Any]) -> None:
        config = {key: value for key, value in config.items() if key != "class"}
        kind = config.pop("benchmark", None)
        if kind not in BENCHMARKS:
            raise LiftError(
                f"{config.get('task')}: benchmark: {kind!r}: {did_you_mean(str(kind), BENCHMARKS)}"
            )
        metadata = dict(config.get("metadata") or {})
        self.benchmark: Benchmark = BENCHMARKS[kind]
        self.instruction = instruction_for(config["task"], kind, metadata.get("prompts"))
        self._chat_template: Callable[..., str] | None = None
        self._unisolated = False
        # The wording used goes into the results file with the rest of the configuration.
        super().__init__(config={**config, "metadata": {**metadata, "instruction": self.instruction}})
        self._metric_fn_list = dict.fromkeys(self.benchmark.metrics)
        self._aggregation_list = {
            name: get_aggregation(how) if isinstance(how, str) else how
            for name, how in self.benchmark.metrics.items()
        }
        self._higher_is_better = dict.fromkeys(self.benchmark.metrics, True)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: Any) -> None:
        """Make the dataset: `custom_dataset` without lm-eval's remark on `--metadata`, or lm-eval's way."""
        if self.config.custom_dataset is None:
            super().download(dataset_kwargs)
        else:
            self.dataset = self.config.custom_dataset(
                **(self.config.metadata or {}), **(dataset_kwargs or {})
            )

    # ---------------------------------------------------------------- the prompt

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: Any = None) -> str:
        """The user's message: instruction, blank line, question."""
        return prompts.user_turn(self.instruction, self.benchmark.question(doc))

    def doc_to_target(self, doc: Mapping[str, Any], doc_to_target: Any = None) -> str:
        """The reference answer."""
        return self.benchmark.target(doc)

    def bind(self, lm: Any, confirm_run_unsafe_code: bool) -> None:
        """Learn who is asked and how, before the requests are built (`lift_harness.plugin.hooks` calls it).

        The model's attribute `protocol_chat_template`, if it has one, is the chat template that this task
        uses without `--apply_chat_template` too: (messages, add_generation_prompt=True) -> text.
        """
        self._chat_template = getattr(lm, "protocol_chat_template", None) or None
        self._unisolated = confirm_run_unsafe_code

    def count(self, limit: int | None = None, samples: list[int] | None = None) -> int:
        """Problems that are asked: those numbered in `samples`, or the first `limit`, or all."""
        whole = len(self.eval_docs)
        return len(samples) if samples is not None else min(limit or whole, whole)

    def build_all_requests(self, **kwargs: Any) -> None:
        """Build the requests; contexts come from no cache.

        lm-eval's `--cache_requests` knows neither instruction nor `repeats` nor our chat template, and
        would hand out another run's; building 256 contexts takes milliseconds.
        """
        n = self.config.repeats
        if not isinstance(n, int) or n < 1:
            raise LiftError(f"{self.task_name}: repeats: {n!r}: give a whole number of samples, 1 or more")
        count, processes = self.count(kwargs.get("limit"), kwargs.get("samples")), kwargs.get("world_size", 1)
        if count < processes:
            raise LiftError(
                f"{self.task_name}: {count} problem(s) for {processes} processes; start at most {count}"
            )
        if self.benchmark.ready and "bypass" not in self._metric_fn_list:
            self.config.metadata["sandbox"] = self.benchmark.ready(self._unisolated)
        super().build_all_requests(**{**kwargs, "cache_requests": False})

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int = 0, **kwargs: Any) -> Any:
        r"""The text the model continues. Zero-shot, whatever `num_fewshot`.

        With a bound chat template: the user's turn, the generation prompt, then `gen_prefix`. Otherwise
        lm-eval's own, with its chat template if asked for: without, "instruction\n\nquestion\n<reasoning>".
        """
        if self._chat_template is None or kwargs.get("apply_chat_template"):
            return super().fewshot_context(doc, num_fewshot=0, **kwargs)
        messages = [{"role": "user", "content": self.doc_to_text(doc)}]
        if system := kwargs.get("system_instruction"):
            messages.insert(0, {"role": "system", "content": system})
        opened = self._chat_template(messages, add_generation_prompt=True)
        return opened + (kwargs.get("gen_prefix") or "")

    # ---------------------------------------------------------------- the verdict

    def apply_filters(self) -> None:
        """Keep all n responses of a problem, where lm-eval's default keeps the first.

        And no more than n: on several ranks lm-eval pads with repetitions of the last request, whose
        responses land on the real one, and would stand in the log of samples.
        """
        for instance in self._instances or []:
            del instance.resps[instance.repeats :]
            instance.filtered_resps[FILTER] = list(instance.resps)
        if self.benchmark.prepare and "bypass" not in self._metric_fn_list:
            kept = [(one.doc, one.filtered_resps[FILTER]) for one in self._instances or []]
            self.benchmark.prepare(
                (doc, (self.doc_to_prefix(doc) or "") + text) for doc, texts in kept for text in texts
            )

    def process_results(self, doc: dict[str, Any], results: list[list[str]]) -> dict[str, Any]:
        """Metrics of one problem from its n responses, [[text, ...]]; `doc` gets the key "verdicts"."""
        if "bypass" in self._metric_fn_list:  # --predict_only
            return {"bypass": None}
        prefix = self.doc_to_prefix(doc) or ""
        doc["verdicts"], metrics = judge(self.benchmark, doc, [prefix + text for text in results[0]])
        return metrics

    def aggregation(self) -> dict[str, Any]:
        """Metric name -> function of the problems' values."""
        return {**self._aggregation_list, **dict.fromkeys(self._sampled_metrics(), get_aggregation("mean"))}

    def higher_is_better(self) -> dict[str, bool]:
        """Metric name -> True, for all."""
        return {**self._higher_is_better, **dict.fromkeys(self._sampled_metrics(), True)}

    def _sampled_metrics(self) -> Iterable[str]:
        n = self.config.repeats
        many = n > 1 and "bypass" not in self._metric_fn_list
        return [*(f"pass@{k}" for k in ks_for(n)), f"avg@{n}"] if many else []
