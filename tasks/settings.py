"""The generation settings of the protocol, task by task: `settings.yaml`, read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def _settings() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("settings.yaml").read_text(encoding="utf-8"))


def task_names() -> list[str]:
    """The project's task names."""
    return sorted(_settings())


def generation_settings(task_name: str) -> dict[str, Any]:
    """Decoding settings (`gen_length`, `steps`, ...) of a task of ours; {} for any other task."""
    return dict(_settings().get(task_name, {}))
