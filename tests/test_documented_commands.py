"""Every `lift-harness` command in README and docs is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from lift_harness.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def commands(page: Path) -> list[str]:
    """The commands in its blocks of shell code, continued lines joined, comments left out."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [re.sub(r"\s#.*", "", line).strip() for line in lines]
    return [line[line.index("lift-harness ") :] for line in found if re.search(r"(^|\s)lift-harness ", line)]


COMMANDS = [(page.name, line) for page in PAGES for line in commands(page)]


def test_there_are_many():
    assert len(COMMANDS) > 20 and {name for name, _ in COMMANDS} >= {"README.md", "runs.md", "trainer.md"}


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line}" for page, line in COMMANDS])
def test_the_command_line_takes_it(page, line):
    words = shlex.split(re.split(r"\s(?:&&|\||>)\s", line)[0].replace("...", ""))[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words and words[0] in command.commands, f"no command {words[:1]}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context(line, words)  # reads the arguments, and raises where they are not as they should be
