"""Accuracy by what a problem is like and by how long the answer is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lift_harness.report.answers import Problem, frame, length
from lift_harness.report.run import Run
from lift_harness.report.statistics import interval, ratio
from lift_harness.results.layout import ONE, SAMPLES

BINS = 5
CLASSES = 12  # more different values of a difficulty than this, and they are put into bins
Value = Callable[..., "float | str | None"]  # of (index of the problem, answers)
Case = tuple[int, Any, float, float]  # problem, property, points, of


def features(problem: Problem) -> dict[str, float | str]:
    """What is known of how hard a problem is, from its dataset row."""
    doc = problem.doc
    found: dict[str, float | str] = {}
    level = re.search(r"\d{1,3}", str(doc.get("level", "")))
    if level:
        found["level"] = int(level[0])
    for name in ("subject", "difficulty"):
        if isinstance(doc.get(name), str):
            found[name] = doc[name][:40]
    puzzle = doc.get("Puzzle")
    if isinstance(puzzle, str):
        found["empty cells"] = puzzle.count("0")
    numbers = doc.get("input")
    if isinstance(numbers, str) and re.fullmatch(r"[\d, ]+", numbers):
        found["numbers given"] = numbers.count(",") + 1
    worked = doc.get("answer")
    if isinstance(worked, str) and "####" in worked:
        found["steps of the worked answer"] = worked.split("####")[0].strip().count("\n") + 1
    return found


def breakdowns(run: Run, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """For each task and property: the bins, and each row's accuracy in each."""
    found = []
    for task in dict.fromkeys(problem.task for problem in problems):
        chosen = [problem for problem in problems if problem.task == task]
        for name, unit, value in properties(chosen):
            one = breakdown(run, chosen, task, name, unit, value)
            if one and len(one["bins"]) > 1:
                found.append(one)
    return found


def by_generation_length(tables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Accuracy by gen_length, of tasks that were evaluated at several (TASK@128, TASK@256 ...).

    Args:
        tables: of `summary.summary`.
    """
    lengths: dict[str, dict[int, Any]] = {}
    for name, metrics in tables.items():
        task, _, length = name.rpartition("@")
        if task and length.isdigit() and "acc" in metrics:
            lengths.setdefault(task, {})[int(length)] = metrics["acc"]["rows"]
    found = []
    for task, cells in lengths.items():
        bins = sorted(cells)
        rows = dict.fromkeys(row for length in bins for row in cells[length])
        shares = {row: [plain(cells[length].get(row)) for length in bins] for row in rows}
        if len(bins) > 1:
            by = {"task": task, "by": "length of the generation", "unit": "tokens"}
            found.append({**by, "bins": [str(length) for length in bins], "rows": shares})
    return found


def plain(cell: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A cell of the summary as one of a breakdown."""
    if cell is None:
        return None
    return {"value": cell["value"], "low": cell["low"], "high": cell["high"], "n": cell["items"] or 0}


def properties(problems: Sequence[Problem]) -> Iterator[tuple[str, str, Value]]:
    """(name, unit, value of a case) of all that a task's accuracy is shown by."""
    known = [features(problem) for problem in problems]
    for name in dict.fromkeys(name for found in known for name in found):
        yield name, "", lambda i, _, name=name: known[i].get(name)
    framed = sum(length(part) for part in frame([problem.prompt for problem in problems]))
    prompts = [max(0, length(problem.prompt) - framed) for problem in problems]
    yield "length of the question", "characters", lambda i, _: prompts[i]
    yield "length of the answer", "characters", lambda _, answers: length(answers.texts[0])


def breakdown(
    run: Run, problems: Sequence[Problem], task: str, name: str, unit: str, value: Value
) -> dict[str, Any] | None:
    """Accuracy of one task by one property, of the answer under the protocol (else of the first sample)."""
    label = ONE if any(key[1] == ONE for p in problems for key in p.answers) else SAMPLES
    cases: dict[str, list[Case]] = {}
    for i, problem in enumerate(problems):
        for arm in run.arms:
            answers = problem.answers.get((arm.name, label))
            score = answers.acc[0] if answers and answers.acc else None
            found = value(i, answers) if score else None
            if found is not None and score:
                cases.setdefault(arm.row, []).append((i, found, *score))
    if not cases:
        return None
    values = [case[1] for of_row in cases.values() for case in of_row]
    bins = classes(values, BINS if unit else CLASSES)
    rows = {
        row: [share([case for case in of_row if inside(case[1])]) for _, inside in bins]
        for row, of_row in cases.items()
    }
    return {"task": task, "by": name, "unit": unit, "bins": [label for label, _ in bins], "rows": rows}


def share(cases: Sequence[Case]) -> dict[str, Any] | None:
    """Accuracy of a row in a bin; the seeds' answers to a problem count as one."""
    if not cases:
        return None
    right: dict[int, float] = {}
    of: dict[int, float] = {}
    for i, _, points, total in cases:
        right[i] = right.get(i, 0) + points
        of[i] = of.get(i, 0) + total
    n = len(right)
    if n == len(cases) and all(total == 1 and points in (0, 1) for *_, points, total in cases):
        value = sum(right.values()) / n
        found = interval(value, None, items=n, binary=True)
    else:
        value, found = ratio([(right[i], of[i]) for i in right])
    return {"value": value, "low": found and found[0], "high": found and found[1], "n": n}


def classes(values: Sequence[Any], most: int) -> list[tuple[str, Callable[[Any], bool]]]:
    """(label, whether a value is in it): each of at most `most` values, else bins of as many cases each."""
    distinct = set(values)
    if len(distinct) <= most or any(isinstance(value, str) for value in distinct):
        ordered = sorted(distinct, key=lambda v: (isinstance(v, str), v))[:CLASSES]
        return [(v if isinstance(v, str) else f"{v:g}", {v}.__contains__) for v in ordered]
    edges = np.unique(np.quantile(np.array(values, float), np.linspace(0, 1, BINS + 1), method="nearest"))
    found: list[tuple[str, Callable[[Any], bool]]] = []
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        last = i == len(edges) - 2  # the only bin that holds its upper edge
        inside = {v for v in distinct if low <= v < high or (last and v == high)}
        first, top = min(inside), max(inside)
        found.append((f"{first:g}" if first == top else f"{first:g}\u2013{top:g}", inside.__contains__))
    return found
