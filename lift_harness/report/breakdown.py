"""Accuracy by what a problem is like and by how long the answer is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lift_harness.report.answers import Problem, frame, length
from lift_harness.report.run import Run
from lift_harness.results import statistics
from lift_harness.results.layout import ONE, SAMPLES
from lift_harness.results.logs import Item

BINS = 5
CLASSES = 12  # more different values of a difficulty than this, and they are put into bins
Value = Callable[[int, Item], "float | str | None"]  # of (index of the problem, what was answered)
Case = tuple[int, Any, float, float]  # problem, property, points, of


def features(problem: Problem) -> dict[str, float | str]:
    """What is known of how hard a problem is, from its dataset row."""
    doc = problem.doc
    known: dict[str, float | str] = {}
    level = re.search(r"\d{1,3}", str(doc.get("level", "")))
    if level:
        known["level"] = int(level[0])
    for name in ("subject", "difficulty"):
        if isinstance(doc.get(name), str):
            known[name] = doc[name][:40]
    puzzle = doc.get("Puzzle")
    if isinstance(puzzle, str):
        known["empty cells"] = puzzle.count("0")
    numbers = doc.get("input")
    if isinstance(numbers, str) and re.fullmatch(r"[\d, ]+", numbers):
        known["numbers given"] = numbers.count(",") + 1
    worked = doc.get("answer")
    if isinstance(worked, str) and "####" in worked:
        known["steps of the worked answer"] = worked.split("####")[0].strip().count("\n") + 1
    return known


def breakdowns(run: Run, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """For each task and property: the bins, and each row's accuracy in each."""
    by_task: dict[str, list[Problem]] = {}
    for problem in problems:
        by_task.setdefault(problem.task, []).append(problem)
    parts = []
    for task, of_task in by_task.items():
        for name, unit, value in properties(of_task):
            part = breakdown(run, of_task, unit, value)
            if part and len(part["bins"]) > 1:
                parts.append({"task": task, "by": name, "unit": unit, **part})
    return parts


def by_generation_length(tables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy by gen_length, of tasks that were evaluated at several (TASK@128, TASK@256 ...).

    Args:
        tables: of `summary.summary`.
    """
    lengths: dict[str, dict[int, Any]] = {}
    for name, metrics in tables.items():
        task, _, length = name.rpartition("@")
        if task and length.isdecimal() and "acc" in metrics:
            lengths.setdefault(task, {})[int(length)] = metrics["acc"]["rows"]
    parts = []
    for task, rows_at in lengths.items():
        if len(rows_at) < 2:
            continue
        cells: dict[str, list[Any]] = {}  # row -> of each length
        for i, at in enumerate(sorted(rows_at)):
            for row, cell in rows_at[at].items():
                cells.setdefault(row, [None] * len(rows_at))[i] = plain(cell)
        by = {"task": task, "by": "length of the generation", "unit": "tokens"}
        parts.append({**by, "bins": list(map(str, sorted(rows_at))), "rows": cells})
    return parts


def plain(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of the summary as one of a breakdown."""
    return {"value": cell["value"], "low": cell["low"], "high": cell["high"], "n": cell["items"] or 0}


def properties(problems: Sequence[Problem]) -> Iterator[tuple[str, str, Value]]:
    """(name, unit, value of a case) of all that a task's accuracy is shown by."""
    known = list(map(features, problems))
    names: dict[str, None] = {}
    for of_problem in known:
        names |= dict.fromkeys(of_problem)
    for name in names:
        yield name, "", lambda i, _, name=name: known[i].get(name)  # type: ignore[misc]
    framed = sum(map(length, frame([problem.prompt for problem in problems])))
    questions = [max(0, length(problem.prompt) - framed) for problem in problems]
    yield "length of the question", "characters", lambda i, _: questions[i]
    yield "length of the answer", "characters", lambda _, item: length(item.texts[0])


def breakdown(run: Run, problems: Sequence[Problem], unit: str, value: Value) -> dict[str, Any] | None:
    """Accuracy of one task by one property, of the answer under the protocol (else of the first sample)."""
    kind = ONE if any(problem.has(ONE) for problem in problems) else SAMPLES
    cases: dict[str, list[Case]] = {}
    values: list[Any] = []
    for i, problem in enumerate(problems):
        for arm in run.arms:
            item = problem.answers.get((arm.name, kind))
            score = item.accuracies[0] if item else None
            known = value(i, item) if item and score else None
            if known is not None and score:
                cases.setdefault(arm.row, []).append((i, known, *score))
                values.append(known)
    if not cases:
        return None
    bins = classes(values, BINS if unit else CLASSES)
    shares: dict[str, list[Any]] = {row: [] for row in cases}
    for _, inside in bins:  # the rows of a bin often answer as many problems: the same resamples
        for row, of_row in cases.items():
            shares[row].append(share([case for case in of_row if inside(case[1])]))
    return {"bins": [label for label, _ in bins], "rows": shares}


def share(cases: Sequence[Case]) -> dict[str, Any] | None:
    """Accuracy of a row in a bin; the seeds' answers to a problem count as one."""
    if not cases:
        return None
    sums: dict[int, list[float]] = {}
    for i, _, points, of in cases:
        right, total = sums.get(i, (0.0, 0.0))
        sums[i] = [right + points, total + of]
    table = np.array(list(sums.values()))  # [problems, 2]
    binary = [(points, of) in ((0, 1), (1, 1)) for *_, points, of in cases]
    one_answer = len(sums) == len(cases) and all(binary)
    over = statistics.interval(table[:, 0], table[:, 1], one_answer)
    return {
        "value": statistics.share(table[:, 0], table[:, 1]) if table[:, 1].any() else 0.0,
        "low": over.low if over else None,
        "high": over.high if over else None,
        "n": len(sums),
    }


def classes(values: Sequence[Any], most: int) -> list[tuple[str, Callable[[Any], bool]]]:
    """(label, whether a value is in it): each of at most `most` values, else bins of as many cases each."""
    distinct = set(values)
    if len(distinct) <= most or any(isinstance(value, str) for value in distinct):
        ordered = sorted(distinct, key=lambda v: (isinstance(v, str), v))[:CLASSES]
        return [(v if isinstance(v, str) else f"{v:g}", {v}.__contains__) for v in ordered]
    edges = np.unique(np.quantile(np.array(values, float), np.linspace(0, 1, BINS + 1), method="nearest"))
    bins: list[tuple[str, Callable[[Any], bool]]] = []
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        last = i == len(edges) - 2  # the only bin that holds its upper edge
        inside = {value for value in distinct if low <= value < high or (last and value == high)}
        first, top = min(inside), max(inside)
        label = f"{first:g}" if first == top else f"{first:g}\u2013{top:g}"
        bins.append((label, inside.__contains__))
    return bins
