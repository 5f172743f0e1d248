"""The commands that have a model answer: eval, generate, chat; and score."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lift_harness.cli.options import (
    DecodingSet,
    GenKwargs,
    Model,
    ModelArgs,
    Peft,
    Prefix,
    Seed,
    System,
    Unsafe,
)
from lift_harness.errors import LiftError
from lift_harness.files import check_writable

app = typer.Typer()


@app.command("eval")
def eval_command(
    tasks: Annotated[
        str | None, typer.Option(help="Names with commas between: gsm8k,aime24, lift_reasoning, ...")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A published protocol by name, with its tasks or those of them in --tasks."),
    ] = None,
    model: Annotated[str, typer.Option(help="Folder, Hub id, or a model inside the package.")] = "lift-tiny",
    peft: Peft = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Answers a problem, for pass@k (default: the task's).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Problems a task (default: all).")] = None,
    num_fewshot: Annotated[
        int | None, typer.Option("--num_fewshot", min=0, help="Worked examples before each question.")
    ] = None,
    model_args: Annotated[str, typer.Option("--model_args", help="As lm_eval's: KEY=VALUE,...")] = "",
    gen_kwargs: Annotated[
        str, typer.Option("--gen_kwargs", help="Decoding: temperature=0.5,steps=64,...")
    ] = "",
    batch_size: Annotated[str, typer.Option("--batch_size", help="Requests in a pass, or auto.")] = "auto",
    output: Annotated[Path | None, typer.Option(help="Folder for lm-eval's results and sample logs.")] = None,
    confirm_run_unsafe_code: Unsafe = False,
) -> None:
    """Evaluate a checkpoint on the project's tasks, with any number of samples a problem."""
    if tasks is None and preset is None:
        raise LiftError(
            "nothing to evaluate: give --tasks, e.g. --tasks gsm8k, or --preset (docs/presets.md)"
        )
    check_writable(output, folder=True)
    from lift_harness.console import Console
    from lift_harness.lm.evaluation import evaluate_model
    from lift_harness.pipeline.report import score_tables

    console = Console()
    rows = evaluate_model(
        model,
        tasks.split(",") if tasks is not None else [],
        preset=preset,
        peft=peft,
        samples=samples,
        limit=limit,
        num_fewshot=num_fewshot,
        model_args=model_args,
        gen_kwargs=gen_kwargs,
        batch_size=batch_size,
        output=output,
        confirm_run_unsafe_code=confirm_run_unsafe_code,
    )
    if rows:
        console.print(score_tables(rows, console.width))


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
    from lift_harness.tasks.scoring.rescore import score_file

    found = score_file(task, samples, output, allow_unisolated=confirm_run_unsafe_code)
    metrics = found.pop("metrics")
    for name, value in found.items():
        typer.echo(f"{name}: {value}")
    for name in (name for name in metrics if not name.endswith("_stderr")):
        typer.echo(f"{name:12} {metrics[name]:.4f} +- {metrics[f'{name}_stderr']:.4f}")


@app.command("generate")
def generate_command(
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    model: Model = "lift-tiny",
    peft: Peft = None,
    show: Annotated[bool, typer.Option("--show", help="Show the text while it is denoised.")] = False,
    set_: DecodingSet = None,
    gen_kwargs: GenKwargs = "",
    model_args: ModelArgs = "",
    seed: Seed = None,
    raw: Annotated[bool, typer.Option("--raw", help="Send the prompt without the chat template.")] = False,
    system: System = None,
    prefix: Prefix = "",
    delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds a picture of --show stays, at least (default: 0.05).")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with every step.")] = False,
) -> None:
    """Answer a prompt."""
    from lift_harness.interactive.generate import check_options, print_answer
    from lift_harness.interactive.session import open_session

    check_options(raw=raw, system=system, show=show, as_json=json_, delay=delay)
    settings = [*(set_ or ()), *([gen_kwargs] if gen_kwargs else ())]
    text = read_stdin() if prompt == "-" else prompt
    session = open_session(
        model, peft=peft, model_args=model_args, settings=settings, seed=seed, prefix=prefix
    )
    print_answer(session, text, raw=raw, system=system, show=show, as_json=json_, delay=delay)


def read_stdin() -> str:
    """All of the standard input."""
    try:
        return sys.stdin.read().rstrip("\n") if sys.stdin else ""
    except UnicodeDecodeError as error:
        raise LiftError(f"standard input is not UTF-8: {error.reason} at byte {error.start}") from error


@app.command("chat")
def chat_command(
    model: Model = "lift-tiny",
    peft: Peft = None,
    set_: DecodingSet = None,
    gen_kwargs: GenKwargs = "",
    model_args: ModelArgs = "",
    seed: Seed = None,
    system: System = None,
    prefix: Prefix = "",
) -> None:
    """Talk with a model: /help lists the commands, Ctrl-C stops an answer."""
    from lift_harness.interactive.chat import chat
    from lift_harness.interactive.session import open_session

    settings = [*(set_ or ()), *([gen_kwargs] if gen_kwargs else ())]
    chat(
        open_session(model, peft=peft, model_args=model_args, settings=settings, seed=seed, prefix=prefix),
        system,
    )
