"""From what the user names to rows: run folders, lm-eval's output, single files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.results.aggregates import model_of, read_results
from lift_harness.results.layout import ONE
from lift_harness.results.logs import LOG, Evaluation, Notes, mapping, read_items, read_object
from lift_harness.results.names import name_by_settings, name_rows
from lift_harness.results.rows import ResultsFile, Row, newest, results_files, run_rows
from lift_harness.yaml_values import read_yaml

UNNAMED = "answers"  # the task of logs that do not say which they are of
MAKES = "give a run folder of train-eval, an lm-eval output folder, a results_*.json or a *.scored.jsonl"


def load(
    paths: Iterable[str | Path], names: Mapping[str, str | Path] | None = None, *, by_settings: bool = False
) -> list[Row]:
    """The rows of a comparison, in the order of the paths.

    Args:
        paths: run folders, folders of them, lm-eval output folders, results_*.json, sample logs.
        names: name -> path: what to call the row, or to put before its rows' names. A path that is not among
            `paths` is added.
        by_settings: call rows without such a name, and not of a run, by the settings in which they differ.

    Raises:
        LiftError: a path is not there, or holds nothing that can be compared, or has two names.
    """
    called: dict[Path, str] = {}
    for name, path in (names or {}).items():
        if Path(path) in called:
            raise LiftError(f"{path} is called {called[Path(path)]} and {name}; give it one name")
        called[Path(path)] = name
    given = list(map(Path, paths))
    wanted = list(dict.fromkeys([*given, *called]))
    if not wanted:
        raise LiftError(f"nothing to compare; {MAKES}")
    rows: list[Row] = []
    unnamed: list[Row] = []
    for path in wanted:
        of_path = rows_of(path)
        unnamed += [row for row in of_path if path not in called and not row.folders]
        if path in called:
            for row in of_path:
                row.name = called[path] if len(of_path) == 1 else f"{called[path]}/{row.name}"
        rows += of_path
    for path in wanted:
        if given.count(path) > 1:
            rows[0].notes.add(f"{path} is named {given.count(path)} times; its rows are here once")
    if by_settings:
        name_by_settings(unnamed)
    name_rows(rows)
    name_tasks(rows)
    return rows


def rows_of(path: Path) -> list[Row]:
    """The rows of one path."""
    if path.is_file():
        rows = rows_of_file(path)
    elif not path.is_dir():
        raise LiftError(f"no file or folder {str(path)!r}; {MAKES}")
    elif is_run(path):
        rows = rows_of_run(path)
    elif is_arm(path):
        rows = [row for row in rows_of_run(path.parent, only=path.name) if row.seeds]
    else:
        rows = []
        for folder in filter(is_run, sorted(path.iterdir())):
            rows += rows_of_run(folder)
        rows = rows or rows_of_output(path)
    rows = [row for row in rows if row.tasks]
    if not rows:
        raise LiftError(f"{str(path)!r} holds no results that can be compared; {MAKES}")
    return rows


def rows_of_file(file: Path) -> list[Row]:
    """The row of a results file or of a log."""
    if file.suffix == ".jsonl":
        return [row_of_log(file)]
    notes = Notes()
    data = read_object(file, notes)
    if mapping(data.get("results")):
        return [row_of_results([(file, data)], file, file.parent.name, notes)]
    if isinstance(data.get("scores"), dict):
        return rows_of_run(file.parent)
    reason = notes[0] if notes else f"{file} holds no results"
    raise LiftError(f"{reason}; {MAKES}")


def row_of_log(file: Path) -> Row:
    """A log on its own: the problems, without settings unless its results file is beside it."""
    notes = Notes()
    items, named = read_items(file, notes)
    if not items:
        raise LiftError(f"{notes[0] if notes else f'{file} holds no samples'}; give a log of lm-eval's")
    match = LOG.fullmatch(file.name)
    task = named or (match["task"] if match else UNNAMED)
    evaluation = Evaluation(task, ONE, file, log=file, items=items, n_items=len(items))
    row = Row(file.name.removesuffix(".jsonl").removesuffix(".scored"), file, {"": [evaluation]}, notes=notes)
    beside = file.parent / f"results_{match['time']}.json" if match else None
    if beside and beside.is_file():
        data = read_object(beside, notes)
        for logged in read_results(data, beside, ONE):
            if logged.task == task:  # its numbers are those of the first scoring, not of this log
                evaluation.settings, evaluation.n_total = logged.settings, logged.n_total
        set_model(row, data)
    return row


# ---------------------------------------------------------------- lm-eval's output


def rows_of_output(folder: Path) -> list[Row]:
    """A row for each model below an lm-eval output folder."""
    notes = Notes()
    models: dict[tuple[Path, str], list[ResultsFile]] = {}
    for file, data in results_files(folder, notes):
        models.setdefault((file.parent, str(data.get("model_name"))), []).append((file, data))
    if not models:
        return [row_of_log(file) for file in sorted(folder.glob("*.scored.jsonl"))]
    rows: list[Row] = []
    for (where, model), files in models.items():
        shared = sum(other == where for other, _ in models) > 1
        name = folder.name if len(models) == 1 else model if shared else where.name
        rows.append(row_of_results(files, folder, name, Notes() if rows else notes))
    notes.add(*unused_logs(folder, models))
    return rows


def unused_logs(folder: Path, models: Mapping[Any, Sequence[ResultsFile]]) -> Iterator[str]:
    """The logs below an output folder that belong to none of its results files."""
    times = {
        (file.parent, file.stem.removeprefix("results_")) for files in models.values() for file, _ in files
    }
    for log in sorted(folder.rglob("*.jsonl")):
        match = LOG.fullmatch(log.name)
        if log.name.endswith(".scored.jsonl"):
            yield f"{log} is not used: beside results files a log that was scored again is to be named itself"
        elif match and (log.parent, match["time"]) not in times:
            yield f"{log} is not used: its results file is not there; name it itself"


def row_of_results(files: Sequence[ResultsFile], path: Path, name: str, notes: Notes) -> Row:
    """The row of one model's results files: of each task the newest."""
    row = Row(name or "results", path, {"": newest(files, ONE, notes)}, notes=notes)
    set_model(row, files[-1][1])
    return row


