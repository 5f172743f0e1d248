"""What rows are called: by folder or method, and by the settings in which rows of one model differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lift_harness.results.logs import mapping
from lift_harness.results.rows import Row

# What a setting was before the results named it (decoding.DecodingConfig's defaults).
UNNAMED: dict[str, Any] = {
    **{"top_p": 1.0, "top_k": 0, "confidence_from": "model", "entropy_bound": None, "eps": 1e-3},
    **{"suppress_tokens": [], "cfg_scale": 0.0, "cache": "none", "threshold": None, "factor": None},
}
NO_NAMES = {"seed", "exact", "until", "max_gen_toks"}  # a key of random numbers, or what follows from others


def name_rows(rows: Sequence[Row]) -> None:
    """Unique names: as they are, with the settings that differ, or as much of the path as is needed."""
    own = [row.name for row in rows]
    for same in (rows_called(rows, name) for name in own):
        labels = setting_labels(same) if len(set(map(weights_of, same))) == 1 else []
        if len(same) > 1 and all(labels) and len(set(labels)) == len(same):
            for row, label in zip(same, labels, strict=True):
                row.name = f"{row.name} {label}"
    for depth in range(1, 4):  # RUN/METHOD, PARENT/RUN/METHOD, ...
        names = [row.name for row in rows]
        for row, name in zip(rows, own, strict=True):
            if names.count(row.name) > 1:
                row.name = "/".join([*folder_of(row).parts[-depth:], name])
    taken: set[str] = set()
    for row in rows:
        name, i = row.name, 2
        while row.name in taken:
            row.name, i = f"{name} ({i})", i + 1
        taken.add(row.name)


def rows_called(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows of that name."""
    return [row for row in rows if row.name == name]


def folder_of(row: Row) -> Path:
    """The folder that tells a row from another one of the same name."""
    path = row.path.resolve()
    same = path.name in (row.name, f"{row.name}.jsonl", f"{row.name}.scored.jsonl")
    return path.parent if same or path.is_file() else path


# ---------------------------------------------------------------- by settings


def name_by_settings(rows: Sequence[Row]) -> None:
    """Call the rows of each model by the settings in which they differ, after the model if there are several.

    Of a model of which they do not tell all rows apart the names stay.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(weights_of(row), []).append(row)
    models = model_names(rows)
    for same in groups.values():
        labels = setting_labels(same)
        if len(set(labels)) < len(same):
            continue
        names = {row.name: models[row.name] for row in same}
        for row, label in zip(same, labels, strict=True):
            of = names[row.name] if len(groups) > 1 or not label else ""
            row.name = " ".join(filter(None, [of, label]))


def setting_labels(rows: Sequence[Row]) -> list[str]:
    """Of each row the decoding settings in which the rows differ, "cache=dual steps=32"; "" without any."""
    decodings = [decoding_of(row) for row in rows]
    tasks = [task for task in decodings[0] if all(task in of_row for of_row in decodings)]
    varying: dict[str, str] = {}  # setting -> the first task in which it differs
    for task in tasks:
        for name in dict.fromkeys(name for of_row in decodings for name in of_row[task]):
            values = {str(of_row[task].get(name)) for of_row in decodings}
            if len(values) > 1 and name not in NO_NAMES:
                varying.setdefault(name, task)
    labels = []
    for of_row in decodings:
        known = {name: of_row[task].get(name) for name, task in varying.items()}
        labels.append(" ".join(f"{name}={value}" for name, value in known.items() if value is not None))
    return labels


def decoding_of(row: Row) -> dict[str, dict[str, Any]]:
    """The decoding settings of a row's tasks, of the first evaluation of each."""
    settings: dict[str, dict[str, Any]] = {}
    for one in row.evaluations:
        if decoding := mapping(one.settings.get("decoding")):
            settings.setdefault(one.task, {**decoding, **UNNAMED, **decoding})  # in their order
    return settings


def weights_of(row: Row) -> str:
    """What tells a row's model from others: the checkpoint and adapter that its results files name."""
    named = [one.settings["weights"] for one in row.evaluations if "weights" in one.settings]
    return str(named[0]) if named else f"{row.model} {row.name}"


def model_names(rows: Sequence[Row]) -> dict[str, str]:
    """Row's name -> its model's: the last part of a path or Hub id, all of it where two would be the same."""
    weights = {row.name: weights_of(row) for row in rows}
    short = {full: Path(full.split(" + ")[-1]).name or full for full in weights.values()}
    shared = [name for name in short.values() if list(short.values()).count(name) > 1]
    return {row: full if short[full] in shared else short[full] for row, full in weights.items()}
