"""Options that several commands have, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lift_harness.errors import LiftError, did_you_mean

# ---------------------------------------------------------------- of models and decoding

DecodingSet = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A decoding setting, e.g. temperature=0.7."),
]
GenKwargs = Annotated[str, typer.Option("--gen_kwargs", help="The same as --set: KEY=VALUE,...")]
ModelArgs = Annotated[
    str, typer.Option("--model_args", help="Of loading: dtype=bfloat16,device=cpu,load_in_8bit=true,...")
]
Model = Annotated[str, typer.Option("--model", "-m", help="Folder, Hub id, or a model inside the package.")]
Peft = Annotated[str | None, typer.Option(help="Folder or Hub id of an adapter.")]
Seed = Annotated[int | None, typer.Option(help="Of sampling, where the temperature is above 0.")]
System = Annotated[str | None, typer.Option(help="The system's message.")]
Prefix = Annotated[str, typer.Option(help="What answers are made to begin with, e.g. '<reasoning>'.")]
Unsafe = Annotated[
    bool,
    typer.Option("--confirm_run_unsafe_code", help="Run generated code even where no sandbox can be had."),
]

# ---------------------------------------------------------------- of recipes and runs

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe value, e.g. training.max_steps=100."),
]
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


def check_one_of(resume: bool, overwrite: bool) -> None:
    """Refuse to keep and to replace what is in a folder."""
    if resume and overwrite:
        raise LiftError("--resume keeps what is in the folder, --overwrite replaces it; give one of them")


def check_strategy(strategy: str) -> None:
    """Refuse a strategy that there is not."""
    from lift_harness.pipeline.launch import STRATEGIES

    if strategy not in STRATEGIES:
        raise LiftError(f"--strategy {strategy}: there is none; {did_you_mean(strategy, STRATEGIES)}")
