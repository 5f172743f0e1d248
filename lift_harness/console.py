"""What all commands read and print alike."""

from __future__ import annotations

import re
from typing import Any

import yaml
from rich.console import Console


def say(console: Console, text: str) -> None:
    """Text as it is: no markup, no colours of numbers, no folding."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def yaml_value(text: str) -> Any:
    """A YAML value; 1e-3 is a number, which YAML 1.1 takes for a text.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", text.strip()):
        return float(text)
    return yaml.safe_load(text)
