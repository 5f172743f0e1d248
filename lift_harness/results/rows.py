"""Rows: a model or a method with its evaluations, from the folder of a run or from lm-eval's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lift_harness.papers import PAPERS
from lift_harness.results.aggregates import read_results
from lift_harness.results.layout import ONE, is_plain, length_of, seed_folders, task_at
from lift_harness.results.logs import (
    LOG,
    RESULTS,
    Evaluation,
    Notes,
    mapping,
    number,
    read_items,
    read_object,
    whole,
)

# What of a source of training data makes it another one.
NARROWING = ("config", "split", "where", "below", "max_chars", "min_tokens", "max_tokens", "n")
ResultsFile = tuple[Path, dict[str, Any]]  # a results_*.json and what it holds
STAGES = ("train.json", "eval.json", "train", "eval")  # one of them is in the folder of a training


@dataclass
class Row:
    """A model, or a method of a run with all its seeds: one row of the tables.

    Attributes:
        name: unique among the rows.
        path: what the user named.
        seeds: seed -> its evaluations; "" for a row without seeds.
        model: the checkpoint it is, or was trained from.
        method: "base", "vanilla", "lift H=3", "lift H=3 rho=fixed:0.1", ... (`method_name`); None: not known.
        data: what it was trained on (`data_name` of each source of the recipe).
        training: its settings, as far as the recipe says them.
        paper: whose table the recipe reproduces, as "arXiv 2605.22939"; None: nobody's.
        folders: of a run: seed -> the folder of its training and evaluation, evaluated or not.
        expected: task -> metric -> value that the run's own results.json has.
        notes: what was missing or left out.
    """

    name: str
    path: Path
    seeds: dict[str, list[Evaluation]]
    model: str | None = None
    method: str | None = None
    data: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    paper: str | None = None
    folders: dict[str, Path] = field(default_factory=dict)
    expected: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)

    @property
    def tasks(self) -> list[str]:
        """Its tasks, in the order of the results."""
        return list(dict.fromkeys(evaluation.task for evaluation in self.evaluations))

    @property
    def evaluations(self) -> Iterator[Evaluation]:
        """Those of all seeds."""
        for evaluations in self.seeds.values():
            yield from evaluations


def method_name(objective: object) -> str | None:
    """The paper's method that a recipe's objective is; None where an option makes it another one."""
    if not isinstance(objective, dict) or not isinstance(objective.get("name"), str):
        return None
    options = dict(objective)
    name = options.pop("name")
    options.pop("variant", None)  # the authors' release is a reading of the same method
    if name in ("lift", "lift_a"):
        name = f"{name} H={options.pop('H', 3)}"
        rho = options.pop("rho", None) or "uniform"
        name += "" if rho == "uniform" else f" rho={rho}"
    if name == "gift" and options.get("weight") in (None, "published"):
        options.pop("weight", None)
        name += " reference" if options.pop("reference", None) else ""
        for option, usual in (("metric", "sqrt_entropy"), ("form", "masking")):
            value = options.pop(option, None) or usual
            name += "" if value == usual else f" {option}={value}"
    return None if options else name


def data_name(source: Mapping[str, Any]) -> str:
    """A source of a recipe as what it gives: its name, and what narrows it down ("tulu-3 n=10000")."""
    narrowing = [f"{key}={source[key]}" for key in NARROWING if source.get(key) not in (None, {})]
    return " ".join([str(source.get("source")), *narrowing])


# ---------------------------------------------------------------- lm-eval's files


def results_files(folder: Path, notes: Notes) -> Iterator[ResultsFile]:
    """The results files of lm-eval below a folder, by path."""
    for file in sorted(folder.rglob("results_*.json")):
        data = read_object(file, notes)
        if mapping(data.get("results")):
            yield file, data


def newest(files: Sequence[ResultsFile], label: str, notes: Notes) -> list[Evaluation]:
    """Of each task in some results files the newest evaluation, with its items."""
    by_task: dict[str, Evaluation] = {}
    for file, data in sorted(files, key=lambda pair: pair[0].name):  # the name has the time
        for evaluation in read_results(data, file, label):
            older = by_task.pop(evaluation.task, None)
            by_task[evaluation.task] = evaluation
            if older:
                notes.add(
                    f"{older.task}: {notes.name(file)} is used, which is newer than {older.source.name} "
                    "of the same model"
                )
    for task, evaluation in by_task.items():
        match = RESULTS.fullmatch(evaluation.source.name)
        log = evaluation.source.parent / f"samples_{task}_{match['time']}.jsonl" if match else None
        if log and log.is_file():
            evaluation.log, (evaluation.items, _) = log, read_items(log, notes)
        evaluation.task = task_at(task, length_of(label))
    return list(by_task.values())


# ---------------------------------------------------------------- runs of train-eval


def run_rows(
    folder: Path,
    recipe: Mapping[str, Any],
    results: Mapping[str, Any],
    *,
    only: str | None = None,
    root: Path | None = None,
) -> Iterator[Row]:
    """The base model and every method of a run, with the seeds of each, evaluated or not.

    Args:
        folder: of the run.
        recipe: as resolved, as far as it could be read.
        results: what results.json holds, as far as it could be read.
        only: the name of the row that is wanted; None: all.
        root: the folder from which the rows' notes name files; None: by their whole path.
    """
    scores = mapping(results.get("scores"))
    settings = [mapping(method) for method in listed(recipe.get("methods"))]
    methods = {str(method["name"]): method for method in settings if "name" in method}
    sources = [data_name(mapping(part)) for part in listed(recipe.get("data"))]
    folders = [path.name for path in sorted(folder.iterdir()) if method_folders(path, recipe)]
    model = recipe.get("model") if isinstance(recipe.get("model"), str) else None
    for name in dict.fromkeys(["base", *methods, *scores, *folders]):
        if only not in (None, name):
            continue
        row = Row(name, folder, {}, model, notes=Notes(root=root))
        row.method = "base" if name == "base" else method_name(mapping(methods.get(name)).get("objective"))
        if name != "base":
            own = mapping(mapping(methods.get(name)).get("training"))
            row.data, row.training = tuple(sources), {**mapping(recipe.get("training")), **own}
        row.paper = PAPERS.get(str(recipe.get("reproduces") or "").partition(",")[0])
        row.expected = {task: values_of(metrics) for task, metrics in mapping(scores.get(name)).items()}
        row.folders = method_folders(folder / name, recipe) if is_plain(name) else {}
        for seed, arm in row.folders.items():
            if evaluations := list(evaluations_of(arm, row.notes)):
                row.seeds[seed] = evaluations
        add_missing(row, results)
        yield row


def listed(value: Any) -> list[Any]:
    """A list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def method_folders(folder: Path, recipe: Mapping[str, Any]) -> dict[str, Path]:
    """By seed the folders METHOD/seed-N, or METHOD/ for "", that hold a training or an evaluation.

    Where there are those of the recipe's seeds, others do not count: an earlier recipe left them.
    """
    places = {"": folder, **seed_folders(folder)}
    trained = {seed: place for seed, place in places.items() if is_trained(place)}
    wanted = {seed: place for seed, place in trained.items() if trains_with(recipe, seed)}
    if not wanted and len(trained) > 1:
        trained.pop("", None)  # the seeds are the method
    return wanted or trained


