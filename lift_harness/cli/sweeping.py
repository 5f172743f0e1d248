"""The command that goes through decoding settings: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import (
    DryRun,
    GenKwargs,
    Limit,
    ModelArgs,
    Overwrite,
    Resume,
    Seed,
    Shots,
    check_one_of,
    names_of,
)
from lift_harness.console import say_where, typed
from lift_harness.errors import LiftError
from lift_harness.files import check_writable

app = App()


@app.command("sweep")
def sweep_command(
    file: Annotated[
        Path | None, typer.Argument(help="A YAML file with the same keys; options stand over it.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Folder, Hub id, or a model inside the package; once for each."),
    ] = None,
    peft: Annotated[
        list[str] | None,
        typer.Option(help="Folder or Hub id of an adapter; once for each, none: without one."),
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Names with commas between, as for eval.")] = None,
    preset: Annotated[str | None, typer.Option(help="A published protocol by name.")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B", help="Values of a decoding setting, e.g. cache=none,dual; once for each."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="ROW", help="The setting to compare with (default: protocol).")
    ] = None,
    limit: Limit = None,
    samples: Annotated[
        int | None, typer.Option(min=0, help="Answers a problem, for pass@k (default: no pass@k).")
    ] = None,
    num_fewshot: Shots = None,
    model_args: ModelArgs = None,
    gen_kwargs: GenKwargs = None,
    batch_size: Annotated[str | None, typer.Option(help="Requests in a pass, or auto.")] = None,
    seed: Seed = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the run (default: runs/NAME).")] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Go through decoding settings on the same problems: accuracy against speed."""
    from lift_harness.pipeline.evaluation import quiet
    from lift_harness.sweep.schema import grid_of, load_sweep

    quiet()
    check_one_of(resume, overwrite)
    if file is None and not ((tasks or preset) and grid):
        raise LiftError("a sweep needs --tasks (or --preset) and --grid, or a YAML file with both")
    given = {
        "model": model,
        "peft": peft,
        "preset": preset,
        "tasks": names_of(tasks),
        "grid": grid and grid_of(grid),
        "baseline": baseline,
        "limit": limit,
        "samples": samples,
        "num_fewshot": num_fewshot,
        **loading_of(model_args),
        "gen_kwargs": named_values(gen_kwargs),
        "batch_size": batch_size,
        "seed": seed,
    }
    sweep = load_sweep(file, {key: value for key, value in given.items() if value not in (None, [], {})})
    folder = output or Path("runs") / sweep.name
    check_writable(folder, folder=True)
    if dry_run:
        from lift_harness.sweep.plan import show_plan

        show_plan(sweep, folder)
    else:
        from lift_harness.sweep.run import run_sweep

        run_sweep(sweep, folder, resume=resume, overwrite=overwrite)
        compare = typed("compare", "--across", "decoding", folder)
        say_where(results=folder, page=folder / "report.html", compare=compare)


def named_values(texts: list[str] | None) -> dict[str, Any]:
    """The settings of several "KEY=VALUE", as lm-eval reads them."""
    from lift_harness.lm.evaluation import by_name

    return by_name(",".join(texts)) if texts else {}


def loading_of(texts: list[str] | None) -> dict[str, Any]:
    """The model args as a sweep has them, with the size of blocks beside the others."""
    args = named_values(texts)
    size = {"block_size": args.pop("block_size")} if "block_size" in args else {}
    return {**size, "model_args": args}
