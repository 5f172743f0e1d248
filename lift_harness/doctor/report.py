"""What doctor gives: lines under titles, what is wrong, what is worth knowing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lift_harness.console import Console, say

Tables = dict[str, dict[str, str]]  # title -> label -> text


@dataclass
class Report:
    """What was found out.

    Attributes:
        problems: what does not work as it is; a line each.
        notes: what is missing but optional, or worth knowing; a line each.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tables(self) -> Tables:
        """What is printed above the notes."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """All of it, for json.dumps."""
        return {"sound": not self.problems, **asdict(self)}

    def show(self, console: Console) -> None:
        """Print it as plain text that can be pasted; the problems go elsewhere."""
        for title, lines in self.tables().items():
            say(console, title)
            width = max(map(len, lines))
            for label, text in lines.items():
                say(console, f"  {label:{width}}  {text}")
        for note in self.notes:
            say(console, f"note: {note}")
        if not self.problems:
            say(console, "no problems")


def gib(count: int) -> str:
    """Bytes as GiB, or MiB where that is little."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:,.1f} MiB"
