"""The `lift-harness` command: models and answers here, experiments in `cli_experiments`.

Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lift_harness import __version__
from lift_harness.cli_experiments import experiments
from lift_harness.errors import LiftError, Stopped

app = typer.Typer(
    help="Train and evaluate masked diffusion language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(experiments)

Model = Annotated[str, typer.Option("--model", "-m", help="Folder, Hub id, or a model inside the package.")]
Peft = Annotated[str | None, typer.Option(help="Folder of an adapter.")]
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


@app.command("generate")
def generate_command(
    prompt: Annotated[str, typer.Argument(help="What the user says.")],
    model: Model = "lift-tiny",
    peft: Peft = None,
    model_args: Annotated[str, typer.Option("--model_args", help="Of loading: dtype=bfloat16,...")] = "",
    gen_kwargs: Annotated[
        list[str] | None, typer.Option("--gen_kwargs", help="Decoding: temperature=0.5,gen_length=128,...")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling.")] = None,
    system: Annotated[str | None, typer.Option(help="The system's message.")] = None,
    prefix: Annotated[str, typer.Option(help="What the answer is made to begin with.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="Without the chat template.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Animate the denoising.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with every step.")] = False,
) -> None:
    """Answer a prompt; --show animates the denoising in the terminal."""
    from lift_harness.interactive.generate import generate
    from lift_harness.interactive.session import open_session

    session = open_session(
        model, peft=peft, model_args=model_args, settings=gen_kwargs or (), seed=seed, prefix=prefix
    )
    generate(session, prompt, raw=raw, system=system, show=show, as_json=json_)


@app.command("chat")
def chat_command(
    model: Model = "lift-tiny",
    peft: Peft = None,
    model_args: Annotated[str, typer.Option("--model_args", help="Of loading: dtype=bfloat16,...")] = "",
    gen_kwargs: Annotated[
        list[str] | None, typer.Option("--gen_kwargs", help="Decoding: temperature=0.5,gen_length=128,...")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of sampling.")] = None,
    system: Annotated[str | None, typer.Option(help="The system's message.")] = None,
    prefix: Annotated[str, typer.Option(help="What answers are made to begin with.")] = "",
) -> None:
    """Talk to a model; /help lists the commands."""
    from lift_harness.interactive.chat import chat
    from lift_harness.interactive.session import open_session

    session = open_session(
        model, peft=peft, model_args=model_args, settings=gen_kwargs or (), seed=seed, prefix=prefix
    )
    chat(session, system)


@app.command("analyze")
def analyze_command(
    data: Annotated[str, typer.Option(help="A recipe (name or file), or a data source.")] = "quickstart",
    model: Model = "lift-tiny",
    peft: Peft = None,
    t_bins: Annotated[
        str, typer.Option(help="Diffusion times, with commas between.")
    ] = "2^-2,2^-1,2^-1/2,2^-1/4",
    examples: Annotated[int, typer.Option(min=1, help="Examples that the model sees.")] = 4000,
    seed: Annotated[int, typer.Option(help="Of the draw, the masks and the bootstrap.")] = 0,
    token: Annotated[
        list[str] | None, typer.Option(help="Plot this token's curve (text, or id:NUMBER).")
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write the tables as parquet, too.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder (default: runs/analysis-MODEL-DATA).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what is in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it.")] = False,
) -> None:
    """Measure how sure a model is of rare and of frequent tokens, by diffusion time."""
    from lift_harness.analysis.arguments import Options
    from lift_harness.analysis.run import analyze

    options = Options(
        model, data, peft, t_bins=t_bins, examples=examples, seed=seed, tokens=token or (), parquet=parquet
    )
    analyze(options, output or options.default_output, resume=resume, overwrite=overwrite)


@app.command("doctor")
def doctor_command(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder, Hub id, or a model inside the package; none: the installation."),
    ] = None,
    peft: Annotated[str | None, typer.Option(help="Folder of an adapter.")] = None,
    gen_length: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 256,
    prompt_length: Annotated[int, typer.Option(min=1, help="Tokens of a prompt.")] = 256,
    memory: Annotated[float | None, typer.Option(metavar="GIB", min=0, help="Default: what is free.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub id.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation; or a checkpoint: what it is, what it takes, what is wrong with it."""
    import json

    from rich.console import Console

    if model is None:
        from lift_harness.installation import examine_installation, installation_json, show_installation

        found = examine_installation()
        if json_:
            typer.echo(json.dumps(installation_json(found), indent=2))
        else:
            show_installation(found, Console())
        for problem in found.problems:
            typer.echo(f"problem: {problem}", err=True)
        raise typer.Exit(2 if found.problems else 0)
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
