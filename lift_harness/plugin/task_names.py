"""Which task a name means: under `lift_dlm` the project's, where the user's own folders do not define it.

lm-eval takes a task as a name, a glob, a file, a folder, a dictionary or an object, and lists of these. Only
a plain name is ever replaced; everything else goes through as it came.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lift_harness.errors import did_you_mean

STOCK = "stock:"  # under `lift_dlm` a task's `bare_name` means ours, with this before it lm-eval's own


class ExactName(str):
    """The name of a task that has been looked up, or asked for as lm-eval's own: not to be replaced."""

    __slots__ = ()


def split(tasks: Any) -> Any:
    """Names with commas between them as a list, as lm-eval's command line splits them; others as they are."""
    names = [tasks] if isinstance(tasks, str) else tasks
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return tasks
    return [part for name in names for part in name.split(",")]


def renamed(tasks: Any, ours: bool, include_path: Any = None) -> Any:
    """The tasks that are meant, in the form that was given; says which names were replaced.

    Args:
        tasks: what a user asked for.
        ours: whether the model is `lift_dlm`.
        include_path: the user's own task folders, whose names stay theirs.
    """
    if not isinstance(tasks, (str, list)):
        return tasks
    asked = tasks if isinstance(tasks, list) else [tasks]
    replaced = _bare_names(asked, include_path) if ours else {}
    meant = [_meant(task, replaced) for task in asked]
    changed = [f"{a} -> {b}" for a, b in zip(asked, meant, strict=True) if isinstance(a, str) and a != b]
    if ours and changed:
        logging.getLogger("lm_eval").warning(
            "lift_dlm: tasks %s (%sNAME is lm-eval's own)", ", ".join(changed), STOCK
        )
    return meant if isinstance(tasks, list) else meant[0]


def not_found(names: Iterable[str], known: Iterable[str]) -> str:
    """One line for names of tasks that lm-eval does not have.

    Args:
        names: as they were asked for.
        known: what lm-eval has, some ten thousand names.
    """
    from lift_harness.tasks.catalog import bare_names, task_names

    own = [*bare_names(), *task_names()]
    everything = {*own, *known}
    lines = []
    for name in names:
        if name.endswith(".yaml"):
            lines.append(f"no task file {name}")
            continue
        near = difflib.get_close_matches(name, everything, n=3)
        lines.append(f"no task {name!r}: {did_you_mean(name, near or own)}")
    return "; ".join(lines)


def is_stock(name: str) -> bool:
    """Whether a file of lm-eval's own defines a task, a group or a tag of that name.

    Looked up in the text of its files, which takes a second: the index of all of them takes ten.
    """
    found = find_spec("lm_eval")
    places = found.submodule_search_locations if found else None
    key = rb"[\"']?(?:task|group|tag)[\"']?:[ \t]*"
    word = re.escape(name.encode())
    line = re.compile(
        rb"^[ \t]*(?:-[ \t]*)?(?:" + key + rb")?[\"']?" + word + rb"[\"']?[ \t]*(?:#.*)?\r?$", re.M
    )
    files = (file for place in places or () for file in Path(place, "tasks").rglob("*.yaml"))
    return any(line.search(file.read_bytes()) for file in files)


def _bare_names(asked: list[Any], include_path: Any) -> dict[str, str]:
    """Bare names that mean ours, of those that are asked for."""
    from lift_harness.tasks.catalog import bare_names

    ours = bare_names()
    names = {task for task in asked if isinstance(task, str) and not isinstance(task, ExactName)}
    wanted = {bare: full for bare, full in ours.items() if bare in names}
    if not wanted or not include_path:
        return wanted
    from lm_eval.tasks import TaskManager

    theirs = TaskManager(include_path=include_path, include_defaults=False).all_tasks
    return {bare: full for bare, full in wanted.items() if bare not in theirs}


def _meant(task: Any, replaced: Mapping[str, str]) -> Any:
    if not isinstance(task, str) or isinstance(task, ExactName):
        return task
    if task.startswith(STOCK):
        return ExactName(task.removeprefix(STOCK))
    return replaced.get(task, task)
