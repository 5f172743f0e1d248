"""The commands about recipes: recipes list, show."""

from __future__ import annotations

from typing import Annotated

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import Overrides, run_of
from lift_harness.console import say_where, typed

app = App(help="The recipes inside the package.", no_args_is_help=True)


@app.command("list")
def recipes_list() -> None:
    """Name and purpose of each recipe, by the paper and the table that it reproduces."""
    from lift_harness.papers import PAPERS
    from lift_harness.pipeline.recipe import recipes_by_paper

    for paper, recipes in recipes_by_paper().items():
        if paper:
            typer.echo(f"\n{paper} ({PAPERS[paper]})")
        for recipe in recipes:
            table = recipe.reproduces.partition(", ")[2]
            typer.echo(f"{recipe.name:29} {f'{table}: ' if table else ''}{recipe.description}")
    say_where(look=typed("recipes", "show", "NAME"), check=typed("train-eval", "NAME", "--dry-run"))


@app.command("show")
def recipes_show(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")], set_: Overrides = None
) -> None:
    """A recipe as resolved, every default spelled out."""
    import yaml

    from lift_harness.pipeline.recipe import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    typer.echo(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False), nl=False)
    say_where(train=run_of(loaded, recipe, set_ or []))