def trains_with(recipe: Mapping[str, Any], seed: str) -> bool:
    """Whether it is one of a recipe's seeds, or "" and there is only one; not where they are not known."""
    first, n = whole(recipe.get("seed")), whole(recipe.get("seeds"))
    if first is None or n is None:
        return False
    return seed == "" if n == 1 else seed.isdecimal() and first <= int(seed) < first + n


def is_trained(folder: Path) -> bool:
    """Whether a training or an evaluation is in a folder."""
    return any((folder / name).exists() for name in STAGES)


def evaluations_of(folder: Path, notes: Notes) -> Iterator[Evaluation]:
    """What lm-eval left below METHOD/eval: one/, one-512/ (tasks at that gen_length), samples/."""
    files: dict[str, list[ResultsFile]] = {}
    for file, data in results_files(folder / "eval", notes):
        files.setdefault(label_of(file, folder), []).append((file, data))
    logs: dict[str, list[Path]] = {}
    for log in sorted(folder.glob("eval/**/samples_*.jsonl")):
        logs.setdefault(label_of(log, folder), []).append(log)
    evaluated = False
    for label in sorted({*files, *logs}, key=lambda label: (label != ONE, label)):
        evaluations = newest(files.get(label, []), label, notes)
        known = [evaluation.task for evaluation in evaluations]
        logged = logs_alone(logs.get(label, []), label, known, notes)
        evaluated = evaluated or bool(evaluations or logged)
        yield from (*evaluations, *logged)
    if not evaluated:  # only the stage's own record is left
        record = folder / "eval.json"
        yield from without_files(record, mapping(read_object(record, notes).get("result")))


def label_of(file: Path, folder: Path) -> str:
    """The label of the lm-eval run that wrote a file below METHOD/eval."""
    return file.relative_to(folder / "eval").parts[0]


def logs_alone(logs: Sequence[Path], label: str, known: Sequence[str], notes: Notes) -> list[Evaluation]:
    """Of each task that no results file has the newest log: an evaluation without settings."""
    newest_log: dict[str, Path] = {}
    for log in sorted(logs, key=lambda log: log.name):  # of one task by time
        match = LOG.fullmatch(log.name)
        if match and not match["again"] and task_at(match["task"], length_of(label)) not in known:
            newest_log[task_at(match["task"], length_of(label))] = log
    evaluations = []
    for task, log in newest_log.items():
        items, _ = read_items(log, notes)
        if items:
            evaluations.append(Evaluation(task, label, log, log=log, items=items, n_items=len(items)))
    return evaluations


def add_missing(row: Row, results: Mapping[str, Any]) -> None:
    """Add the tasks of which only results.json is left, seed by seed where it has the seeds."""
    known = row.tasks
    by_seed = mapping(mapping(results.get("seeds")).get(row.name))
    for seed, scores in (by_seed or {"": mapping(results.get("scores")).get(row.name)}).items():
        missing = {task: metrics for task, metrics in mapping(scores).items() if task not in known}
        if missing:
            row.seeds.setdefault(seed, []).extend(without_files(row.path / "results.json", missing))


def without_files(file: Path, scores: Mapping[str, Any]) -> Iterator[Evaluation]:
    """Evaluations of which a record is left: values and standard errors."""
    for task, metrics in scores.items():
        evaluation = Evaluation(str(task), ONE, file)
        for name, value in values_of(metrics).items():
            score = mapping(metrics[name])
            # With several seeds the error is that over seeds, which says nothing of other problems.
            error = None if "n_seeds" in score else number(score.get("stderr"))
            evaluation.aggregates[name] = (value, error)
        yield evaluation


def values_of(metrics: Any) -> dict[str, float]:
    """The values by metric of a task in results.json or eval.json."""
    values = {name: number(mapping(score).get("value")) for name, score in mapping(metrics).items()}
    return {name: value for name, value in values.items() if value is not None}
