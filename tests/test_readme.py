"""What the README says works."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code.replace("GSAI-ML/LLaDA-8B-Instruct", "lift-tiny"), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Accuracy, percent" in printed and "sudoku_mini" in printed


def test_the_tests_that_security_names_are_there():
    named = set(re.findall(r"`(tests/[\w/.]+)`", (ROOT / "docs" / "security.md").read_text(encoding="utf-8")))
    assert named and [name for name in sorted(named) if not (ROOT / name).exists()] == []
