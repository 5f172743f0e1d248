"""The commands about recipes: recipes list, show."""

from __future__ import annotations

from typing import Annotated

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import Overrides, run_of
from lift_harness.console import say_where, typed

app = App(help="The recipes inside the package.", no_args_is_help=True)
MADE_HERE = "Of no paper"


@app.command("list")
def recipes_list() -> None:
    """Name and purpose of each recipe, by the paper and the table that it reproduces."""
    import textwrap
    from itertools import zip_longest

    from lift_harness.console import Console
    from lift_harness.papers import PAPERS
    from lift_harness.pipeline.recipe import recipe_names, recipes_by_paper

    column, width = max(map(len, recipe_names())) + 2, Console().width
    for paper, recipes in recipes_by_paper().items():
        typer.echo(f"\n{paper} ({PAPERS[paper]})" if paper else MADE_HERE)
        for recipe in recipes:
            table = recipe.reproduces.partition(", ")[2]
            about = f"{table}: {recipe.description}" if table else recipe.description
            lines = textwrap.wrap(about, max(20, width - column), break_on_hyphens=False)
            for name, line in zip_longest([recipe.name], lines, fillvalue=""):
                typer.echo(f"{name:{column}}{line}")
    say_where(look=typed("recipes", "show", "NAME"), check=typed("train-eval", "NAME", "--dry-run"))


@app.command("show")
def recipes_show(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    set_: Overrides = None,
    comments: Annotated[bool, typer.Option("--comments", help="Say behind each key what it means.")] = False,
) -> None:
    """A recipe as resolved, every default spelled out."""
    import yaml

    from lift_harness.pipeline.recipe import load_recipe
    from lift_harness.reference import commented

    loaded = load_recipe(recipe, set_ or [])
    text = yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False)
    typer.echo(commented(text) if comments else text, nl=False)
    say_where(train=run_of(loaded, recipe, set_ or []))
