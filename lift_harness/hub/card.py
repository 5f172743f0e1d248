"""The card (README.md) of what was trained: what it is, how to load it, what it scores, how it was made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lift_harness import __version__
from lift_harness.console import visible
from lift_harness.pipeline.recipe import recipe_text
from lift_harness.pipeline.schema import Method, Recipe

if TYPE_CHECKING:
    from lift_harness.compare import Comparison
    from lift_harness.results.scores import Cell

ADAPTER = "ADAPTER"  # what stands for the folder before it has another name
TASK = "text-generation"


@dataclass(frozen=True)
class Training:
    """A method of a recipe with one seed."""

    recipe: Recipe
    method: Method
    seed: int

    @property
    def base(self) -> str | None:
        """The base model's name; None for one that was made for the recipe."""
        return self.recipe.model if isinstance(self.recipe.model, str) else None

    @property
    def whole(self) -> bool:
        """Whether all weights were trained, so that the folder is a checkpoint of its own."""
        return self.recipe.training_of(self.method).lora is None

    @property
    def loading(self) -> list[str]:
        """What loading an adapter's base needs beside its name; whole weights have it in their files."""
        return [] if self.whole else [f"{name}={value}" for name, value in self.recipe.loading.items()]

    @property
    def own_recipe(self) -> str:
        """The recipe of this training alone, in YAML."""
        own = {"methods": [self.method], "seed": self.seed, "seeds": 1}
        return recipe_text(self.recipe.model_copy(update=own))


def card(training: Training, repo: str = ADAPTER, comparison: Comparison | None = None) -> str:
    """The card; of one training and one comparison always the same.

    Args:
        training: what was trained.
        repo: what the folder is called where it is loaded.
        comparison: its values, beside those of the base model; None: it was not evaluated.
    """
    recipe, method = training.recipe, training.method
    kind = "All weights" if training.whole else "A LoRA adapter"
    base = f"`{code(training.base)}`" if training.base else "a new model"
    parts = [
        f"---\n{metadata(training, comparison)}\n---",
        f"# {plain(recipe.name)}: {plain(method.name)}",
        plain(recipe.description),
        f"{kind} of {base}, trained by the objective `{code(method.objective.name)}` with seed "
        f"{training.seed} (lift-harness {__version__}).",
        "## How to load it",
        fenced("bash", "\n".join(commands(training, repo))),
        fenced("python", python(training, repo)),
        *results(comparison),
        "## How it was trained",
        "The recipe, for `lift-harness train-eval FILE.yaml`:",
        fenced("yaml", training.own_recipe),
    ]
    return visible("\n\n".join(filter(None, parts))) + "\n"


# ---------------------------------------------------------------- what it says


def commands(training: Training, repo: str) -> Iterator[str]:
    """What one types to use it."""
    model = repo if training.whole else training.base
    adapter = "" if training.whole else f" --peft {repo}"
    adapter += "".join(f" --model_args {one}" for one in training.loading)
    yield f"lift-harness chat --model {model}{adapter}"
    peft = "" if training.whole else ",".join(["", f"peft={repo}", *training.loading])
    tasks = training.recipe.eval.tasks if training.recipe.eval else ["lift_mini"]
    names = ",".join(dict.fromkeys(task.partition("@")[0] for task in tasks))
    yield f"lm_eval --model lift_dlm --model_args pretrained={model}{peft} --tasks {names}"
    if not training.whole:
        yield f"lift-harness merge {model} {repo} merged"


def python(training: Training, repo: str) -> str:
    """The same from Python."""
    names = [f'"{repo}"'] if training.whole else [f'"{training.base}"', f'peft="{repo}"', *training.loading]
    arguments = ", ".join(names)
    return f'import lift_harness\n\nmodel = lift_harness.load({arguments})\nprint(model.generate("..."))'


def results(comparison: Comparison | None) -> Iterator[str]:
    """The tables."""
    if comparison is not None:
        from lift_harness.compare.render import as_markdown

        yield "## Results"
        yield as_markdown(comparison).rstrip()


def plain(text: str) -> str:
    """Text that means nothing in Markdown and HTML, on one line."""
    from lift_harness.compare.render import markdown_text

    return markdown_text(text)


def code(text: str | None) -> str:
    """Text inside of backquotes."""
    return " ".join(str(text).replace("`", "'").split())


def fenced(language: str, text: str) -> str:
    """A block of code, whose fence nothing in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


# ---------------------------------------------------------------- what it says to the Hub


def metadata(training: Training, comparison: Comparison | None) -> str:
    """The card's head, in YAML: base, data, tags and results as the Hub reads them."""
    from huggingface_hub import ModelCardData

    from lift_harness.models.checkpoint import HUB_ID
    from lift_harness.training.sources.published import PUBLISHED

    base = training.base or ""
    known = {short: published.hub for short, published in PUBLISHED.items()}
    sources = [known.get(part.source, part.source) for part in training.recipe.data]
    listed = list(dict.fromkeys(source for source in sources if source in known.values()))
    found = [] if comparison is None else list(evaluation_results(comparison, training.method.name))
    name = f"{training.recipe.name} {training.method.name}"
    return ModelCardData(
        base_model=base if re.fullmatch(HUB_ID, base) and not Path(base).exists() else None,
        datasets=listed or None,
        library_name=None if training.whole else "peft",
        pipeline_tag=TASK,
        tags=["lift-harness", "diffusion language model", training.method.objective.name],
        model_name=name if found else None,
        eval_results=found or None,
    ).to_yaml()


def evaluation_results(comparison: Comparison, row: str) -> Iterator[Any]:
    """The values of a row, in percent, each with its interval and what it was measured on."""
    for (of, task, metric), cell in comparison.cells.items():
        if of == row and metric in comparison.shown(task):
            yield evaluation_result(task, metric, cell)


def evaluation_result(task: str, metric: str, cell: Cell) -> Any:
    """One value as `huggingface_hub.EvalResult`."""
    from huggingface_hub import EvalResult

    from lift_harness.tasks.catalog import task_config
    from lift_harness.tasks.data import SOURCES

    name = task.partition("@")[0]
    source = SOURCES.get(task_config(name).get("dataset_kwargs", {}).get("source", ""))
    hub, config, split, revision = source.hub if source and source.hub else (None, None, None, None)
    ends = [cell.interval.low, cell.interval.high] if cell.interval else []
    measured = {
        "interval_95": [round(100 * end, 2) for end in ends] or None,
        "problems": cell.items,
        "answers_a_problem": cell.samples,
        "gen_length": cell.gen_length,
    }
    return EvalResult(
        task_type=TASK,
        dataset_type=hub or name,
        dataset_name=task,
        dataset_config=config,
        dataset_split=split,
        dataset_revision=revision,
        metric_type=metric,
        metric_name=f"{metric}, percent",
        metric_value=round(100 * cell.value, 2),
        metric_args={key: value for key, value in measured.items() if value is not None},
    )
