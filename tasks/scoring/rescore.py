"""Scores a log of samples again, without a model: `lift-harness score`.

Reads what lm-eval's `--log_samples` writes, a line per problem:
{"doc": {dataset row}, "resps": [["text", ...]]}.
Imports neither torch nor lm_eval.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from math import sqrt
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.files import check_writable, numbered_lines, parse_json, whole
from lift_harness.results.logs import LOG
from lift_harness.tasks.benchmarks import Benchmark, load_benchmark
from lift_harness.tasks.catalog import task_config, task_names
from lift_harness.tasks.scoring.verdicts import judge

Row = dict[str, Any]


def score_file(
    task: str, samples: str | Path, output: str | Path | None = None, *, allow_unisolated: bool = False
) -> dict[str, Any]:
    """Score every line of a log, write the lines with their metrics, return the metrics of all.

    Args:
        task: its name, "lift_gsm8k".
        samples: the log.
        output: where the lines go, replaced only when all are scored; None: NAME.scored.jsonl beside the log.
        allow_unisolated: run generated code where no sandbox can be had, as `--confirm_run_unsafe_code` does.

    Returns:
        {"task", "problems", "samples" (of a problem), "output", for code "sandbox" (what isolated it), and
        "metrics": {name: value, name_stderr: value}}.
    """
    config = task_config(task)
    benchmark, prefix = load_benchmark(config["benchmark"]), config.get("gen_prefix") or ""
    path, named = Path(samples), output is not None
    target = path.with_suffix(".scored.jsonl") if output is None else Path(output)
    if path.exists():
        check_writable(target, named=named)
    used = {}
    if benchmark.ready:
        used["sandbox"] = benchmark.ready(allow_unisolated)
    values: list[dict[str, Any]] = []  # of each problem
    rows = scored_rows(task, path, benchmark, prefix, values)
    first = next(rows)
    write_log(target, chain([first], rows), named)
    summary = {
        "task": task,
        "problems": len(values),
        "samples": len(first["resps"][0]),
        "output": str(target),
    }
    return {**summary, **used, "metrics": aggregate(benchmark, values)}


def scored_rows(
    task: str, path: Path, benchmark: Benchmark, prefix: str, values: list[dict[str, Any]]
) -> Iterator[Row]:
    """The lines of a log with their metrics, one at a time; the metrics go to `values`, too."""
    numbered: Iterable[tuple[int, Row]] = read_log(path, task)
    if benchmark.prepare:  # all side by side, once all lines are known to be in order
        numbered = list(numbered)
        with contextlib.suppress(LiftError, TypeError, ValueError, KeyError):  # `score_row` says which row
            benchmark.prepare((row["doc"], prefix + text) for _, row in numbered for text in row["resps"][0])
    for line, row in numbered:
        values.append(score_row(row, benchmark, prefix, f"{path}: line {line}"))
        row["task"] = task
        yield row


# ---------------------------------------------------------------- the log


def read_log(path: Path, task: str) -> Iterator[tuple[int, Row]]:
    """The lines with their numbers, checked: a row, and the same number of answers in each.

    Where a problem has a line for each of lm-eval's filters, with the same answers, the first filter's.
    """
    n, first = 0, None
    for line, row in _rows(path):
        answers = len(row["resps"][0])
        if n == 0:
            n, first = answers, row.get("filter")
            check_task(path, row, task)
        if row.get("filter") != first:
            continue
        if answers != n:
            raise LiftError(f"{path}: line {line}: resps: {answers} answers, {n} in the lines above")
        yield line, row
    if n == 0:
        raise LiftError(f"{path}: no samples in it")


def check_task(path: Path, row: Row, task: str) -> None:
    """Refuse a log that says, in its name or its lines, that it is of a task of ours with another scoring."""
    of_name = LOG.fullmatch(path.name)
    named = row.get("task") or (of_name["task"] if of_name else None)
    if named not in task_names():
        return
    if task_config(named)["benchmark"] != task_config(task)["benchmark"]:
        raise LiftError(f"{path} is a log of {named}, which is scored in another way; give --task {named}")


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    line = 0
    try:
        for line, text in numbered_lines(path):
            if text.strip():
                yield line, _checked(text.decode("utf-8"), f"{path}: line {line}")
    except OSError as error:
        raise LiftError(
            f"{path}: {error.strerror}; give a log that lm-eval wrote with --log_samples"
        ) from error
    except UnicodeDecodeError as error:
        raise LiftError(f"{path}: line {line}: not UTF-8 ({error.reason})") from error


def _checked(text: str, where: str) -> Row:
    row = parse_json(text, where)
    if not isinstance(row, dict):
        raise LiftError(f"{where}: not an object with doc and resps but {type(row).__name__}")
    if not isinstance(row.get("doc"), dict):
        raise LiftError(f"{where}: doc: must be the dataset's row, an object, not {_short(row.get('doc'))}")
    answers = row.get("resps")
    one = answers[0] if isinstance(answers, list) and len(answers) == 1 else None
    if not isinstance(one, list) or not one or not all(isinstance(answer, str) for answer in one):
        raise LiftError(f'{where}: resps: must be [["text", ...]], not {_short(answers)}')
    verdicts = row["doc"].get("verdicts")
    asked = verdicts.get("n_samples") if isinstance(verdicts, dict) else None
    if type(asked) is int and asked > 0:
        del one[asked:]  # lm-eval pads the last problem of a process that has fewer than another
    return row


def _short(value: Any) -> str:
    text, most = (str(value), 300) if isinstance(value, Exception) else (repr(value), 60)
    return text if len(text) <= most else text[: most - 3] + "..."


def write_log(path: Path, rows: Iterable[Row], named: bool) -> None:
    """Write the lines, all or none; `named` as `whole` takes it."""

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")  # escaped: an answer may hold half a surrogate pair

    try:
        whole(path, write, named=named)
    except OSError as error:
        raise LiftError(f"{path}: cannot be written: {error.strerror}") from error


# ---------------------------------------------------------------- the verdicts


def score_row(row: Row, benchmark: Benchmark, prefix: str, where: str) -> dict[str, Any]:
    """The metrics of one problem. They join its line, each answer's the line's `doc.verdicts`."""
    doc, texts = row["doc"], row["resps"][0]
    try:
        doc["verdicts"], metrics = judge(benchmark, doc, [prefix + text for text in texts])
    except LiftError as error:
        raise LiftError(f"{where}: {_short(error)}") from error
    except KeyError as error:
        raise LiftError(f"{where}: doc: no field {error}; is this a log of another task?") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise LiftError(f"{where}: doc: not a row of this task's dataset ({_short(error)})") from error
    row.update(metrics)
    return metrics


def aggregate(benchmark: Benchmark, values: list[dict[str, Any]]) -> dict[str, float]:
    """Every metric over the problems, and its standard error as `NAME_stderr` (nan for one problem)."""
    metrics: dict[str, float] = {}
    for name in values[0]:
        column = [value[name] for value in values]
        how = benchmark.metrics.get(name, "mean")
        if isinstance(how, str):
            metrics[name], metrics[f"{name}_stderr"] = mean_and_error(column)
        else:
            metrics[name] = how(column)
            if (error := getattr(how, "stderr", None)) is not None:
                metrics[f"{name}_stderr"] = error(column)
    return metrics


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean and its standard error, sample standard deviation / sqrt(n)."""
    n = len(values)
    mean = sum(values) / n
    spread = sum((value - mean) ** 2 for value in values)
    return mean, sqrt(spread / (n - 1) / n) if n > 1 else float("nan")
