"""The evaluation protocol as an lm-eval task class: prompt, n samples a problem, metrics.

A task's YAML names the class, the kind of problem and how it is decoded, the rest is lm-eval's own:

    class: !function lift_harness.tasks.protocol.ProtocolTask
    benchmark: sudoku
    metadata: {decoding: {gen_length: 256, ...}}

With `repeats: n` above 1 each problem is answered n times: the benchmark's metrics are averaged over the
samples, and pass@k and avg@n join them. What each sample scored stands in the sample log, below
`doc.verdicts`, since lm-eval makes every key that `process_results` returns a column of the results.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from lm_eval.api.registry import get_aggregation
from lm_eval.tasks import TaskManager

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.tasks import presets
from lift_harness.tasks.benchmarks import load_benchmark
from lift_harness.tasks.catalog import decoding_settings, task_names
from lift_harness.tasks.data import default_subset
from lift_harness.tasks.lm_eval_base import LmEvalTask
from lift_harness.tasks.passk import are_one_text, ks_for, not_sampled
from lift_harness.tasks.scoring.verdicts import judge
from lift_harness.tasks.wording import wording_of
from lift_harness.tasks.worked import Turns, WorkedExamples, messages, plain_text

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


def for_other_models(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """lm-eval's `generation_kwargs` from decoding settings: what they say to a model of any kind.

    No stop strings (lm-eval's own default is a blank line); nothing of a temperature that is 0.
    """
    kwargs: dict[str, Any] = {"until": []}
    if "gen_length" in decoding:
        kwargs["max_gen_toks"] = decoding["gen_length"]
    if decoding.get("temperature"):
        kwargs |= {"do_sample": True, "temperature": decoding["temperature"]}
    return kwargs


class ProtocolTask(LmEvalTask):
    """An lm-eval task under the protocol.

    Attributes:
        benchmark: its kind.
        preset: the published protocol that it follows (`--metadata preset=NAME`), None: its own file's.
        wording: the words that it asks with.
        decoding: how the protocol decodes it.
        one_turn: whether worked examples stand in the user's one turn where nobody asks for turns.
        asked: generation kwargs that a user gave (`--gen_kwargs`, or in place of those in the task's file).
        worked: the examples that it can show.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        config = dict(config)
        for ours in ("class", "bare_name", "instruction", "question"):
            config.pop(ours, None)
        name, self.preset = config["task"], presets.asked_for(config)
        if self.preset:
            config = self.preset.applied(config)
        metadata = dict(config.get("metadata") or {})
        try:
            self.benchmark = load_benchmark(config.pop("benchmark", None))
        except LiftError as error:
            raise LiftError(f"{name}: {error}") from error
        self.wording = wording_of(name, self.benchmark, metadata.get("prompts"))
        self.decoding = metadata.get("decoding", decoding_settings(name))
        if not isinstance(self.decoding, dict):
            raise LiftError(
                f"{name}: metadata: decoding: {self.decoding!r}: give settings, {{gen_length: 256, ...}}"
            )
        self.asked = dict(config.get("generation_kwargs") or {})
        self.one_turn = bool(metadata.get("one_turn"))
        self.worked = WorkedExamples(name, config.pop("worked_examples", None), metadata.get("examples"))
        shots = config.pop("num_fewshot", None)  # of them lm-eval would look for in a split that is not there
        if shots and self.worked.given is not None:
            shots = min(shots, len(self.worked.given))
        self.worked.check(shots or 0)
        self._turns: dict[tuple[int, int], Turns] = {}
        self._chat_template: Callable[..., str] | None = None
        self._takes_protocol = self._unisolated = False
        # What is used goes into the results file with the rest of the configuration.
        used = {"decoding": self.decoding, **vars(self.wording)}
        config["metadata"] = {**default_subset(config), **metadata, **used}
        config["generation_kwargs"] = {**for_other_models(self.decoding), **self.asked}
        super().__init__(config=config)
        super().set_config("num_fewshot", shots)
        self._metric_fn_list = dict.fromkeys(self.benchmark.metrics)
        self._aggregation_list = {
            name: get_aggregation(how) if isinstance(how, str) else how
            for name, how in self.benchmark.metrics.items()
        }
        self._higher_is_better = dict.fromkeys(self.benchmark.metrics, True)

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """Change the configuration; lm-eval sets `--gen_kwargs` through this, and they are remembered apart.

        In the configuration they are merged with the task's own, where a value that was asked for cannot be
        told from an equal one that was not.
        """
        if key == "num_fewshot":
            self.worked.check(value)
        super().set_config(key, value, update)
        if key == "generation_kwargs":
            self.asked = {**self.asked, **value} if update else dict(value)

    def set_fewshot_seed(self, seed: int | None = None) -> None:
        """Which examples are drawn; lm-eval calls this before requests are built. None: as without it."""
        super().set_fewshot_seed(seed)
        if seed is not None:
            self.worked.seed = seed

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: Any) -> None:
        """Make the dataset: `custom_dataset` without lm-eval's remark on `--metadata`, or lm-eval's way."""
        if self.config.custom_dataset is None:
            super().download(dataset_kwargs)
        else:
            given = {
                **self.config.metadata,
                **(dataset_kwargs or {}),
            }  # all of `--metadata` and the model args
            self.dataset = self.config.custom_dataset(**given)

    # ---------------------------------------------------------------- the prompt

    def doc_to_text(self, doc: Mapping[str, Any], doc_to_text: Any = None) -> str:
        """The user's message: instruction, blank line, question."""
        return self.wording.turn(self.benchmark, doc)

    @property
    def instruction(self) -> str:
        """What its messages begin with."""
        return self.wording.instruction

    def doc_to_target(self, doc: Mapping[str, Any], doc_to_target: Any = None) -> str:
        """The reference answer."""
        return self.benchmark.target(doc)

    def bind(self, lm: Any, confirm_run_unsafe_code: bool) -> None:
        """Learn who is asked and how, before the requests are built (`lift_harness.plugin.hooks` calls it).

        The model's attribute `protocol_chat_template`, if it has one, is the chat template that this task
        uses without `--apply_chat_template` too: (messages, add_generation_prompt=True) -> text. Where its
        `takes_protocol` is true, a request's kwargs are those that were asked for, and beside them the
        protocol's as "protocol", for the model to rank them with its own settings.
        """
        self._chat_template = getattr(lm, "protocol_chat_template", None) or None
        self._takes_protocol = bool(getattr(lm, "takes_protocol", False))
        self._unisolated = confirm_run_unsafe_code

    def count(self, limit: int | None = None, samples: list[int] | None = None) -> int:
        """Problems that are asked: those numbered in `samples`, or the first `limit`, or all."""
        whole = len(self.eval_docs)
        return len(samples) if samples is not None else min(limit or whole, whole)

    def build_all_requests(self, **kwargs: Any) -> Any:
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
        if self.benchmark.ready and not self.predicts_only:
            self.config.metadata["sandbox"] = self.benchmark.ready(self._unisolated)
        return super().build_all_requests(**{**kwargs, "cache_requests": False})

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int = 0, **kwargs: Any) -> Any:
        r"""The text the model continues: the examples as earlier turns, then the question.

        With a bound chat template: the turns, the generation prompt, then `gen_prefix`. With lm-eval's: as it
        does it. With none: "instruction\n\nquestion\n<reasoning>", and before it each example in the same
        form with its answer and a blank line. With `fewshot_as_multiturn` false (None, which its command line
        says, is true) the user's turn holds the examples in that form.
        """
        system, prefix = kwargs.get("system_instruction"), kwargs.get("gen_prefix") or ""
        lm_evals = kwargs.get("chat_template") if kwargs.get("apply_chat_template") else None
        template = lm_evals or self._chat_template
        turns = self.examples(num_fewshot, doc)
        if not turns and (lm_evals or template is None):
            return super().fewshot_context(doc, num_fewshot=0, **kwargs)
        plain = plain_text(turns, self.config.target_delimiter, self.config.fewshot_delimiter)
        if template is None:
            return (system or "") + plain + super().fewshot_context(doc, num_fewshot=0, gen_prefix=prefix)
        asked = [{"role": "system", "content": system}] if system else []
        if self.one_turn or kwargs.get("fewshot_as_multiturn") is False:
            asked += [{"role": "user", "content": plain + self.doc_to_text(doc)}]
        else:
            asked += [*messages(turns), {"role": "user", "content": self.doc_to_text(doc)}]
        if lm_evals and prefix:
            opened = [*asked, {"role": "assistant", "content": prefix}]
            return lm_evals(opened, add_generation_prompt=False)
        return template(asked, add_generation_prompt=True) + prefix

    def examples(self, n: int, doc: Mapping[str, Any] | None = None) -> Turns:
        """The worked examples before the question of `doc`: here the same before each."""
        key = (n, self.worked.seed)
        if n and key not in self._turns:
            asked = list(self.eval_docs)
            self._turns[key] = self.worked.turns(n, asked, self.doc_to_text, self.instruction)
        return self._turns.get(key, [])

    def construct_requests(self, doc: dict[str, Any], ctx: Any, **kwargs: Any) -> Any:
        """The request of a problem."""
        request = super().construct_requests(doc, ctx, **kwargs)
        if self._takes_protocol:
            preset = {"preset": self.preset.decoding} if self.preset else {}
            request.arguments = (ctx, deepcopy({**self.asked, "protocol": self.decoding, **preset}))
        templated = self._chat_template or kwargs.get("apply_chat_template")
        if self.config.num_fewshot and self.instruction and not templated:
            # Nothing else ends the answer: after the examples a model goes on with a question of its own.
            next_question = self.config.fewshot_delimiter + self.instruction
            settings = request.arguments[1]
            settings["until"] = [*(settings.get("until") or []), next_question]
        return request

    # ---------------------------------------------------------------- the verdict

    def apply_filters(self) -> None:
        """Keep all n responses of a problem, where lm-eval's default keeps the first.

        And no more than n: on several ranks lm-eval pads with repetitions of the last request, whose
        responses land on the real one, and would stand in the log of samples.
        """
        for instance in self._instances or []:
            del instance.resps[instance.repeats :]
            instance.filtered_resps[FILTER] = list(instance.resps)
        if self.benchmark.prepare and not self.predicts_only:
            kept = [(one.doc, one.filtered_resps[FILTER]) for one in self._instances or []]
            self.benchmark.prepare(
                (doc, self.doc_to_prefix(doc) + text) for doc, texts in kept for text in texts
            )
        self._note_what_was_not_sampled()

    def _note_what_was_not_sampled(self) -> None:
        """Where an engine answers all samples of a problem alike: a warning, and a note in the results."""
        answers = [one.filtered_resps[FILTER] for one in self._instances or []]
        if are_one_text(answers):
            counts = {"answers": sum(map(len, answers)), "distinct_texts": len(answers)}
            self.config.metadata["not_sampled"] = counts
            log = logging.getLogger("lm_eval")
            log.warning("%s: %s", self.task_name, not_sampled(len(answers), len(answers[0])))

    def process_results(self, doc: dict[str, Any], results: list[list[str]]) -> dict[str, Any]:
        """Metrics of one problem from its n responses, [[text, ...]]; `doc` gets the key "verdicts"."""
        if self.predicts_only:  # --predict_only
            return self.reported({"bypass": None})
        prefix = self.doc_to_prefix(doc)
        doc["verdicts"], metrics = judge(
            self.benchmark, doc, [prefix + text for text in self.responses(results)]
        )
        return self.reported(metrics)

    def aggregation(self) -> dict[str, Any]:
        """Metric name -> function of the problems' values."""
        return {**self._aggregation_list, **dict.fromkeys(self._sampled_metrics(), get_aggregation("mean"))}

    def higher_is_better(self) -> dict[str, bool]:
        """Metric name -> True, for all."""
        return {**self._higher_is_better, **dict.fromkeys(self._sampled_metrics(), True)}

    def _sampled_metrics(self) -> Iterable[str]:
        n = self.config.repeats
        many = n > 1 and not self.predicts_only
        return [*(f"pass@{k}" for k in ks_for(n)), f"avg@{n}"] if many else []
