"""What the task files say, for those who do not go through lm-eval: decoding, names, groups.

Imports neither torch nor lm_eval.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lift_harness.errors import LiftError, did_you_mean

FOLDER = Path(__file__).parent


class _Loader(yaml.SafeLoader):
    """YAML with lm-eval's `!function`, which is not looked at."""


_Loader.add_constructor("!function", lambda loader, node: None)


def _read(path: Path) -> dict[str, Any]:
    config = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
    if isinstance(config, dict) and isinstance(config.get("include"), str):
        return {**_read(path.parent / config["include"]), **config}
    return config


@cache
def _files() -> dict[str, dict[str, Any]]:
    """The task and group files by name."""
    configs = [_read(path) for path in sorted(FOLDER.glob("*/lift_*.yaml"))]
    return {config["task" if "benchmark" in config else "group"]: config for config in configs}


@cache
def _tasks() -> dict[str, dict[str, Any]]:
    return {name: config for name, config in _files().items() if "benchmark" in config}


def task_names() -> list[str]:
    """The project's task names."""
    return sorted(_tasks())


def task_config(name: str) -> dict[str, Any]:
    """What the file of a task says, with what it includes.

    Raises:
        LiftError: there is no such task.
    """
    if name not in _tasks():
        raise LiftError(f"no task {name!r}: {did_you_mean(name, task_names())}")
    return _tasks()[name]


def decoding_settings(task_name: str) -> dict[str, Any]:
    """Decoding settings (`gen_length`, `steps`, ...) of a task of ours; {} for any other task."""
    metadata = _tasks().get(task_name, {}).get("metadata", {})
    return dict(metadata.get("decoding", {}))


def own_words(task_name: str) -> dict[str, str]:
    """The instruction and the question that the file of a task of ours has; {} for any other task."""
    config = _tasks().get(task_name, {})
    return {key: config[key] for key in ("instruction", "question") if key in config}


def bare_names() -> dict[str, str]:
    """What tasks of ours are called under `lift_dlm`: {"gsm8k": "lift_gsm8k", ...}."""
    return {config["bare_name"]: name for name, config in _tasks().items() if "bare_name" in config}


def is_ours(name: str) -> bool:
    """Whether a name, with or without `lift_`, is that of a task or a group of ours."""
    return name in _files() or f"lift_{name}" in _files()


def expand(names: Iterable[str]) -> list[str]:
    """Task names of ours from names with or without `lift_`, and from groups; each once.

    Raises:
        LiftError: a name is none of these.
    """
    expanded: list[str] = []
    for name in names:
        full = name if name in _files() else f"lift_{name}"
        if full not in _files():
            raise LiftError(f"no task {name!r}: {did_you_mean(name, _files())}")
        expanded += [full] if full in _tasks() else _files()[full]["task"]
    return list(dict.fromkeys(expanded))
