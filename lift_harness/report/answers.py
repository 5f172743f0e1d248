"""The sample logs of a run as problems, with what every arm answered and how it was judged."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lift_harness.report.files import Notes, counted, number, read_lines
from lift_harness.report.run import Run
from lift_harness.results.layout import ONE, SAMPLES, length_of, task_at
from lift_harness.sample_logs import LOG, as_text

LABELS = (ONE, SAMPLES)  # the answers under the protocol; n sampled answers for pass@k
SPECIAL = re.compile(r"<\|[^|<>]{1,40}\|>")

Points = tuple[float, float]  # (points, of): (1, 1), or (right cells, empty cells)


@dataclass
class Answers:
    """What one arm answered to one problem, in one evaluation.

    Attributes:
        texts: a text a sample.
        correct: for each right (1), wrong (0) or not judged (None).
        acc: the accuracy of each.
        metrics: all metrics of the problem.
    """

    texts: list[str]
    correct: list[int | None]
    acc: list[Points | None]
    metrics: dict[str, Points]


@dataclass
class Problem:
    """A problem of a task and all that was answered to it."""

    task: str
    doc_id: str
    doc: dict[str, Any]
    prompt: str
    target: str
    answers: dict[tuple[str, str], Answers] = field(default_factory=dict)  # by (arm, label)


def read_problems(run: Run) -> list[Problem]:
    """All problems of a run's logs, by task and in the order of the logs."""
    problems: dict[tuple[str, str], Problem] = {}
    different: dict[str, int] = {}
    for arm in run.arms:
        for label, task, file in sample_logs(arm.folder / "eval"):
            name = f"{arm.name}: {file.name}"
            for line in read_log(file, run.notes, name):
                key = (task, str(line.get("doc_id")))
                prompt = prompt_of(line)
                doc = line["doc"] if isinstance(line.get("doc"), dict) else {}
                problem = problems.setdefault(
                    key, Problem(task, key[1], doc, prompt, as_text(line.get("target", "")))
                )
                different[task] = different.get(task, 0) + (problem.prompt != prompt)
                problem.answers[arm.name, label] = read_answers(line)
    for task, n in different.items():
        if n:
            run.notes.add(
                f"{task}: {counted(n, 'prompt')} not as the first method's, which is the one shown."
            )
    if run.arms and not problems:
        run.notes.add("There are no sample logs (eval/*/samples_*.jsonl): no problems to look at.")
    order = {task: i for i, task in enumerate(run.tasks)}
    return sorted(problems.values(), key=lambda problem: order.get(problem.task, len(order)))


def sample_logs(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(label, task as the results name it, newest log) of an evaluation folder."""
    newest: dict[tuple[str, str], tuple[str, Path]] = {}
    for file in sorted(folder.rglob("samples_*.jsonl")):
        match = LOG.fullmatch(file.name)
        if match and not match["again"]:
            key = place(file.relative_to(folder).parts[0], match["task"])
            newest[key] = max(newest.get(key, ("", file)), (match["time"], file))
    for (label, task), (_, file) in sorted(newest.items(), key=lambda found: LABELS.index(found[0][0])):
        yield label, task, file


def place(label: str, task: str) -> tuple[str, str]:
    """Label and task of an evaluation: "one-512" is the label "one" of "TASK@512"."""
    return label if label in LABELS else ONE, task_at(task, length_of(label))


def read_log(file: Path, notes: Notes, name: str) -> Iterator[dict[str, Any]]:
    """The lines of a log; of lm-eval's several filters the first."""
    first: Any = None
    for line in read_lines(file, notes, name):
        first = line.get("filter") if first is None else first
        if line.get("filter") == first:
            yield line
        else:
            notes.add(f"{name} has several filters; shown is {as_text(first)!r}.")


def prompt_of(line: dict[str, Any]) -> str:
    """The text that the model was given."""
    request = (line.get("arguments") or {}).get("gen_args_0")
    return as_text(request.get("arg_0", "")) if isinstance(request, dict) else ""


def read_answers(line: dict[str, Any]) -> Answers:
    """Texts and verdicts of one line of a log."""
    found = line.get("resps") or [[]]
    found = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    texts = [as_text(text) for text in found]
    names = line.get("metrics")
    scores = {str(name): points(line.get(str(name))) for name in names} if isinstance(names, list) else {}
    metrics = {name: score for name, score in scores.items() if score}
    doc = line.get("doc")
    verdicts = doc.get("verdicts") if isinstance(doc, dict) else None
    if not isinstance(verdicts, dict):  # another task's: one verdict a problem, in its first metric
        first = next(iter(metrics.values()), None) if len(texts) == 1 else None
        return Answers(texts, [is_right(first)] * len(texts), [first] * len(texts), metrics)
    acc = each(verdicts.get("acc"), len(texts))
    judged = each(verdicts.get("solved"), len(texts)) if "solved" in verdicts else acc
    return Answers(texts, [is_right(score) for score in judged], acc, metrics)


def each(values: Any, n: int) -> list[Points | None]:
    """The scores of n samples."""
    found = [points(value) for value in values] if isinstance(values, list) else []
    return (found + [None] * n)[:n]


def points(value: Any) -> Points | None:
    """A score as (points, of): a share is (share, 1)."""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        right, of = number(value[0]), number(value[1])
        return (right, of) if right is not None and of is not None and 0 <= right <= of else None
    share = number(value)
    return None if share is None or not 0 <= share <= 1 else (share, 1.0)


def is_right(score: Points | None) -> int | None:
    """Whether a score is full."""
    return None if score is None else int(score[0] >= score[1])


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
