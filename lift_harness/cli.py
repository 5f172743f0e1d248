"""The `lift-harness` command: models and answers here, experiments in `cli_experiments`.

Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lift_harness import __version__
from lift_harness.cli_experiments import check_one_of, experiments
from lift_harness.console import one_line, plain_output
from lift_harness.errors import LiftError, Stopped, first_line, out_of_memory
from lift_harness.files import check_writable


class Commands(TyperGroup):
    """The commands. Typer ends at Ctrl-C without a word (0.29)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            left = "where a folder was written, the same command goes on in it"
            raise Stopped(f"Ctrl-C; {left}", signal.SIGINT) from None


app = typer.Typer(
    cls=Commands,
    help="Train and evaluate masked diffusion language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(experiments)

NOT_ENOUGH = (
    "out of memory; lower batch_size, gen_length or max_length, take a smaller model or dtype, or allow more "
    "memory (ulimit -v)"
)

DecodingSet = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A decoding setting, e.g. temperature=0.7."),
]
GenKwargs = Annotated[str, typer.Option("--gen_kwargs", help="The same as --set: KEY=VALUE,...")]
ModelArgs = Annotated[
    str, typer.Option("--model_args", help="Of loading: dtype=bfloat16,device=cpu,load_in_8bit=true,...")
]
Model = Annotated[str, typer.Option("--model", "-m", help="Folder, Hub id, or a model inside the package.")]
Peft = Annotated[str | None, typer.Option(help="Folder of an adapter.")]
Seed = Annotated[int | None, typer.Option(help="Of sampling, where the temperature is above 0.")]
System = Annotated[str | None, typer.Option(help="The system's message.")]
Prefix = Annotated[str, typer.Option(help="What answers are made to begin with, e.g. '<reasoning>'.")]
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
    num_fewshot: Annotated[
        int, typer.Option("--num_fewshot", min=0, help="Worked examples before each question.")
    ] = 0,
    model_args: Annotated[str, typer.Option("--model_args", help="As lm_eval's: KEY=VALUE,...")] = "",
    gen_kwargs: Annotated[
        str, typer.Option("--gen_kwargs", help="Decoding: temperature=0.5,steps=64,...")
    ] = "",
    batch_size: Annotated[str, typer.Option("--batch_size", help="Requests in a pass, or auto.")] = "auto",
    output: Annotated[Path | None, typer.Option(help="Folder for lm-eval's results and sample logs.")] = None,
    confirm_run_unsafe_code: Unsafe = False,
) -> None:
    """Evaluate a checkpoint on the project's tasks, with any number of samples a problem."""
    check_writable(output, folder=True)
    from lift_harness.console import Console
    from lift_harness.lm.evaluation import evaluate_model
    from lift_harness.pipeline.report import score_tables

    console = Console()
    rows = evaluate_model(
        model,
        tasks.split(","),
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


@app.command("doctor")
def doctor_command(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder, Hub id, or a model inside the package; none: what is installed."),
    ] = None,
    peft: Annotated[str | None, typer.Option(help="Folder of an adapter.")] = None,
    gen_length: Annotated[int | None, typer.Option(min=1, help="Tokens to generate (default: 256).")] = None,
    prompt_length: Annotated[int | None, typer.Option(min=1, help="Of a prompt (default: 256).")] = None,
    memory: Annotated[float | None, typer.Option(metavar="GIB", min=0, help="Default: what is free.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub id.")] = None,
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
    }
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
    check_writable(out, folder=True)
    from lift_harness.models.merging import merge

    typer.echo(merge(base, adapter, out, dtype=dtype, max_shard_size=max_shard_size, revision=revision))


def main() -> None:
    """Run the command line: bad input is one line on standard error and exit code 2."""
    with plain_output():
        run()


def run() -> None:
    """The command line with its exit codes."""
    try:
        app()
    except Stopped as stop:
        sys.stderr.write(f"stopped: {one_line(str(stop))}\n")
        sys.exit(stop.exit_code)
    except LiftError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(2)
    except BrokenPipeError:  # the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if out_of_memory(error):  # each library has its own class for it
            sys.stderr.write(f"error: {one_line(f'{NOT_ENOUGH} ({first_line(error)})')}\n")
        elif isinstance(error, OSError):  # a full disk, a folder that may not be written to
            where = f"{error.filename}: " if error.filename else ""
            sys.stderr.write(f"error: {one_line(f'{where}{error.strerror or error}')}\n")
        else:
            raise
        sys.exit(2)
