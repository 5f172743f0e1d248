"""The `lift-harness` command. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from lift_harness import __version__
from lift_harness.errors import LiftError, Stopped

app = typer.Typer(
    help="Train and evaluate masked diffusion language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
recipes_app = typer.Typer(help="The recipes inside the package.", no_args_is_help=True)
app.add_typer(recipes_app, name="recipes")
data_app = typer.Typer(help="Training data.", no_args_is_help=True)
app.add_typer(data_app, name="data")

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
Processes = Annotated[int, typer.Option("--nproc", min=1, help="Processes on this machine, one a GPU.")]
Strategy = Annotated[str, typer.Option("--strategy", help="Of several processes: ddp, fsdp, zero2, zero3.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")]
Unsafe = Annotated[
    bool,
    typer.Option("--confirm_run_unsafe_code", help="Run generated code even where no sandbox can be had."),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Train and evaluate masked diffusion language models."""


@app.command("train-eval")
def train_eval_command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")] = "quickstart",
    set_: Overrides = None,
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    only: Annotated[str | None, typer.Option(help="Only these stages: train or eval.")] = None,
    dry_run: DryRun = False,
    nproc: Processes = 1,
    strategy: Strategy = "ddp",
) -> None:
    """Train every method of a recipe from one base model, evaluate all of them, print the table."""
    run_recipe(recipe, set_, output, resume, overwrite, only, dry_run, nproc, strategy)


@app.command("train")
def train_command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    set_: Overrides = None,
    output: Output = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    nproc: Processes = 1,
    strategy: Strategy = "ddp",
) -> None:
    """Train every method of a recipe, without evaluating."""
    run_recipe(recipe, set_, output, resume, overwrite, "train", dry_run, nproc, strategy)


def run_recipe(
    recipe: str,
    set_: list[str] | None,
    output: Path | None,
    resume: bool,
    overwrite: bool,
    only: str | None,
    dry_run: bool,
    nproc: int,
    strategy: str,
) -> None:
    """What `train-eval` and `train` share."""
    from lift_harness.pipeline.recipe import load_recipe

    if only not in (None, "train", "eval"):
        raise LiftError(f"--only {only}: give train or eval")
    loaded = load_recipe(recipe, set_ or [])
    folder = output or Path("runs") / loaded.name
    if dry_run:
        from lift_harness.pipeline.plan import show_plan

        show_plan(loaded, folder, only)
    elif nproc > 1 or strategy != "ddp":
        from lift_harness.pipeline.launch import launch

        launch(sys.argv[1:], nproc, strategy)
    else:
        from lift_harness.pipeline.train_eval import train_eval

        kind = cast(Literal["train", "eval"] | None, only)
        train_eval(loaded, folder, resume=resume, overwrite=overwrite, only=kind)


@app.command("reproduce")
def reproduce_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its manifest.json.")],
    output: Annotated[Path | None, typer.Option(help="Folder (default: RUN-reproduced).")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where the environment differs.")] = False,
) -> None:
    """Run an experiment again, and compare every number with what it gave."""
    from lift_harness.pipeline.reproduce import reproduce

    if not reproduce(run, output, anyway=anyway):
        raise typer.Exit(1)


@data_app.command("preview")
def data_preview(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    set_: Overrides = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Examples to show.")] = 3,
    t: Annotated[float, typer.Option("--t", help="Diffusion time: the share hidden, in (0, 1].")] = 0.5,
    method: Annotated[str | None, typer.Option(help="Of the recipe; default: its first.")] = None,
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Load the model, for methods that ask it what to hide.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="[[Brackets]] in place of colour.")] = False,
) -> None:
    """Show what a recipe trains on: decoded examples, what is hidden at t, counts, lengths and hash."""
    from lift_harness.pipeline.recipe import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    from lift_harness.pipeline.evaluating import quiet
    from lift_harness.training.preview import preview_recipe

    quiet()
    preview_recipe(loaded, n=n, t=t, method=method, with_model=with_model, plain=plain)


@recipes_app.command("list")
def recipes_list() -> None:
    """Name and purpose of each recipe."""
    from lift_harness.pipeline.recipe import load_recipe, recipe_names

    for name in recipe_names():
        typer.echo(f"{name:20} {load_recipe(name).description}")


@recipes_app.command("show")
def recipes_show(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")], set_: Overrides = None
) -> None:
    """A recipe as resolved, every default spelled out."""
    import yaml

    from lift_harness.pipeline.recipe import load_recipe

    typer.echo(
        yaml.safe_dump(load_recipe(recipe, set_ or []).model_dump(mode="json"), sort_keys=False), nl=False
    )


