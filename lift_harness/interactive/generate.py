"""`lift-harness generate`: one answer, and how it comes about."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.text import Text

from lift_harness.console import Console, say
from lift_harness.decoding import Generation
from lift_harness.errors import LiftError
from lift_harness.interactive import canvas
from lift_harness.interactive.session import Answer, Session

if TYPE_CHECKING:  # it needs lm-eval, which an answer to a prompt does without
    from lift_harness.interactive.problem import Problem

DELAY = 0.05  # seconds


def print_answer(
    session: Session,
    text: str,
    *,
    raw: bool = False,
    system: str | None = None,
    show: bool = False,
    as_json: bool = False,
    delay: float | None = None,
    console: Console | None = None,
) -> Answer:
    """Answer a prompt and print the answer.

    Args:
        session: the model.
        text: of the user.
        raw: send the text as it is, without the chat template.
        system: the system's message before it.
        show: animate the denoising in a terminal; elsewhere print a line for each pass.
        as_json: print JSON in place of the text.
        delay: seconds that each picture of the animation stays, at least; None: `DELAY`.
        console: to print to.

    Raises:
        LiftError: options that exclude each other, and what `Session.answer` raises.
    """
    console = console or Console()
    check_options(raw=raw, system=system, show=show, as_json=as_json, delay=delay)
    said = [{"role": "user", "content": text}]
    prompt = session.raw_prompt(text) if raw else session.chat_prompt(said, system)
    answer = answered(session, prompt, show, delay, console)
    if as_json:
        say_json(console, described(session, answer))
    else:
        say(console, canvas.visible(session.prefix + answer.text))
    return answer


def print_verdict(
    session: Session,
    problem: Problem,
    *,
    show: bool = False,
    as_json: bool = False,
    delay: float | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Answer a problem of a task, and print problem, answer, target and verdict.

    Args:
        session: the model, with the problem's settings.
        problem: to be answered.
        show: as `print_answer` has it; so are the others.
        as_json: print JSON in place of the text.
        delay: seconds that each picture stays, at least.
        console: to print to.

    Returns:
        The verdict: metric -> a share, or (right, empty) cells.
    """
    console = console or Console()
    if not as_json:
        say(console, f"--- problem {problem.number} of {problem.name}\n{canvas.visible(problem.question)}")
        say(console, "--- answer")
    answer = answered(session, list(problem.request.prompt), show, delay, console)
    verdict = problem.verdict(session.tokenizer, answer.generation)
    if as_json:
        of_task = {"task": problem.name, "problem": problem.number, "question": problem.question}
        judged = {"target": problem.target, "verdict": verdict}
        say_json(console, {**of_task, **described(session, answer), **judged})
    else:
        say(console, canvas.visible(problem.prefix + answer.text))
        say(console, f"--- target\n{canvas.visible(problem.target)}\n--- verdict\n{words_of(verdict)}")
    return verdict


def words_of(verdict: Mapping[str, Any]) -> str:
    """A verdict for a reader: "acc: 5 of 7, solved: no"."""
    words = {0: "no", 1: "yes"}
    parts = []
    for name, value in verdict.items():
        cells = f"{value[0]:g} of {value[1]:g}" if isinstance(value, tuple) else None
        parts.append(f"{name}: {cells or words.get(value, value)}")
    return ", ".join(parts)


def answered(
    session: Session, prompt: list[int], show: bool, delay: float | None, console: Console
) -> Answer:
    """An answer, watched or not."""
    for line in session.notes():
        sys.stderr.write(f"{line}\n")
    if not show:
        return session.answer(prompt)
    if console.is_terminal:
        return animate(session, prompt, console, DELAY if delay is None else delay)
    return narrate(session, prompt, console)


def say_json(console: Console, data: Mapping[str, Any]) -> None:
    """Data as JSON."""
    say(console, json.dumps(data, ensure_ascii=False, indent=2))


def check_options(*, raw: bool, system: str | None, show: bool, as_json: bool, delay: float | None) -> None:
    """Refuse options of which one would not be used."""
    if raw and system is not None:
        raise LiftError("--system needs the chat template, which --raw leaves out; give one of them")
    if show and as_json:
        raise LiftError("--show and --json exclude each other: the JSON holds every step; give one of them")
    if delay is not None and not show:
        raise LiftError("--delay is of the pictures of --show; give both, or neither")


def animate(session: Session, prompt: list[int], console: Console, delay: float) -> Answer:
    """Decode with a picture a pass; the last one, coloured by confidence, stays."""
    config, last = session.config, Generation([], [], [], 0)
    shown = 0.0
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:

        def step(out: Generation) -> None:
            nonlocal last, shown
            started = time.perf_counter()
            new = frozenset(canvas.changes(last if last.ids else None, out))
            live.update(canvas.frame(session.tokenizer, out, config, new, console, len(prompt)), refresh=True)
            time.sleep(delay)
            last = out
            shown += time.perf_counter() - started

        answer = session.answer(prompt, step)
        answer = dataclasses.replace(answer, seconds=answer.seconds - shown)
        picture = canvas.frame(
            session.tokenizer, answer.generation, config, frozenset(), console, len(prompt)
        )
        live.update(
            Text("\n").join([picture, canvas.legend(), Text(took(answer), style="dim")]), refresh=True
        )
    say(console, "")
    return answer


def narrate(session: Session, prompt: list[int], console: Console) -> Answer:
    """Decode with a line a pass."""
    config = session.config
    before: Generation | None = None

    def step(out: Generation) -> None:
        nonlocal before
        say(console, canvas.line(session.tokenizer, before, out, config, len(prompt)))
        before = out

    answer = session.answer(prompt, step)
    say(console, f"{took(answer)}\n")
    return answer


def took(answer: Answer) -> str:
    """What an answer took."""
    out = answer.generation
    rate = len(out.ids) / answer.seconds if answer.seconds > 0 else 0.0
    return f"{len(out.ids)} tokens, {out.forward_passes} passes, {answer.seconds:.2f} s, {rate:.1f} tokens/s"


def described(session: Session, answer: Answer) -> dict[str, Any]:
    """An answer as plain data: text, for each token when and how surely it was committed, and edits."""
    out = answer.generation
    return {
        "model": session.name,
        "text": session.prefix + answer.text,
        "prompt_tokens": answer.prompt_tokens,
        "forward_passes": out.forward_passes,
        "seconds": round(answer.seconds, 4),
        "settings": session.config.recorded,
        "ids": out.ids,
        "tokens": canvas.pieces(session.tokenizer, out.ids),
        "step": out.step,
        "confidence": out.confidence,
        "replaced": out.replaced,
    }
