"""How a run's folder is laid out, for those who write it and those who read it. Only the standard library.

METHOD/ holds `train.json`, `train/`, `eval.json` and `eval/`; with several seeds METHOD/seed-N/ does. Below
`eval/` each lm-eval run has a folder by its label: `one` (the protocol's one answer a problem), `one-512` (at
that gen_length; its tasks are called TASK@512) and `samples` (several answers, for pass@k).
"""

from __future__ import annotations

import re
from pathlib import Path

ONE, SAMPLES = "one", "samples"


def label(length: int | None) -> str:
    """The label of the run with one answer a problem, at a gen_length of its own or the task's."""
    return ONE if length is None else f"{ONE}-{length}"


def length_of(label: str) -> str | None:
    """512 of `one-512`, None of other labels."""
    match = re.fullmatch(rf"{ONE}-(\d+)", label)
    return match and match[1]


def kind_and_task(label: str, task: str) -> tuple[str, str]:
    """Which of the two kinds a run's answers are, and what the results call its task."""
    return (SAMPLES if label == SAMPLES else ONE), task_at(task, length_of(label))


def task_at(task: str, length: int | str | None) -> str:
    """What the results call a task that was run at a gen_length of its own."""
    return task if length is None else f"{task}@{length}"


def method_folder(method: str, seed: int, seeds: int) -> str:
    """Where one training of a method is, of as many as there are seeds."""
    return method if seeds == 1 else f"{method}/seed-{seed}"


def is_plain(name: str) -> bool:
    """Whether a name that a file gives is that of a folder beside it, and leads nowhere else."""
    leads_away = name in ("", ".", "..") or "/" in name or "\\" in name
    return not leads_away and name.isprintable() and len(name.encode()) < 256


def seed_folders(folder: Path) -> dict[str, Path]:
    """The seeds' folders of a method by their numbers, in order; {} where there is one training."""
    folders = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
    return {path.name.removeprefix("seed-"): path for path in folders if path.is_dir()}
