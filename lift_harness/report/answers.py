"""The problems of a run, with what every arm answered."""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lift_harness.report.run import Run, counted
from lift_harness.results.layout import ONE, SAMPLES, kind_and_task
from lift_harness.results.logs import Item, in_log_order

LABELS = (ONE, SAMPLES)  # the answers under the protocol; n sampled answers for pass@k
SPECIAL = re.compile(r"<\|[^|<>]{1,40}\|>")


@dataclass
class Problem:
    """A problem of a task and all that was answered to it."""

    task: str
    doc_id: str
    doc: Any
    prompt: str
    target: str
    answers: dict[tuple[str, str], Item] = field(default_factory=dict)  # by (arm, label)

    def has(self, label: str) -> bool:
        """Whether any arm answered it in that evaluation."""
        return any(known == label for _, known in self.answers)


def read_problems(run: Run) -> list[Problem]:
    """All problems of a run's logs, by task and in the order of the logs."""
    problems: dict[tuple[str, str], Problem] = {}
    different: Counter[str] = Counter()
    for arm in run.arms:
        for evaluation in arm.evaluations:
            label, _ = kind_and_task(evaluation.label, evaluation.task)
            task = evaluation.task
            for item in sorted(evaluation.items.values(), key=in_log_order):
                prompt = item.prompt or ""
                if (task, item.key) not in problems:
                    problems[task, item.key] = Problem(task, item.doc_id, item.doc, prompt, item.target)
                problem = problems[task, item.key]
                different[task] += problem.prompt != prompt
                problem.answers[arm.name, label] = item
    for task, n in different.items():
        if n:
            run.notes.add(
                f"{task}: {counted(n, 'prompt')} not as the first method's, which is the one shown."
            )
    if run.arms and not problems:
        run.notes.add("There are no sample logs (eval/*/samples_*.jsonl): no problems to look at.")
    order = {task: i for i, task in enumerate(run.tasks)}
    return sorted(problems.values(), key=lambda problem: order[problem.task])


def length(text: str) -> int:
    """Characters of an answer without special tokens."""
    return len(SPECIAL.sub("", text).strip())


def frame(prompts: Sequence[str]) -> tuple[str, str]:
    """What all prompts of a task begin and end with, so that it need not be shown with each.

    Whole paragraphs at the beginning; at the end whatever follows the first special token.
    """
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) < 2:
        return "", ""
    before = os.path.commonprefix(distinct)
    paragraph = before.rfind("\n\n")
    before = before[: paragraph + 2] if paragraph >= 0 else ""
    rest = [prompt[len(before) :] for prompt in distinct]
    after = os.path.commonprefix([prompt[::-1] for prompt in rest])[::-1]
    token = after.find("<|")
    return before, after[token:] if token >= 0 else ""
