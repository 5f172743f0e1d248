"""What the README says works."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "</reasoning>" in printed and printed.strip().endswith("16")


def test_its_recipes_exist():
    from lift_harness.pipeline.recipe import load_recipe

    for name in re.findall(
        r"^lift-harness (?:train-eval|train|recipes show) ([a-z][a-z0-9.-]*)", README, flags=re.M
    ):
        if not name.startswith("my-"):
            assert load_recipe(name).name == name
