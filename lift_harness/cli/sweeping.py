"""The command that goes through decoding settings: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lift_harness.cli.options import DryRun, Overwrite, Resume, check_one_of
from lift_harness.errors import LiftError
from lift_harness.files import check_writable

app = typer.Typer()


@app.command("sweep")
def sweep_command(
    file: Annotated[
        Path | None, typer.Argument(help="A YAML file with the same keys; options stand over it.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Folder, Hub id, or a model inside the package; several: one each."
        ),
    ] = None,
    peft: Annotated[
        list[str] | None, typer.Option(help="Folder of an adapter; several: one each, none: without one.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Names with commas between, as for eval.")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid", metavar="KEY=A,B", help="Values of a decoding setting, e.g. cache=none,prefix."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="ROW", help="The setting to compare with (default: protocol).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Problems a task (default: all).")] = None,
    samples: Annotated[
        int | None, typer.Option(min=0, help="Answers a problem, for pass@k (default: no pass@k).")
    ] = None,
    num_fewshot: Annotated[
        int | None, typer.Option("--num_fewshot", min=0, help="Worked examples before each question.")
    ] = None,
    model_args: Annotated[str, typer.Option("--model_args", help="As lm_eval's: KEY=VALUE,...")] = "",
    gen_kwargs: Annotated[str, typer.Option("--gen_kwargs", help="Decoding of all settings.")] = "",
    batch_size: Annotated[
        str | None, typer.Option("--batch_size", help="Requests in a pass, or auto.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling, where the temperature is above 0.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the run (default: runs/NAME).")] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> None:
    """Go through decoding settings on the same problems: accuracy against speed, and which are worth it."""
    from lift_harness.pipeline.evaluation import quiet
    from lift_harness.sweep.schema import grid_of, load_sweep

    quiet()  # before anything imports tqdm
    check_one_of(resume, overwrite)
    given = {
        "model": model,
        "peft": peft,
        "tasks": tasks and [name.strip() for name in tasks.split(",")],
        "grid": grid and grid_of(grid),
        "baseline": baseline,
        "limit": limit,
        "samples": samples,
        "num_fewshot": num_fewshot,
        "model_args": named_values(model_args),
        "gen_kwargs": named_values(gen_kwargs),
        "batch_size": batch_size,
        "seed": seed,
    }
    if file is None and not (tasks and grid):
        raise LiftError("a sweep needs --tasks and --grid, or a YAML file with both")
    sweep = load_sweep(file, {key: value for key, value in given.items() if value not in (None, [], {})})
    folder = output or Path("runs") / sweep.name
    check_writable(folder, folder=True)
    if dry_run:
        from lift_harness.sweep.plan import show_plan

        show_plan(sweep, folder)
    else:
        from lift_harness.sweep.run import run_sweep

        run_sweep(sweep, folder, resume=resume, overwrite=overwrite)


def named_values(text: str) -> dict[str, Any]:
    """The settings of "KEY=VALUE,...", as lm-eval reads them."""
    from lm_eval.utils import simple_parse_args_string

    return dict(simple_parse_args_string(text)) if text else {}
