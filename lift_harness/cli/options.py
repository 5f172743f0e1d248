"""Options that several commands have, worded once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lift_harness.console import typed
from lift_harness.errors import LiftError, did_you_mean

if TYPE_CHECKING:
    from lift_harness.pipeline.schema import Recipe

COMMA = re.compile(r",(?![^\[]*\])")  # not inside [5, 6]


def one_value_each(param: typer.CallbackParam, texts: list[str] | None) -> list[str]:
    """The `KEY=VALUE`s of an option; of a key that has two values none can be meant."""
    values: dict[str, str] = {}
    for text in texts or ():
        key, _, value = text.partition("=")
        if values.setdefault(key.strip(), value) != value:
            raise LiftError(
                f"{param.opts[0]}: {key} is given twice, as {values[key.strip()]} and as {value}; "
                "give one of them"
            )
    return texts or []


def listed_values(param: typer.CallbackParam, texts: list[str] | None) -> list[str]:
    """The same of several with commas between."""
    return one_value_each(param, [part for text in texts or () for part in COMMA.split(text)])


def names_of(text: str | None) -> list[str]:
    """The names of "a,b"; after the last comma there need be none."""
    return list(filter(None, map(str.strip, (text or "").split(","))))


def several(help: str, name: str = "--set") -> Any:
    """An option of `KEY=VALUE`, given once for each."""
    return typer.Option(name, metavar="KEY=VALUE", help=help, callback=one_value_each)


def with_commas(name: str, help: str) -> Any:
    """An option of `KEY=VALUE,...`, as lm-eval has them."""
    return typer.Option(name, metavar="KEY=VALUE", help=help, callback=listed_values)


# ---------------------------------------------------------------- of models and decoding

DecodingSet = Annotated[list[str] | None, several("A decoding setting, e.g. temperature=0.7.")]
GenKwargs = Annotated[
    list[str] | None, with_commas("--gen-kwargs", "Decoding, e.g. temperature=0.5,steps=64.")
]
ModelArgs = Annotated[list[str] | None, with_commas("--model-args", "Of loading, e.g. dtype=bfloat16.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Folder, Hub id, or a model inside the package.")]
Peft = Annotated[str | None, typer.Option(help="Folder or Hub id of an adapter.")]
Seed = Annotated[int | None, typer.Option(help="Of sampling, where the temperature is above 0.")]
System = Annotated[str | None, typer.Option(help="The system's message.")]
Prefix = Annotated[str, typer.Option(help="What answers are made to begin with, e.g. '<reasoning>'.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Problems a task (default: all).")]
Shots = Annotated[int | None, typer.Option(min=0, help="Worked examples before each question.")]
Unsafe = Annotated[
    bool,
    typer.Option("--confirm-run-unsafe-code", help="Run generated code even where no sandbox can be had."),
]

# ---------------------------------------------------------------- of recipes and runs

Overrides = Annotated[list[str] | None, several("Change a recipe value, e.g. training.max_steps=100.")]
Output = Annotated[Path | None, typer.Option(help="Folder for the run (default: runs/RECIPE).")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Keep what is valid of the run in the output folder, whatever its recipe."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and what it takes.")]
Processes = Annotated[
    int | None, typer.Option("--nproc", min=1, help="Processes, one a GPU (default: 1, or --on's cards).")
]
On = Annotated[
    str | None,
    typer.Option("--on", metavar="CARD:N", help="Reckon for other hardware: h100:8, a100:1, rtx4090, cpu."),
]
Strategy = Annotated[str, typer.Option("--strategy", help="Of several processes: ddp, fsdp, zero2, zero3.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")]


def run_of(recipe: Recipe, name: str, overrides: list[str]) -> str:
    """The command that runs a recipe."""
    evaluates = recipe.eval is not None and isinstance(recipe.model, str)
    changes = [f"--set={override}" for override in overrides]
    return typed("train-eval" if evaluates else "train", name, *changes)


def check_one_of(resume: bool, overwrite: bool) -> None:
    """Refuse to keep and to replace what is in a folder."""
    if resume and overwrite:
        raise LiftError("--resume keeps what is in the folder, --overwrite replaces it; give one of them")


def check_strategy(strategy: str) -> None:
    """Refuse a strategy that there is not."""
    from lift_harness.pipeline.launch import STRATEGIES

    if strategy not in STRATEGIES:
        raise LiftError(f"--strategy {strategy}: there is none; {did_you_mean(strategy, STRATEGIES)}")
