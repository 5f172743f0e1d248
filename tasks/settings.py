"""What the task files say, for those who do not go through lm-eval: settings, names, groups.

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


@cache
def _settings() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((FOLDER / "settings.yaml").read_text(encoding="utf-8"))


def task_names() -> list[str]:
    """The project's task names."""
    return sorted(_settings())


def generation_settings(task_name: str) -> dict[str, Any]:
    """Decoding settings (`gen_length`, `steps`, ...) of a task of ours; {} for any other task."""
    return dict(_settings().get(task_name, {}))


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
    found = map(_read, sorted(FOLDER.glob("*/lift_*.yaml")))
    return {config["task" if "benchmark" in config else "group"]: config for config in found}


def task_config(name: str) -> dict[str, Any]:
    """What the file of a task says, with what it includes.

    Raises:
        LiftError: there is no such task.
    """
    if name not in task_names():
        raise LiftError(f"no task {name!r}: {did_you_mean(name, task_names())}")
    return _files()[name]


def expand(names: Iterable[str]) -> list[str]:
    """Task names of ours from names with or without `lift_`, and from groups; each once.

    Raises:
        LiftError: a name is none of these.
    """
    found: list[str] = []
    for name in names:
        full = name if name in _files() else f"lift_{name}"
        if full not in _files():
            raise LiftError(f"no task {name!r}: {did_you_mean(name, _files())}")
        found += _files()[full]["task"] if "group" in _files()[full] else [full]
    return list(dict.fromkeys(found))
