"""Draw the two pictures of the README from what the project computes: `python docs/images/draw.py [FOLDER]`.

`lift.svg`: what LIFT hides and learns at three diffusion times. `denoising.svg`: lift-tiny solving a Sudoku,
token by token, an animation that any browser plays. Both by the model inside the package, at seed 0.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lift_harness.decoding import DecodingConfig, Generation, generate
from lift_harness.models import load_model
from lift_harness.models.chat import encode_prompt, render_chat, stop_ids
from lift_harness.tasks.protocol import load_task
from lift_harness.training.data import Collator, tokenize
from lift_harness.training.objectives.base import Batch, NoiseKey, confidences
from lift_harness.training.objectives.lookahead import Lookahead, how_many, keep, regimes
from lift_harness.training.sources.synthetic import generated

WIDTH, CHARACTER, LINE = 860, 8.4, 30  # of the picture, of a letter of 14 px, of a line of tokens
STYLE = """
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328 }
  .label { font: 13px system-ui, sans-serif; fill: #59636e }
  .title { font: 600 14px system-ui, sans-serif }
  rect { fill: #f3f4f6 } .paper { fill: #ffffff }
  .first { fill: #e3e8f0 } .first + text { fill: #8b96a5 }
  .learnt { fill: #d9480f } .learnt + text { fill: #ffffff }
  .axis { stroke: #59636e; stroke-width: 1.5 }
"""


class Token(NamedTuple):
    """A token on the picture: its text, how it is drawn, at which step it came."""

    text: str
    kind: str
    step: int = 0


def lines(tokens: Sequence[Token], width: float) -> Iterator[list[tuple[float, Token]]]:
    """The tokens in lines of a width, each with its place."""
    row: list[tuple[float, Token]] = []
    x = 0.0
    for token in tokens:
        room = CHARACTER * len(token.text) + 12
        if x + room > width:
            yield row
            row, x = [], 0.0
        row.append((x, token))
        x += room + 4
    yield row


def box(x: float, y: float, token: Token, inside: str = "") -> str:
    """A token as a box with its text; `inside` goes into both."""
    width = CHARACTER * len(token.text) + 12
    return (
        f'<g class="token"><rect class="{token.kind}" x="{x:.1f}" y="{y - 17:.1f}" width="{width:.1f}" '
        f'height="24" rx="4"/><text x="{x + 6:.1f}" y="{y:.1f}" xml:space="preserve">{inside}'
        f"{escape(token.text)}</text></g>"
    )


def picture(height: float, label: str, style: str, parts: Sequence[str]) -> str:
    """An SVG on white paper, with a name for those who do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(label)}"><style>{STYLE}{style}</style>'
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>{"".join(parts)}</svg>\n'
    )


# ---------------------------------------------------------------- what LIFT learns

TIMES = (
    (0.2, 0.3, "the hardest"),
    (0.5, 0.3, "some at random"),
    (0.8, 0.15, "the easiest"),
)  # t, rho, which are learnt


def lift_picture(model: Any, tokenizer: Any) -> str:
    """The t axis, and on it what is masked and what is learnt of one example at three times."""
    [record] = generated("countdown", 1, seed=12)
    inputs = Collator(tokenizer.eos_token_id)(tokenize([record], tokenizer))
    batch = Batch(
        inputs["input_ids"], inputs["labels"] != -100, inputs["example_id"], tokenizer.mask_token_id
    )
    parts = [
        text(16, 30, "What LIFT learns from one example (H = 3)", "title"),
        text(
            16,
            50,
            "grey: masked in the first pass, shown again; orange: masked in the second, learnt",
            "label",
        ),
    ]
    y = 92.0
    for t, rho, which in TIMES:
        drawn, kept = learnt(model, batch, t, rho)
        tokens = [
            Token(shown(tokenizer, int(id)), "learnt" if learn else "first" if mask else "")
            for id, mask, learn in zip(
                batch.x0[batch.response], drawn.masked[batch.response], kept[batch.response], strict=True
            )
        ]
        parts.append(text(16, y, f"t = {t}", "title") + text(16, y + 18, which, "label"))
        for row in lines(tokens, WIDTH - 160):
            parts += [box(140 + x, y, token) for x, token in row]
            y += LINE
        y += 18
    parts.append(axis(y))
    return picture(y + 56, "Masks of LIFT at three diffusion times", "", parts)


def learnt(model: Any, batch: Batch, t: float, rho: float) -> tuple[Lookahead, torch.Tensor]:
    """What is masked at t + rho, and which of it is learnt."""
    key, time, ahead = NoiseKey(0, 0), torch.tensor([t]).double(), torch.tensor([rho]).double()
    masked = key.mask_below(time + ahead, batch)
    drawn = Lookahead(time, ahead, masked, regimes(time, 3), how_many(time, batch.lengths, masked))
    inputs = batch.x0.masked_fill(masked, batch.mask_id)
    confidence = confidences(model, batch, inputs, masked, torch.ones(1, dtype=torch.bool))
    return drawn, keep(confidence, drawn, key.select(batch))


def axis(y: float) -> str:
    """The diffusion time from 0 to 1 with the borders of the three regimes."""
    left, right = 140.0, WIDTH - 20.0
    third = (right - left) / 3
    names = ("learn the hardest", "learn some at random", "learn the easiest")
    parts = [f'<path class="axis" d="M{left} {y}H{right}"/>']
    for i, value in enumerate(("0", "1/H", "1 − 1/H", "1")):
        x = left + i * third
        parts.append(f'<path class="axis" d="M{x:.1f} {y - 5}v10"/>' + text(x - 4, y + 22, value, "label"))
    parts += [text(left + i * third + 60, y - 8, name, "label") for i, name in enumerate(names)]
    return text(16, y + 5, "t: share hidden", "label") + "".join(parts)


def text(x: float, y: float, words: str, kind: str) -> str:
    """Words at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def shown(tokenizer: Any, id: int) -> str:
    """A token as it is drawn: a line's end as an arrow."""
    return tokenizer.decode([id]).replace("\n", "↵")


# ---------------------------------------------------------------- a decoding

SECONDS_A_STEP, PAUSE = 0.35, 3.0


def denoising_picture(model: Any, tokenizer: Any) -> str:
    """An animation of the first Sudoku that lift-tiny solves, in the task's own settings."""
    puzzle, answer = first_solved(model, tokenizer)
    ends = set(stop_ids(tokenizer))
    tokens = [
        Token("end" if id in ends else shown(tokenizer, id), "", step)
        for id, step in zip(answer.ids, answer.step, strict=True)
    ]
    steps = 1 + max(answer.step)
    whole = steps * SECONDS_A_STEP + PAUSE
    parts = [
        text(16, 30, f"lift-tiny on {puzzle}: {len(tokens)} tokens in {steps} steps", "title"),
        text(16, 50, "each step keeps the tokens that the model is surest of", "label"),
    ]
    y = 86.0
    for row in lines(tokens, WIDTH - 32):
        parts += [box(16 + x, y, token, appearing(token.step, whole)) for x, token in row]
        y += LINE
    return picture(y, "Tokens appearing in the order of their confidence", "", parts)


def appearing(step: int, whole: float) -> str:
    """The animation of a token: hidden until its step, then there to the end of the round."""
    at = (step + 1) * SECONDS_A_STEP / whole
    return (
        f'<animate attributeName="opacity" values="0;1;1" keyTimes="0;{at:.4f};1" dur="{whole:.2f}s" '
        'calcMode="discrete" repeatCount="indefinite"/>'
    )


def first_solved(model: Any, tokenizer: Any) -> tuple[str, Generation]:
    """The puzzle and the decoding of the first problem of `lift_sudoku_mini` that is solved."""
    task = load_task("lift_sudoku_mini")
    config = DecodingConfig.of(task.config.metadata["decoding"])
    for doc in task.eval_docs:
        chat = render_chat(tokenizer, [{"role": "user", "content": task.doc_to_text(doc)}])
        prompt = encode_prompt(tokenizer, chat + task.config.gen_prefix)
        [answer] = generate(
            model, [prompt], config, mask_id=tokenizer.mask_token_id, eos_id=stop_ids(tokenizer)
        )
        words = tokenizer.decode(answer.ids, skip_special_tokens=True)
        if task.process_results(doc, [[words]])["solved"] == 1:
            return "puzzle " + task.doc_to_text(doc).rpartition(" ")[2], answer
    raise AssertionError("lift-tiny solves none")


def main() -> None:
    """Write both pictures."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent
    model, tokenizer = load_model("lift-tiny")
    for name, draw in (("lift.svg", lift_picture), ("denoising.svg", denoising_picture)):
        (folder / name).write_text(draw(model, tokenizer), encoding="utf-8")


if __name__ == "__main__":
    main()
