"""The commands that have a model answer: eval, generate, chat; and score."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lift_harness.cli.app import App
from lift_harness.cli.options import (
    DecodingSet,
    GenKwargs,
    Limit,
    Model,
    ModelArgs,
    Peft,
    Prefix,
    Seed,
    Shots,
    System,
    Unsafe,
    names_of,
)
from lift_harness.console import Console, say_where, typed
from lift_harness.errors import LiftError
from lift_harness.files import check_writable, named_after

app = App()


@app.command("eval")
def eval_command(
    tasks: Annotated[
        str | None, typer.Option(help="Names with commas between, e.g. gsm8k,aime24 or reasoning.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="A published protocol by name, with its tasks or those of them in --tasks."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Needed: folder, Hub id, or a model inside the package."),
    ] = None,
    peft: Peft = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Answers a problem, for pass@k (default: the task's).")
    ] = None,
    limit: Limit = None,
    num_fewshot: Shots = None,
    model_args: ModelArgs = None,
    gen_kwargs: GenKwargs = None,
    batch_size: Annotated[str, typer.Option(help="Requests in a pass, or auto.")] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results and sample logs (default: results/, by model, tasks and options)."
        ),
    ] = None,
    confirm_run_unsafe_code: Unsafe = False,
) -> None:
    """Evaluate a checkpoint on the project's tasks, with any number of samples a problem."""
    if model is None:
        raise LiftError(
            "--model is missing: a folder, a Hub id or a model inside the package, e.g. --model lift-tiny"
        )
    names = names_of(tasks)
    if not names and preset is None:
        raise LiftError(
            "nothing to evaluate: give --tasks, e.g. --tasks gsm8k, or --preset (docs/presets.md)"
        )
    loading, decoding = model_args or [], gen_kwargs or []
    asked = {"preset": preset, "samples": samples, "limit": limit, "num_fewshot": num_fewshot}
    given: list[tuple[str, object]] = [(name, value) for name, value in asked.items() if value is not None]
    check_ours(names, model, peft, loading, decoding, given)
    if output is None:
        short = [name.removeprefix("lift_") for name in names]
        options = [f"{name.removeprefix('num_')}={value}" for name, value in given]
        what = "-".join([*short, *options, *decoding, *loading]).replace("/", "-")
        output = Path("results") / named_after(peft or model, what)
    check_writable(output, folder=True)
    from lift_harness.lm.evaluation import evaluate_model
    from lift_harness.pipeline.report import score_tables

    console = Console()
    rows = evaluate_model(
        model,
        names,
        preset=preset,
        peft=peft,
        samples=samples,
        limit=limit,
        num_fewshot=num_fewshot,
        model_args=",".join(loading),
        gen_kwargs=",".join(decoding),
        batch_size=batch_size,
        output=output,
        confirm_run_unsafe_code=confirm_run_unsafe_code,
    )
    if rows:
        console.print(score_tables(rows, console.width))
        say_where(results=output, compare=typed("compare", output))


def check_ours(
    names: list[str],
    model: str,
    peft: str | None,
    model_args: list[str],
    gen_kwargs: list[str],
    given: list[tuple[str, object]],
) -> None:
    """Refuse what is no task of ours; of a task of lm-eval's own with the command that runs it."""
    from lift_harness.plugin.task_names import STOCK, is_stock
    from lift_harness.tasks.catalog import expand, is_ours

    others = [name for name in names if not is_ours(name)]
    stock = [name for name in others if name.startswith(STOCK) or is_stock(name)]
    if stock:
        arguments = ",".join([f"pretrained={model}", *([f"peft={peft}"] if peft else []), *model_args])
        words = ["lm_eval", "--model", "lift_dlm", "--model_args", arguments, "--tasks", ",".join(names)]
        words += ["--gen_kwargs", ",".join(gen_kwargs)] if gen_kwargs else []
        for name, value in given:
            words += [f"--{name}", str(value)] if name not in ("samples", "preset") else []
        raise LiftError(
            f"{', '.join(stock)}: lm-eval's own, which its command runs on this model: {shlex.join(words)}"
        )
    expand(others)


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
    from lift_harness.pipeline.report import score_tables
    from lift_harness.results.logs import without_collector
    from lift_harness.results.read import load
    from lift_harness.tasks.scoring.rescore import score_file

    found = score_file(task, samples, output, allow_unisolated=confirm_run_unsafe_code)
    console, scored = Console(), found["output"]
    console.print(
        f"{task}: {found['problems']:,} problems, answers a problem: {found['samples']}", highlight=False
    )
    with without_collector():
        rows = load([scored], {"this log": scored})
    console.print(score_tables(rows, console.width, everything=True))
    say_where(scored=scored, sandbox=found.get("sandbox"), compare=typed("compare", scored))


