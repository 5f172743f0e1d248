"""How a text looks while it is decoded: placeholders, tokens coloured by confidence, blocks marked."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from rich.style import Style
from rich.text import Text

from lift_harness.console import Console
from lift_harness.console import visible as escaped
from lift_harness.decoding import DecodingConfig, Generation
from lift_harness.models.chat import stop_ids

LOW, MIDDLE, HIGH = (214, 69, 65), (233, 196, 76), (76, 175, 100)  # confidence 0, 1/2, 1
# (masked, block border, after the end, a line break that is shown)
UNICODE, ASCII = ("░", "│", "·", "↵"), ("_", "|", ".", "\\n")


def colour(confidence: float) -> str:
    """The colour of a confidence from 0 to 1: red, yellow, green."""
    p = min(max(confidence, 0.0), 1.0)
    (a, b), share = ((LOW, MIDDLE), 2 * p) if p < 0.5 else ((MIDDLE, HIGH), 2 * p - 1)
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return f"rgb({red},{green},{blue})"


def probability(confidence: float, config: DecodingConfig) -> float:
    """A confidence on the scale from 0 to 1; an entropy H is exp(-H)."""
    return math.exp(min(confidence, 0.0)) if config.remasking == "entropy" else confidence


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Text of each token, which together are the text of all; one that ends within a character has none."""
    parts: list[str] = []
    waiting: list[int] = []
    for token in ids:
        waiting.append(token)
        text = tokenizer.decode(waiting, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        whole = not text.endswith("\N{REPLACEMENT CHARACTER}") or len(waiting) == 4
        parts.append(text if whole else "")
        if whole:
            waiting = []
    if waiting:
        parts[-1] = tokenizer.decode(waiting, skip_special_tokens=False)
    return parts


def visible(text: str) -> str:
    """Text without what would steer the terminal; tabs as spaces, so that widths can be told."""
    return escaped(text).replace("\t", "    ")


def texts(tokenizer: Any, out: Generation) -> list[str]:
    """Text of each position; of masked ones, empty."""
    parts: list[str] = []
    for masked, run in groupby(range(len(out.ids)), key=lambda i: out.step[i] < 0):
        ids = [out.ids[i] for i in run]
        parts += [""] * len(ids) if masked else map(visible, pieces(tokenizer, ids))
    return parts


def block_of(i: int, config: DecodingConfig, start: int) -> int:
    """The block of the answer, from 0, that holds its token i; the answer begins at column `start`."""
    offset = start % config.block_length if config.grid == "sequence" else 0
    return (i + offset) // config.block_length


def draw(
    tokenizer: Any,
    out: Generation,
    config: DecodingConfig,
    new: frozenset[int],
    *,
    ascii_only: bool,
    start: int = 0,
) -> Text:
    """The canvas; `new` positions stand out, or every one is coloured if there are none.

    `start` is the number of tokens before it, here and below: blocks may be counted from the prompt's first.
    """
    mask, border, rest, line_break = ASCII if ascii_only else UNICODE
    stops = set(stop_ids(tokenizer))
    shown, ended = Text(), False
    here = current_block(out, config, start)
    for i, text in enumerate(texts(tokenizer, out)):
        block = block_of(i, config, start)
        if i and block != block_of(i - 1, config, start):
            shown.append(border, style="dim")
        if out.step[i] < 0:
            shown.append(mask, style="" if block == here else "dim")
            continue
        if out.ids[i] in stops:
            text, ended = rest if ended else text, True
        sure = colour(probability(out.confidence[i], config))
        if i in new:
            text = text.replace("\n", f"{line_break}\n")
            style = Style(color="black", bgcolor=sure)
        else:
            style = Style(color=None if new else sure, dim=out.ids[i] in stops)
        shown.append(text, style=style)
    return shown


def current_block(out: Generation, config: DecodingConfig, start: int = 0) -> int:
    """The first block that is not full, or the last."""
    first = next((i for i, step in enumerate(out.step) if step < 0), len(out.step) - 1)
    return block_of(first, config, start)


def status(out: Generation, config: DecodingConfig, new: Collection[int] = (), start: int = 0) -> str:
    """How far a decoding is; the block is that of the `new` positions."""
    done = sum(step >= 0 for step in out.step)
    here = block_of(max(new), config, start) if new else current_block(out, config, start)
    blocks = block_of(len(out.ids) - 1, config, start) + 1
    return f"pass {out.forward_passes}  block {here + 1}/{blocks}  {done}/{len(out.ids)} tokens"


def fit(text: Text, console: Console, rows: int, at_least: int) -> Text:
    """The lines of a text that fit into `rows`: the first ones, or those that end with line `at_least`."""
    lines = list(text.wrap(console, console.width))
    if len(lines) <= rows:
        return text
    start = max(0, min(len(lines) - rows, at_least - rows + 1))
    return Text("\n").join(lines[start : start + rows])


def frame(
    tokenizer: Any,
    out: Generation,
    config: DecodingConfig,
    new: frozenset[int],
    console: Console,
    start: int = 0,
) -> Text:
    """One picture of the animation: status line and canvas, no taller than the terminal."""
    canvas = draw(tokenizer, out, config, new, ascii_only=ascii_only(console), start=start)
    head = Text().append(status(out, config, new, start) + "\n", style="bold")
    last = max(new, default=0)
    before = Generation(out.ids[: last + 1], out.step[: last + 1], out.confidence[: last + 1], 0)
    reached = draw(tokenizer, before, config, frozenset(), ascii_only=True, start=start)
    lines = reached.wrap(console, console.width)
    return head.append_text(fit(canvas, console, max(1, console.height - 3), len(lines) - 1))


def ascii_only(console: Console) -> bool:
    """Whether the terminal takes nothing but ASCII."""
    return console.options.ascii_only or console.legacy_windows


def legend() -> Text:
    """What the colours mean."""
    shown = Text().append("confidence ", style="dim")
    for tenth in range(0, 11, 2):
        shown.append(f" {tenth / 10:.1f} ", style=Style(color="black", bgcolor=colour(tenth / 10)))
    return shown


def changes(before: Generation | None, after: Generation) -> list[int]:
    """The positions that were committed or edited between two results, by step and position."""
    old = [-1] * len(after.step) if before is None else before.step
    new = [i for i, (a, b) in enumerate(zip(old, after.step, strict=True)) if a != b]
    return sorted(new, key=lambda i: (after.step[i], i))


def line(
    tokenizer: Any, before: Generation | None, out: Generation, config: DecodingConfig, start: int = 0
) -> str:
    """What a pass committed, as a line of plain text; an edit with what stood there before."""
    shown, new = texts(tokenizer, out), changes(before, out)
    past = texts(tokenizer, before) if before else [""] * len(shown)
    parts = [status(out, config, new, start)]
    for i in new:
        edited = f"{past[i]!r} -> " if before and before.step[i] >= 0 else ""
        parts.append(f"{edited}{shown[i]!r} {out.confidence[i]:.2f}")
    return "  ".join(parts)
