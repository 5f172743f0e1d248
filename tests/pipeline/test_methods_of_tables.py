"""Every method of every table of the papers trains and evaluates, in two steps on `lift-tiny`."""

import math

import pytest
from rich.console import Console

from lift_harness.pipeline.recipe import load_recipe, recipe_names
from lift_harness.pipeline.schema import Method, Recipe
from lift_harness.pipeline.train_eval import train_eval


def methods_of_tables():
    """One method for each objective of the papers' recipes, and those that train all weights."""
    found = {}
    for name in recipe_names():
        recipe = load_recipe(name)
        for method in recipe.methods if recipe.reproduces else ():
            full = recipe.training_of(method).lora is None and method.objective.name != "density"
            found.setdefault((str(sorted(method.objective.model_dump().items())), full), method)
    return [
        Method(name=f"m{i}", objective=method.objective, training={"lora": None} if full else {})
        for i, ((_, full), method) in enumerate(found.items())
    ]


@pytest.mark.slow
def test_every_method_of_every_table_trains_and_evaluates(tmp_path):
    methods = methods_of_tables()
    recipe = Recipe.model_validate(
        {
            "name": "tables",
            "data": [{"source": "arithmetic", "n": 8, "priority_share": 0.7}],
            "methods": [method.model_dump() for method in methods],
            "training": {
                "max_steps": 2, "batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 1e-3,
                "lora": {"r": 2}, "save_steps": None, "logging_steps": 1,
            },
            "eval": {
                "tasks": ["sudoku_mini"], "limit": 1, "samples": 0, "traces": 0,
                "gen_kwargs": {"gen_length": 40, "steps": 4},
            },
        }
    )  # fmt: skip
    results = train_eval(recipe, tmp_path / "run", console=Console(quiet=True))
    assert len(methods) > 35 and results["scores"].keys() == {"base", *(method.name for method in methods)}
    made = {}
    for method in methods:
        trained = results["training"][method.name]
        assert [math.isfinite(one["loss"]) for one in trained["loss"]] == [True, True]
        # Options may tell nothing apart in two steps (H = 15 or 20); other methods do.
        assert made.setdefault(trained["sha256"], method.objective.name) == method.objective.name
        assert "acc" in results["scores"][method.name]["lift_sudoku_mini"]
    assert len(made) > 30
