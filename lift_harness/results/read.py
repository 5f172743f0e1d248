"""From what the user names to the rows of a comparison: run folders, lm-eval's output, single files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lift_harness.compare.published import method_name
from lift_harness.errors import LiftError
from lift_harness.results.layout import ONE, length_of, seed_folders, task_at
from lift_harness.results.logs import (
    Evaluation,
    mapping,
    model_of,
    read_items,
    read_object,
    read_results,
)
from lift_harness.sample_logs import LOG, RESULTS, number

UNNAMED = "answers"  # the task of logs that do not say which they are of
MAKES = "give a run folder of train-eval, an lm-eval output folder, a results_*.json or a *.scored.jsonl"


@dataclass
class Row:
    """A model, or a method of a run with all its seeds: one row of the tables.

    Attributes:
        name: unique among the rows.
        path: what the user named.
        seeds: seed -> its evaluations; "" for a row without seeds.
        model: the checkpoint it is, or was trained from.
        method: "base", "vanilla", "lift H=3", ... (`published.method_name`), None where not known.
        data: what it was trained on (`data[].source` of the recipe).
        expected: task -> metric -> value that the run's own results.json has.
        notes: what was missing or left out.
    """

    name: str
    path: Path
    seeds: dict[str, list[Evaluation]]
    model: str | None = None
    method: str | None = None
    data: tuple[str, ...] = ()
    expected: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def tasks(self) -> list[str]:
        """Its tasks, in the order of the results."""
        return list(dict.fromkeys(one.task for found in self.seeds.values() for one in found))


def load(paths: Iterable[str | Path], names: Mapping[str, str | Path] | None = None) -> list[Row]:
    """The rows of a comparison, in the order of the paths.

    Args:
        paths: run folders, folders of them, lm-eval output folders, results_*.json, sample logs.
        names: name -> path: what to call the row, or to put before its rows' names. A path that is not among
            `paths` is added.

    Raises:
        LiftError: a path is not there, or holds nothing that can be compared.
    """
    called = {Path(path): name for name, path in (names or {}).items()}
    wanted = list(dict.fromkeys([*map(Path, paths), *called]))
    if not wanted:
        raise LiftError(f"nothing to compare; {MAKES}")
    groups = [(path, rows_of(path)) for path in wanted]
    name_rows(groups, called)
    rows = [row for _, found in groups for row in found]
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
        runs = [rows_of_run(folder) for folder in sorted(path.iterdir()) if is_run(folder)]
        rows = [row for found in runs for row in found] or rows_of_output(path)
    rows = [row for row in rows if row.tasks]
    if not rows:
        raise LiftError(f"{str(path)!r} holds no results that can be compared; {MAKES}")
    return rows


def rows_of_file(file: Path) -> list[Row]:
    """The row of a results file or of a log."""
    if file.suffix == ".jsonl":
        return [row_of_log(file)]
    notes: list[str] = []
    data = read_object(file, notes)
    if mapping(data.get("results")):
        return [row_of_results([(file, data)], file, file.parent.name, notes)]
    if isinstance(data.get("scores"), dict):
        return rows_of_run(file.parent)
    reason = notes[0] if notes else f"{file} holds no results"
    raise LiftError(f"{reason}; {MAKES}")


def row_of_log(file: Path) -> Row:
    """A log on its own: the problems, without settings unless its results file is beside it."""
    notes: list[str] = []
    items, named = read_items(file, notes)
    if not items:
        raise LiftError(f"{notes[0] if notes else f'{file} holds no samples'}; give a log of lm-eval's")
    match = LOG.fullmatch(file.name)
    task = named or (match["task"] if match else UNNAMED)
    one = Evaluation(task, ONE, file, log=file, items=items, n_items=len(items))
    row = Row(file.name.removesuffix(".jsonl").removesuffix(".scored"), file, {"": [one]}, notes=notes)
    beside = file.parent / f"results_{match['time']}.json" if match else None
    if beside and beside.is_file():
        data = read_object(beside, notes)
        for found in read_results(data, beside, ONE):
            if found.task == task:  # its numbers are those of the first scoring, not of this log
                one.settings, one.n_total = found.settings, found.n_total
        set_model(row, data)
    return row


# ---------------------------------------------------------------- lm-eval's output


def rows_of_output(folder: Path) -> list[Row]:
    """A row for each model below an lm-eval output folder."""
    notes: list[str] = []
    models: dict[tuple[Path, str], list[tuple[Path, dict[str, Any]]]] = {}
    for file in sorted(folder.rglob("results_*.json")):
        data = read_object(file, notes)
        if mapping(data.get("results")):
            models.setdefault((file.parent, str(data.get("model_name"))), []).append((file, data))
    alone = len(models) == 1
    if not models:
        return [row_of_log(file) for file in sorted(folder.glob("*.scored.jsonl"))]
    rows: list[Row] = []
    for (where, model), found in models.items():
        shared = [other for other, _ in models if other == where]
        name = folder.name if alone else model if len(shared) > 1 else where.name
        rows.append(row_of_results(found, folder, name, notes if not rows else []))
    return rows


def row_of_results(
    files: Sequence[tuple[Path, dict[str, Any]]], path: Path, name: str, notes: list[str]
) -> Row:
    """The row of one model's results files: of each task the newest."""
    row = Row(name or "results", path, {"": []}, notes=notes)
    row.seeds[""] = newest(files, ONE, None, row.notes)
    set_model(row, files[-1][1])
    return row


