"""The commands around experiments: train-eval, train, reproduce, compare, report, data, recipes."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from lift_harness.errors import LiftError
from lift_harness.files import check_writable

experiments = typer.Typer()
recipes_app = typer.Typer(help="The recipes inside the package.", no_args_is_help=True)
experiments.add_typer(recipes_app, name="recipes")
data_app = typer.Typer(help="Training data.", no_args_is_help=True)
experiments.add_typer(data_app, name="data")

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


@experiments.command("train-eval")
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


@experiments.command("train")
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
    from lift_harness.pipeline.launch import STRATEGIES
    from lift_harness.pipeline.recipe import load_recipe

    if only not in (None, "train", "eval"):
        raise LiftError(f"--only {only}: give train or eval")
    if strategy not in STRATEGIES:
        raise LiftError(f"--strategy {strategy}: give one of {', '.join(STRATEGIES)}")
    check_one_of(resume, overwrite)
    loaded = load_recipe(recipe, set_ or [])
    folder = output or Path("runs") / loaded.name
    check_writable(folder, folder=True)
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


def check_one_of(resume: bool, overwrite: bool) -> None:
    """Refuse to keep and to replace what is in a folder."""
    if resume and overwrite:
        raise LiftError("--resume keeps what is in the folder, --overwrite replaces it; give one of them")


@experiments.command("reproduce")
def reproduce_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its manifest.json.")],
    output: Annotated[Path | None, typer.Option(help="Folder (default: RUN-reproduced).")] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where the environment differs.")] = False,
) -> None:
    """Run an experiment again, and compare every number with what it gave."""
    check_writable(output, folder=True)
    from lift_harness.pipeline.reproduce import reproduce

    if not reproduce(run, output, anyway=anyway):
        raise typer.Exit(1)


@experiments.command("compare")
def compare_command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN_OR_RESULTS", help="Run folders, lm-eval's output, results or logs."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME=PATH", help="Call the rows of a path NAME.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="ROW", help="The row to compare with (default: base, else the first)."),
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these: gsm8k,aime24.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Only these, all of them shown: acc,pass@k.")] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="table, markdown, csv, latex or json (default: by --output's suffix)."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    flips: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Write the problems that flipped, with both answers."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare what differs in problems, prompts, settings or scoring.")
    ] = False,
) -> None:
    """Compare runs: accuracy and pass@k with intervals, differences from a baseline with p-values."""
    from lift_harness.compare.command import run_compare

    run_compare(
        paths or [],
        names=name or [],
        baseline=baseline,
        tasks=tasks,
        metrics=metrics,
        format=format_,
        output=output,
        flips=flips,
        anyway=anyway,
    )


@experiments.command("report")
def report_command(
    run: Annotated[Path, typer.Argument(help="A run's folder, finished or not.")],
    output: Annotated[
        Path | None, typer.Option(help="The file (default: report.html in the folder).")
    ] = None,
) -> None:
    """Make a run's report.html again, from what is in its folder."""
    from lift_harness.report import write_report
    from lift_harness.results.lock import sole_writer

    with nullcontext() if output or not run.is_dir() else sole_writer(run):
        typer.echo(write_report(run, output))


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
    from lift_harness.pipeline.evaluation import quiet
    from lift_harness.pipeline.preview import preview_recipe

    quiet()
    preview_recipe(loaded, n=n, t=t, method=method, with_model=with_model, plain=plain)


Source = Annotated[str, typer.Argument(metavar="DATA", help="A source of a recipe's data: a name or a path.")]
SourceKeys = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A further key of the source, e.g. n=2000, kind=code."),
]


@data_app.command("annotate")
def data_annotate(
    data: Source,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server: http://localhost:8000/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="By the server's name for it.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="JSON lines, a new file (default: DATA-annotated.jsonl).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    kind: Annotated[
        Literal["auto", "code", "math"], typer.Option(help="Whose rules; auto: by the example.")
    ] = "auto",
    set_: SourceKeys = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many examples.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer.")] = 120,
    tries: Annotated[int, typer.Option(min=1, help="Of one request.")] = 6,
    request: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of the requests, e.g. max_tokens=2000, temperature=null."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where the replies are kept (default: OUTPUT.replies).")
    ] = None,
    key_variable: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The environment's variable with the key (OPENAI_API_KEY)."),
    ] = None,
    show: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Print what N examples ask, and send nothing.")
    ] = None,
) -> None:
    """Have a language model mark what the density objective masks more often; run it again to go on."""
    from lift_harness.pipeline import annotate

    source = annotate.source_of(data, set_ or [])
    if show is not None:
        annotate.show_requests(source, kind, show)
        return
    server = annotate.server_of(endpoint, key_variable, timeout, tries)
    annotate.annotate_source(
        source,
        server,
        model,
        annotate.output_of(source, output, overwrite),
        cache=cache,
        kind=kind,
        request=annotate.request_of(request or []),
        concurrency=concurrency,
        limit=limit,
    )


@data_app.command("marks")
def data_marks(
    data: Source,
    set_: SourceKeys = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Examples to show.")] = 3,
) -> None:
    """Show in [[brackets]] what the rules mark in a source's answers, and what its `priority_spans` do."""
    from lift_harness.pipeline.annotate import show_marks, source_of

    show_marks(source_of(data, set_ or []), n)


@recipes_app.command("list")
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