@app.command("generate")
def generate_command(
    prompt: Annotated[
        str | None, typer.Argument(help="What to ask; - reads it from standard input. Or --task.")
    ] = None,
    model: Model = "lift-tiny",
    peft: Peft = None,
    task: Annotated[str | None, typer.Option(help="Pose a problem of this task, e.g. gsm8k.")] = None,
    problem: Annotated[
        int | None, typer.Option(min=0, help="Its number, from 0, as in sample logs (default: 0).")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the text while it is denoised.")] = False,
    set_: DecodingSet = None,
    gen_kwargs: GenKwargs = None,
    model_args: ModelArgs = None,
    seed: Seed = None,
    raw: Annotated[bool, typer.Option("--raw", help="Send the prompt without the chat template.")] = False,
    system: System = None,
    prefix: Prefix = "",
    delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds a picture of --show stays, at least (default: 0.05).")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with every step.")] = False,
) -> None:
    """Answer a prompt, or a problem of a task, which is judged."""
    from lift_harness.interactive.generate import check_options, print_answer, print_verdict
    from lift_harness.interactive.session import given_settings, open_session, parse_settings

    of_prompt = {
        "--raw": raw,
        "--system": system is not None,
        "--prefix": bool(prefix),
        "a prompt": bool(prompt),
    }
    check_options(raw=raw, system=system, show=show, as_json=json_, delay=delay)
    check_what_is_asked(prompt, task, problem, [name for name, is_given in of_prompt.items() if is_given])
    decoding, loading = [*(set_ or ()), *(gen_kwargs or ())], ",".join(model_args or ())
    options: dict[str, Any] = {"peft": peft, "model_args": loading, "settings": decoding, "seed": seed}
    if task is not None:
        from lift_harness.interactive.problem import find_problem

        loaded_as = parse_settings([loading] if loading else [])
        posed = find_problem(task, problem or 0, model, loaded_as, given_settings(decoding, seed))
        session = open_session(model, **options)
        session.task, session.key = posed.task.decoding, posed.request.key
        print_verdict(session, posed, show=show, as_json=json_, delay=delay)
        how = ["--model", model, *(["--peft", peft] if peft else [])]
        say_where(all_problems=typed("eval", *how, "--tasks", posed.name))
        return
    text = read_stdin() if prompt == "-" else prompt
    assert text is not None
    session = open_session(model, prefix=prefix, **options)
    print_answer(session, text, raw=raw, system=system, show=show, as_json=json_, delay=delay)


def check_what_is_asked(
    prompt: str | None, task: str | None, problem: int | None, of_prompt: list[str]
) -> None:
    """Refuse neither prompt nor task, and what belongs to the one beside the other."""
    if task is None and problem is not None:
        raise LiftError(f"--problem {problem} is of a task; name it, e.g. --task sudoku_mini")
    if task is None and prompt is None:
        raise LiftError("nothing is asked: give a prompt, or a problem: --task sudoku_mini --problem 3")
    if task is not None and of_prompt:
        raise LiftError(f"--task brings its own prompt: leave out {' and '.join(of_prompt)}")


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
    gen_kwargs: GenKwargs = None,
    model_args: ModelArgs = None,
    seed: Seed = None,
    system: System = None,
    prefix: Prefix = "",
) -> None:
    """Talk with a model: /help lists the commands, Ctrl-C stops an answer."""
    from lift_harness.interactive.chat import chat
    from lift_harness.interactive.session import open_session

    settings, loading = [*(set_ or ()), *(gen_kwargs or ())], ",".join(model_args or ())
    chat(
        open_session(model, peft=peft, model_args=loading, settings=settings, seed=seed, prefix=prefix),
        system,
    )