def newest(
    files: Sequence[tuple[Path, dict[str, Any]]], label: str, length: str | None, notes: list[str]
) -> list[Evaluation]:
    """Of each task in some results files the newest evaluation, with its items."""
    found: dict[str, Evaluation] = {}
    for file, data in sorted(files, key=lambda one: one[0].name):  # the name has the time
        for one in read_results(data, file, label):
            if one.task in found:
                older = found.pop(one.task)
                notes.append(
                    f"{one.task}: {one.source} is used, which is newer than {older.source.name} "
                    "of the same model"
                )
            found[one.task] = one
    for one in found.values():
        match = RESULTS.fullmatch(one.source.name)
        log = one.source.parent / f"samples_{one.task}_{match['time']}.jsonl" if match else None
        if log and log.is_file():
            one.log, (one.items, _) = log, read_items(log, notes)
        one.task = task_at(one.task, length)
    return list(found.values())


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
    """The base model and every method of a run, with the seeds of each."""
    notes: list[str] = []
    recipe = read_recipe(folder / "recipe.yaml", notes)
    file = folder / "results.json"
    scores = mapping(read_object(file, notes).get("scores")) if file.is_file() else {}
    if not file.is_file():
        notes.append(f"{folder} has no results.json: the run has not ended, or was interrupted")
    methods = {str(one.get("name")): one for one in recipe.get("methods") or [] if isinstance(one, dict)}
    evaluated = [p.name for p in sorted(folder.iterdir()) if (p / "eval").is_dir() or any(p.glob("seed-*"))]
    model = recipe.get("model") if isinstance(recipe.get("model"), str) else None
    sources = [str(mapping(part).get("source")) for part in recipe.get("data") or []]
    rows: list[Row] = []
    for name in dict.fromkeys(["base", *methods, *scores, *evaluated]):
        if only is not None and name != only:
            continue
        row = Row(name, folder, {}, model, notes=[] if rows else notes)
        row.method = "base" if name == "base" else method_name(mapping(methods.get(name)).get("objective"))
        row.data = () if name == "base" else tuple(sources)
        row.expected = expected_of(mapping(scores.get(name)))
        row.seeds = seeds_of(folder / name, row)
        if not row.tasks and row.expected:
            row.seeds = {"": without_files(folder / "results.json", mapping(scores[name]))}
        rows.append(row)
    return rows


def read_recipe(file: Path, notes: list[str]) -> dict[str, Any]:
    """The recipe as it was resolved; {} where there is none."""
    try:
        return mapping(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        notes.append(f"{file} cannot be read: model and methods of this run are not known")
        return {}


def seeds_of(folder: Path, row: Row) -> dict[str, list[Evaluation]]:
    """The evaluations of METHOD/, or of METHOD/seed-N/ each."""
    found = {seed: list(evaluations_of(place, row)) for seed, place in seed_folders(folder).items()}
    found = {seed: known for seed, known in found.items() if known}
    return found or {"": list(evaluations_of(folder, row))}


def evaluations_of(folder: Path, row: Row) -> Iterator[Evaluation]:
    """What lm-eval left below METHOD/eval: one/, one-512/ (tasks at that gen_length), samples/."""
    files: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for file in sorted(folder.glob("eval/**/results_*.json")):
        data = read_object(file, row.notes)
        if mapping(data.get("results")):
            files.setdefault(file.relative_to(folder / "eval").parts[0], []).append((file, data))
    for label in sorted(files, key=lambda label: (label != ONE, label)):
        yield from newest(files[label], label, length_of(label), row.notes)


def expected_of(scores: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Values by task and metric of a row in results.json."""
    return {
        str(task): {
            name: value
            for name, one in mapping(metrics).items()
            if (value := number(mapping(one).get("value"))) is not None
        }
        for task, metrics in scores.items()
    }


def without_files(file: Path, scores: Mapping[str, Any]) -> list[Evaluation]:
    """A row of which only results.json is left: values and standard errors."""
    found = []
    for task, metrics in scores.items():
        one = Evaluation(str(task), ONE, file)
        for name, metric in mapping(metrics).items():
            value = number(mapping(metric).get("value"))
            if value is not None:
                one.aggregates[name] = (value, number(mapping(metric).get("stderr")))
        found.append(one)
    return found


# ---------------------------------------------------------------- names


def name_rows(groups: Sequence[tuple[Path, list[Row]]], called: Mapping[Path, str]) -> None:
    """Unique names: what the user says, else as short as can be."""
    for path, rows in groups:
        if path in called:
            for row in rows:
                row.name = called[path] if len(rows) == 1 else f"{called[path]}/{row.name}"
    everything = [(path, row) for path, rows in groups for row in rows]
    own = {id(row): row.name for _, row in everything}
    for depth in range(1, 4):  # RUN/METHOD, PARENT/RUN/METHOD, ...
        names = [row.name for _, row in everything]
        for _, row in everything:
            if names.count(row.name) > 1:
                row.name = "/".join([*place(row).parts[-depth:], own[id(row)]])
    taken: set[str] = set()
    for _, row in everything:
        name, i = row.name, 2
        while row.name in taken:
            row.name, i = f"{name} ({i})", i + 1
        taken.add(row.name)


def place(row: Row) -> Path:
    """The folder that tells a row from another one of the same name."""
    path = row.path.resolve()
    same = path.name in (row.name, f"{row.name}.jsonl", f"{row.name}.scored.jsonl")
    return path.parent if same or path.is_file() else path


def name_tasks(rows: Sequence[Row]) -> None:
    """Logs that do not say their task are of the task with which they share the most problems."""
    known = [one for row in rows for found in row.seeds.values() for one in found if one.task != UNNAMED]
    for row in rows:
        for one in (one for found in row.seeds.values() for one in found if one.task == UNNAMED):
            shared = {other.task: len(one.items.keys() & other.items.keys()) for other in known}
            if shared and max(shared.values()):
                one.task = max(shared, key=lambda task: shared[task])