def set_model(row: Row, data: Mapping[str, Any]) -> None:
    """What model a results file is of: a checkpoint without an adapter is a base model."""
    row.model, adapter = model_of(data)
    row.method = None if adapter or not row.model else "base"


# ---------------------------------------------------------------- runs of train-eval


def is_run(folder: Path) -> bool:
    """Whether train-eval made it."""
    if not folder.is_dir():
        return False
    return (folder / "recipe.yaml").is_file() or (folder / "results.json").is_file()


def is_arm(folder: Path) -> bool:
    """Whether it is a method's folder inside a run."""
    return is_run(folder.parent) and ((folder / "eval").is_dir() or any(folder.glob("seed-*/eval")))


def rows_of_run(folder: Path, only: str | None = None) -> list[Row]:
    """The rows of a run, or only one of them; the first says what of the run is missing."""
    notes = Notes()
    recipe = read_recipe(folder / "recipe.yaml", notes)
    results = read_object(folder / "results.json", notes)
    if not (folder / "results.json").is_file():
        notes.add(f"{folder} has no results.json: the run has not ended, or was interrupted")
    rows = list(run_rows(folder, recipe, results, only=only))
    for row in rows[:1]:
        row.notes = Notes([*notes, *row.notes])
    return rows


def read_recipe(file: Path, notes: Notes) -> dict[str, Any]:
    """The recipe as it was resolved; {} where there is none."""
    try:
        return mapping(read_yaml(file))
    except (OSError, LiftError):
        notes.add(f"{file} cannot be read: model and methods of this run are not known")
        return {}


# ---------------------------------------------------------------- names


def name_tasks(rows: Sequence[Row]) -> None:
    """Logs that do not say their task are of the task with which they share the most problems."""
    evaluations: list[Evaluation] = []
    for row in rows:
        evaluations += row.evaluations
    named = [evaluation for evaluation in evaluations if evaluation.task != UNNAMED]
    for evaluation in evaluations:
        if evaluation.task != UNNAMED:
            continue
        shared = {other.task: len(evaluation.items.keys() & other.items.keys()) for other in named}
        if any(shared.values()):
            evaluation.task = max(shared, key=lambda task: shared[task])
