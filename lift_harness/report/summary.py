"""The tables of the page: scores with intervals, pass@k curves, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lift_harness.report.answers import Answers, Points, Problem
from lift_harness.report.files import mapping, number, read_mapping
from lift_harness.report.run import Arm, Run, metric_order
from lift_harness.report.statistics import Interval, best, interval, over_seeds, pass_curve, ratio
from lift_harness.results.layout import ONE, SAMPLES
from lift_harness.sample_logs import SAMPLED

Logged = dict[tuple[str, str, str], dict[str, Answers]]  # (task, arm, label) -> problem -> answers


def logged_answers(problems: Sequence[Problem]) -> Logged:
    """The answers of the logs by task, arm and evaluation."""
    found: Logged = {}
    for problem in problems:
        for (arm, label), answers in problem.answers.items():
            found.setdefault((problem.task, arm, label), {})[problem.doc_id] = answers
    return found


def summary(run: Run, logged: Logged) -> dict[str, Any]:
    """{task: {metric: {"rows": {row: {"value", "stderr", "low", "high", "seeds", "items"}}, "best"}}}."""
    tables: dict[str, Any] = {}
    for task in run.tasks:
        scores = {
            row: of_row[task] for row, of_row in run.scores.items() if isinstance(of_row.get(task), dict)
        }
        for name in metric_order(list(dict.fromkeys(name for found in scores.values() for name in found))):
            cells = {row: cell(run, logged, row, task, name) for row in scores}
            rows = {row: one for row, one in cells.items() if one}
            if rows:
                intervals = {row: bounds(one) for row, one in rows.items()}
                top = best(intervals, {row: one["value"] for row, one in rows.items()})
                tables.setdefault(task, {})[name] = {"rows": rows, "best": top}
    return tables


def bounds(one: Mapping[str, Any]) -> Interval | None:
    """The interval of a cell."""
    return None if one["low"] is None else (one["low"], one["high"])


def cell(run: Run, logged: Logged, row: str, task: str, metric: str) -> dict[str, Any] | None:
    """One number of the summary and how sure it is."""
    score = run.scores[row][task].get(metric)
    score = score if isinstance(score, dict) else {"value": score}
    value, stderr = number(score.get("value")), number(score.get("stderr"))
    if value is None:
        return None
    seeds = int(number(score.get("n_seeds")) or 1)
    arms = scored_arms(run, logged, row, task, metric)
    problems = by_problem(arms)
    check(run, f"{metric} of {row} on {task}", value, arms)
    if seeds > 1:
        found = over_seeds(value, stderr, seeds, ratio(problems)[1] if problems else None)
    else:
        binary = bool(problems) and all(score in ((0, 1), (1, 1)) for score in problems)
        found = interval(value, stderr, items=len(problems) or None, binary=binary)
    low, high = found or (None, None)
    items = len(problems) or None
    return {"value": value, "stderr": stderr, "low": low, "high": high, "seeds": seeds, "items": items}


def scored_arms(run: Run, logged: Logged, row: str, task: str, metric: str) -> list[dict[str, Points]]:
    """problem -> score in a metric, for each seed of a row; of pass@k from the sampled answers, if any."""
    found = []
    for arm in run.arms_of(row):
        for label in (SAMPLES, ONE) if SAMPLED.fullmatch(metric) else (ONE,):
            answers = logged.get((task, arm.name, label), {})
            scores = {doc: one.metrics[metric] for doc, one in answers.items() if metric in one.metrics}
            if scores:
                found.append(scores)
                break
    return found


def by_problem(arms: Sequence[Mapping[str, Points]]) -> list[Points]:
    """The scores of each problem, all seeds together."""
    sums: dict[str, Points] = {}
    for scores in arms:
        for doc, (points, of) in scores.items():
            before = sums.get(doc, (0.0, 0.0))
            sums[doc] = (before[0] + points, before[1] + of)
    return [score for score in sums.values() if score[1]]


def check(run: Run, what: str, value: float, arms: Sequence[Mapping[str, Points]]) -> None:
    """Note it where the logs do not give the number of the results."""
    sums = [(sum(p for p, _ in scores.values()), sum(of for _, of in scores.values())) for scores in arms]
    means = [points / of for points, of in sums if of]
    if means and abs(sum(means) / len(means) - value) > 1e-6:
        run.notes.add(
            f"{what} is {100 * value:.1f} % in results.json, but the sample logs give "
            f"{100 * sum(means) / len(means):.1f} %: one of the two is of another evaluation."
        )


def pass_curves(run: Run, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Pass@k by task and row: from the logs, else from the scores."""
    found = []
    for task in run.tasks:
        rows = {}
        for row in run.rows:
            names = [arm.name for arm in run.arms_of(row)]
            counts = [
                [counted for name in names if (counted := sampled(problem, name))]
                for problem in problems
                if problem.task == task
            ]
            counts = [of_problem for of_problem in counts if of_problem]
            if counts:
                rows[row] = {**pass_curve(counts), "items": len(counts)}
            else:
                scored = scored_curve(run, row, task)
                if scored:
                    rows[row] = scored
        if rows:
            found.append({"task": task, "rows": rows})
    return found


def sampled(problem: Problem, arm: str) -> tuple[int, int] | None:
    """(samples, right ones) of a problem, where there are several."""
    for label in (SAMPLES, ONE):
        answers = problem.answers.get((arm, label))
        known = [verdict for verdict in answers.correct if verdict is not None] if answers else []
        if len(known) > 1:
            return len(known), sum(known)
    return None


def scored_curve(run: Run, row: str, task: str) -> dict[str, Any] | None:
    """The pass@k of the results with normal intervals."""
    found: dict[str, list[Any]] = {"k": [], "value": [], "low": [], "high": []}
    scores = run.scores.get(row, {}).get(task)
    for name in metric_order(list(scores or {})):
        match = SAMPLED.fullmatch(name)
        one = cell(run, {}, row, task, name) if match and match[1] == "pass" else None
        if match and one:
            found["k"].append(int(match[2]))
            for key in ("value", "low", "high"):
                found[key].append(one[key])
    return {**found, "items": None} if len(found["k"]) > 1 else None


# ---------------------------------------------------------------- costs

MEASURES = ("seconds", "gpu_hours", "forward_passes", "tokens", "peak_memory_bytes")


def costs(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """{row: {"train" or "eval": {measure: mean over seeds}}}; what nothing was counted of is left out."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in run.rows:
        for kind in ("train", "eval"):
            stages = [stage_cost(run, arm, kind) for arm in run.arms_of(row)]
            for measure in MEASURES:
                values = [stage[measure] for stage in stages if stage.get(measure)]
                if values:
                    mean = sum(values) / len(values)
                    found.setdefault(row, {}).setdefault(kind, {})[measure] = mean
    return found


def stage_cost(run: Run, arm: Arm, kind: str) -> dict[str, float]:
    """What a stage took: from the manifest, else from its own record or, of older runs, the results."""
    where = arm.folder.relative_to(run.folder).as_posix()
    record = read_mapping(arm.folder / f"{kind}.json", run.notes, f"{kind}.json of {arm.name}")
    seconds = mapping(mapping(run.results, "seconds"), arm.row)
    sources = (
        mapping(mapping(run.manifest, "stages"), f"{where}/{kind}"),
        mapping(record, "cost"),
        record,
        {"seconds": seconds.get(kind)},
    )
    known = ((name, number(source.get(name))) for source in reversed(sources) for name in MEASURES)
    return {name: value for name, value in known if value is not None}
