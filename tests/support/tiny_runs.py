"""A run of `quickstart` in about a second: base and one method, two steps of four an epoch, one problem."""

from pathlib import Path

from rich.console import Console

from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.train_eval import train_eval

TINY = [
    *("select=[lift-h3]", "training.max_steps=2", "training.save_steps=1", "training.batch_size=2"),
    *("training.lora.r=2", "training.lr_scheduler=constant", "data.0.n=6", "data.1.n=2"),
    *("eval.limit=1", "eval.samples=0", "eval.tasks=[lift_sudoku_mini]"),
    "eval.gen_kwargs={gen_length: 16, steps: 2, block_length: 16}",
]


def run(folder: Path, sets=(), **options):
    """The results of the run, with some recipe values changed."""
    recipe = load_recipe("quickstart", [*TINY, *sets])
    return train_eval(recipe, folder, **{"console": Console(quiet=True), **options})
