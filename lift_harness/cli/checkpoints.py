"""The commands about a checkpoint: analyze, doctor, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import Model, On, Peft, Processes, Strategy, check_one_of, check_strategy
from lift_harness.console import say_where, typed
from lift_harness.errors import LiftError
from lift_harness.files import check_writable

app = App()


@app.command("analyze")
def analyze_command(
    data: Annotated[str, typer.Option(help="A recipe (name or file), or a data source: a name or a path.")],
    model: Model = "lift-tiny",
    peft: Peft = None,
    t_bins: Annotated[
        str, typer.Option("--t-bins", help="Diffusion times, numbers or powers.")
    ] = "2^-2,2^-1,2^-1/2,2^-1/4",
    examples: Annotated[int, typer.Option(min=0, help="Examples the model sees; 0: all.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw, the masks and the bootstrap.")] = 0,
    bins: Annotated[int, typer.Option(min=1, help="Frequency bins.")] = 12,
    min_count: Annotated[int, typer.Option(min=1, help="Times that a token must be masked to count.")] = 5,
    bootstrap: Annotated[int, typer.Option(min=1, help="Replicates of the bootstrap.")] = 1000,
    token: Annotated[
        list[str] | None, typer.Option(help="Plot the curve of this token (text, or id:NUMBER); repeatable.")
    ] = None,
    batch_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens in a pass.")] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Examples between two saves of the state.")] = 200,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write the tables as parquet, too.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder (default: runs/analysis-MODEL-DATA).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the analysis in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it.")] = False,
) -> None:
    """Measure how sure a model is of rare and of frequent tokens, by diffusion time."""
    check_one_of(resume, overwrite)
    check_writable(output, folder=True)
    from lift_harness.analysis.arguments import Options
    from lift_harness.analysis.run import analyze, show
    from lift_harness.console import Console

    options = Options(
        model=model,
        data=data,
        peft=peft,
        t_bins=t_bins,
        examples=examples or None,
        seed=seed,
        bins=bins,
        min_count=min_count,
        bootstrap=bootstrap,
        tokens=tuple(token or ()),
        batch_tokens=batch_tokens,
        save_every=save_every,
        parquet=parquet,
    )
    folder = output or options.default_output
    show(analyze(options, folder, resume=resume, overwrite=overwrite), Console())


@app.command("doctor")
def doctor_command(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder, Hub id, or a model inside the package; none: what is installed."),
    ] = None,
    peft: Peft = None,
    gen_length: Annotated[int | None, typer.Option(min=1, help="Tokens to generate (default: 256).")] = None,
    prompt_length: Annotated[int | None, typer.Option(min=1, help="Of a prompt (default: 256).")] = None,
    memory: Annotated[float | None, typer.Option(metavar="GIB", min=0, help="Default: what is free.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub id.")] = None,
    on: On = None,
    nproc: Processes = None,
    strategy: Strategy = "ddp",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this installation, or say what a checkpoint is, takes and has wrong (without loading weights)."""
    import json

    from lift_harness.console import Console
    from lift_harness.doctor.report import Report

    of_a_model: dict[str, Any] = {
        "peft": peft,
        "gen_length": gen_length,
        "prompt_length": prompt_length,
        "memory": memory,
        "revision": revision,
        "on": on,
        "nproc": nproc,
        "strategy": None if strategy == "ddp" else strategy,
    }
    check_strategy(strategy)
    if on is not None and memory is not None:
        raise LiftError(f"--on {on} and --memory {memory:g} both say how much there is; give one of them")
    given = {name: value for name, value in of_a_model.items() if value is not None}
    if model is None:
        if given:
            option = next(iter(given)).replace("_", "-")
            raise LiftError(f"--{option} belongs to a model; name it: lift-harness doctor MODEL")
        from lift_harness.doctor.installation import examine_installation

        report: Report = examine_installation()
    else:
        from lift_harness.doctor.checkpoint import examine

        report = examine(model, **given)
    if json_:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        report.show(Console())
        for problem in report.problems:
            typer.echo(f"problem: {problem}", err=True)
        if not report.problems:
            how = ["--model", model or "lift-tiny", *(["--peft", peft] if peft else [])]
            say_where(try_it=typed("generate", "--task", "sudoku_mini", *how))
    if report.problems:
        raise typer.Exit(2)


@app.command("merge")
def merge_command(
    base: Annotated[str, typer.Argument(help="Folder, Hub id, or a model inside the package.")],
    adapter: Annotated[str, typer.Argument(help="Folder or Hub id of an adapter.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    dtype: Annotated[str, typer.Option(help="Of the written weights; auto: as the base's.")] = "auto",
    max_shard_size: Annotated[str, typer.Option(help="Of one weights file.")] = "5GB",
    revision: Annotated[str | None, typer.Option(help="Of a Hub id.")] = None,
) -> None:
    """Write a base and an adapter as one checkpoint in the official format."""
    check_writable(out, folder=True)
    from lift_harness.models.merging import merge

    typer.echo(merge(base, adapter, out, dtype=dtype, max_shard_size=max_shard_size, revision=revision))
    say_where(check=typed("doctor", out), python=f"lift_harness.models.load_model({str(out)!r})")
