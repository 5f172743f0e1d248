"""What all commands print alike."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, text: str) -> None:
    """Text as it is: no markup, no colours of numbers, no folding."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
