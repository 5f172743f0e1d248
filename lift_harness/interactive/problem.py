"""A problem of a task, posed to one model as an evaluation poses it, and the verdict on the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lift_harness.decoding import Generation
from lift_harness.errors import LiftError
from lift_harness.lm.before_loading import Unloaded
from lift_harness.lm.requests import GenerationRequest, first_sample
from lift_harness.tasks.catalog import expand
from lift_harness.tasks.protocol import ProtocolTask, load_task
from lift_harness.tasks.scoring.verdicts import judge


@dataclass(frozen=True)
class Problem:
    """A problem of a task of ours.

    Attributes:
        task: whose it is.
        number: which one, from 0: the `doc_id` of sample logs.
        doc: its dataset row.
        request: what an evaluation has the model generate.
    """

    task: ProtocolTask
    number: int
    doc: dict[str, Any]
    request: GenerationRequest

    @property
    def name(self) -> str:
        """The task's."""
        return self.task.task_name

    @property
    def question(self) -> str:
        """It, without the instruction."""
        return self.task.benchmark.question(self.doc)

    @property
    def target(self) -> str:
        """The reference answer."""
        return self.task.doc_to_target(self.doc)

    @property
    def prefix(self) -> str:
        """What the answer is made to begin with."""
        return self.task.doc_to_prefix(self.doc) or ""

    def verdict(self, tokenizer: Any, out: Generation) -> dict[str, Any]:
        """What an answer scores: metric -> a share, or (right, empty) cells."""
        _, metrics = judge(self.task.benchmark, self.doc, [self.prefix + self.request.text(tokenizer, out)])
        return metrics


def find_problem(
    name: str, number: int, model: str, model_args: Mapping[str, Any], settings: Mapping[str, Any]
) -> Problem:
    """A problem of a task, ready to be asked; nothing needs the model's weights.

    Args:
        name: of the task, with or without `lift_`.
        number: from 0.
        model: that is to answer: folder, Hub id, or a model inside the package.
        model_args: of loading it.
        settings: of decoding, above the task's.

    Raises:
        LiftError: no such task, several of them, or no such problem; settings that are wrong; a prompt that
            does not fit; code cannot be run safely here.
    """
    names = expand([name])
    if len(names) > 1:
        raise LiftError(f"--task {name} is several tasks; name one: {', '.join(names)}")
    task = load_task(names[0], repeats=1)
    if task.benchmark.ready:
        task.benchmark.ready(False)
    docs = list(task.eval_docs)
    if number >= len(docs):
        raise LiftError(f"--problem {number}: {names[0]} has {len(docs)} problems, 0 to {len(docs) - 1}")
    shape = {key: model_args[key] for key in ("revision", "block_size") if key in model_args}
    doc, asked = docs[number], Unloaded({"pretrained": model, **shape})
    task.set_config("generation_kwargs", dict(settings), update=True)
    task.bind(asked, False)
    context = task.fewshot_context(doc, gen_prefix=task.doc_to_prefix(doc))
    instance = task.construct_requests(doc, context, metadata=(names[0], number, 1))
    return Problem(task, number, doc, first_sample(asked, instance))  # type: ignore[arg-type]