@app.command("eval")
def eval_command(
    tasks: Annotated[str, typer.Option(help="Names with commas between: gsm8k,aime24, lift_reasoning, ...")],
    model: Annotated[str, typer.Option(help="Folder, Hub id, or a model inside the package.")] = "lift-tiny",
    peft: Annotated[str | None, typer.Option(help="Folder of an adapter.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Answers a problem, for pass@k (default: the task's).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Problems a task (default: all).")] = None,
    model_args: Annotated[str, typer.Option("--model_args", help="As lm_eval's: KEY=VALUE,...")] = "",
    gen_kwargs: Annotated[
        str, typer.Option("--gen_kwargs", help="Decoding: temperature=0.5,steps=64,...")
    ] = "",
    batch_size: Annotated[str, typer.Option("--batch_size", help="Requests in a pass, or auto.")] = "auto",
    output: Annotated[Path | None, typer.Option(help="Folder for lm-eval's results and sample logs.")] = None,
    confirm_run_unsafe_code: Unsafe = False,
) -> None:
    """Evaluate a checkpoint on the project's tasks, with any number of samples a problem."""
    from rich.console import Console

    from lift_harness.evaluation import evaluate_model
    from lift_harness.pipeline.report import score_tables

    scores = evaluate_model(
        model,
        tasks.split(","),
        peft=peft,
        samples=samples,
        limit=limit,
        model_args=model_args,
        gen_kwargs=gen_kwargs,
        batch_size=batch_size,
        output=output,
        confirm_run_unsafe_code=confirm_run_unsafe_code,
    )
    for table in score_tables({"scores": {peft or model: scores}}):
        Console().print(table)


@app.command("score")
def score_command(
    samples: Annotated[Path, typer.Argument(help="A log that lm-eval wrote with --log_samples.")],
    task: Annotated[str, typer.Option(help="A task of this package, e.g. lift_gsm8k.")],
    output: Annotated[
        Path | None, typer.Option(help="The lines with their metrics (default: SAMPLES.scored.jsonl).")
    ] = None,
    confirm_run_unsafe_code: Unsafe = False,
) -> None:
    """Score a log of samples again, without a model."""
    from lift_harness.scoring import score_file

    found = score_file(task, samples, output, allow_unisolated=confirm_run_unsafe_code)
    metrics = found.pop("metrics")
    for name, value in found.items():
        typer.echo(f"{name}: {value}")
    for name in (name for name in metrics if not name.endswith("_stderr")):
        typer.echo(f"{name:12} {metrics[name]:.4f} +- {metrics[f'{name}_stderr']:.4f}")


@app.command("doctor")
def doctor_command(
    model: Annotated[str, typer.Argument(help="Folder, Hub id, or a model inside the package.")],
    peft: Annotated[str | None, typer.Option(help="Folder of an adapter.")] = None,
    gen_length: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 256,
    prompt_length: Annotated[int, typer.Option(min=1, help="Tokens of a prompt.")] = 256,
    memory: Annotated[float | None, typer.Option(metavar="GIB", min=0, help="Default: what is free.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub id.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a checkpoint is, what it takes and what is wrong with it, without loading its weights."""
    import json

    from rich.console import Console

    from lift_harness.doctor import as_json, examine, show

    report = examine(
        model,
        peft=peft,
        gen_length=gen_length,
        prompt_length=prompt_length,
        memory=memory,
        revision=revision,
    )
    if json_:
        typer.echo(json.dumps(as_json(report), indent=2))
    else:
        show(report, Console())
        for problem in report.problems:
            typer.echo(f"problem: {problem}", err=True)
    if report.problems:
        raise typer.Exit(2)


@app.command("merge")
def merge_command(
    base: Annotated[str, typer.Argument(help="Folder, Hub id, or a model inside the package.")],
    adapter: Annotated[str, typer.Argument(help="Folder of a LoRA adapter.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    dtype: Annotated[str, typer.Option(help="Of the written weights; auto: as the base's.")] = "auto",
    max_shard_size: Annotated[str, typer.Option(help="Of one weights file.")] = "5GB",
    revision: Annotated[str | None, typer.Option(help="Of a Hub id.")] = None,
) -> None:
    """Write a base and an adapter as one checkpoint in the official format."""
    from lift_harness.models.merging import merge

    typer.echo(merge(base, adapter, out, dtype=dtype, max_shard_size=max_shard_size, revision=revision))


def main() -> None:
    """Run the command line: bad input is one line on standard error and exit code 2."""
    try:
        app()
    except KeyboardInterrupt:
        sys.stderr.write("stopped: Ctrl-C; the same command goes on where it was\n")
        sys.exit(130)
    except Stopped as stop:
        sys.stderr.write(f"stopped: {stop}\n")
        sys.exit(stop.exit_code)
    except LiftError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
