"""`lift-harness data preview`: what a recipe trains on, decoded, with the tokens that are hidden at some t.

What is hidden is asked of the objective itself, with the recipe's noise and t held fixed. In some methods the
model decides too (LIFT keeps what it finds hard or easy): without it, the input of its first pass is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from lift_harness.console import Console, titled, visible
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models.clean_text import CleanText
from lift_harness.pipeline.data import block_size_of, method_examples, recipe_data, split_records
from lift_harness.pipeline.schema import Recipe
from lift_harness.training.data import Collator, Example, TokenCounts, dropped
from lift_harness.training.objectives import Batch, NoiseKey, Objective
from lift_harness.training.objectives.base import joined
from lift_harness.training.sources import Data

PROMPT, SHOWN, HIDDEN = "dim", "", "black on yellow"


@dataclass(frozen=True)
class AtTime(NoiseKey):
    """The noise of (seed, epoch), with a diffusion time that is given and not drawn."""

    time: float = 0.5

    def t(self, batch: Batch) -> Tensor:
        """The given time for every example: float64 [B]."""
        return torch.full_like(batch.example_id, self.time, dtype=torch.float64)


class Watched(Exception):  # noqa: N818 (no error: it ends a pass that has shown its input)
    """Carries the input of a forward pass, and which columns of the text it is."""


class Watching(nn.Module):
    """Stands for a model of which only the first noised input is of interest."""

    def __init__(self, block_size: int | None) -> None:
        super().__init__()
        self.block_size = block_size

    def forward(self, input_ids: Tensor, clean: CleanText | None = None, cache: Any = None, **_: Any) -> None:
        """Stop here: ids [B, N] are what the objective hides. (With a cache it is the clean text.)"""
        if cache is None:
            raise Watched(input_ids, slice(None) if clean is None else clean.noised)


def hidden_tokens(
    objective: Callable[..., Any],
    batch: Batch,
    key: NoiseKey,
    model: Any = None,
    block_size: int | None = None,
) -> Tensor:
    """bool [B, N]: the tokens that an objective hides; of the first pass if there is no `model`."""
    model = Watching(block_size) if model is None else model
    if (
        isinstance(objective, Objective) and objective.needs_reference
    ):  # nothing is trained yet: the model is the initial one
        objective = objective.with_reference(model)
    try:
        with torch.no_grad():
            inputs = joined(objective(model, batch, key).inputs, batch.x0.shape[1])
    except Watched as seen:
        inputs = batch.x0.clone()
        inputs[:, seen.args[1]] = seen.args[0][: len(inputs)]
    return inputs[: len(batch.x0)] == batch.mask_id  # a complementary view comes after the examples


def preview(
    examples: Sequence[Example],
    tokenizer: Any,
    objective: Callable[..., Any],
    *,
    t: float = 0.5,
    seed: int = 0,
    epoch: int = 0,
    pad_to: int | None = None,
    pack_to: int | None = None,
    model: Any = None,
    block_size: int | None = None,
    plain: bool = False,
) -> Group:
    """The examples as one batch, each in a panel: prompt dim, hidden tokens marked, padding counted.

    Args:
        examples: to show, at least one.
        tokenizer: theirs.
        objective: from `get_objective`.
        t: diffusion time in (0, 1].
        seed: of the recipe.
        epoch: whose noise; from 0.
        pad_to: as in training.
        pack_to: as in training.
        model: to follow methods that ask it what to hide.
        block_size: of the model, where it is not given.
        plain: mark hidden tokens with brackets, not by colour.
    """
    if not 0 < t <= 1:
        raise LiftError(f"t={t} is not in (0, 1]: it is the share of the response that is hidden")
    inputs = Collator(tokenizer.eos_token_id, pad_to, pack_to)(examples)  # shown in rows of their own
    response, ids = inputs["labels"] != -100, inputs["example_id"]
    priority, padding = inputs.get("priority"), inputs.get("padding")
    batch = Batch(inputs["input_ids"], response, ids, tokenizer.mask_token_id, priority, padding)
    hidden = hidden_tokens(objective, batch, AtTime(seed, epoch, t), model, block_size)
    panels = []
    for example, ids, marks in zip(examples, batch.x0.tolist(), hidden.tolist(), strict=True):
        count = sum(marks[: len(example)])
        title = f"{example.origin}   id {example.id}   {len(example.prompt)} + {len(example.response)} tokens"
        text = example_text(tokenizer, example, ids, marks, plain)
        note = f"{count} of {len(example.response)} hidden"
        panels.append(Panel(text, title=Text(title), subtitle=note, title_align="left"))
    return Group(*panels)


def example_text(tokenizer: Any, example: Example, ids: list[int], hidden: list[bool], plain: bool) -> Text:
    """One row of a batch: its prompt, its response with marks, and how much padding follows."""
    shown = Text(no_wrap=False)
    shown.append(decode(tokenizer, example.prompt), style="" if plain else PROMPT)
    if plain:
        shown.append(" ||| ")
    start, end = len(example.prompt), len(example)
    for is_hidden, run in groupby(range(start, end), key=hidden.__getitem__):
        text = decode(tokenizer, [ids[i] for i in run])
        if is_hidden and plain:
            text = f"[[{text}]]"
        # A hidden line break would show as nothing.
        shown.append(text.replace("\n", "\\n\n") if is_hidden else text, style=HIDDEN if is_hidden else SHOWN)
    if padding := len(ids) - end:
        token = decode(tokenizer, [ids[-1]])
        shown.append(f" {token} x {padding}, {sum(hidden[end:])} hidden", style="" if plain else PROMPT)
    return shown


def decode(tokenizer: Any, ids: list[int]) -> str:
    """Ids as text, special tokens included; escaped already here, so that lines are as wide as they look."""
    return visible(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


# ---------------------------------------------------------------- the summary


def data_summary(data: Data, counts: TokenCounts, held_out: int = 0) -> Group:
    """What was read, left out and kept, the lengths, and the hash that goes into the manifest.

    Args:
        data: all records.
        counts: of those that are trained on.
        held_out: records that are kept for validation.
    """
    sources = Table("source", "from", "rows", "left out", "examples")
    for part in data.sources:
        origin = ", ".join(f"{key} {value}" for key, value in part.origin.items() if value not in (None, {}))
        left_out = ", ".join(f"{count} {name}" for name, count in part.dropped.items() if count) or "none"
        cells = (part.source, origin, str(part.read), left_out, str(part.kept))
        sources.add_row(*map(Text, cells))  # not as markup: a split may be "train[:10]"
    lengths = Table("tokens", "min", "10 %", "median", "90 %", "99 %", "max")
    for name, quantiles in counts.quantiles().items():
        lengths.add_row(name, *(f"{value:,}" for value in quantiles.values()))
    total = sum(map(sum, counts.lengths))
    cut = f"{counts.truncated} with a response that is cut"
    lines = [f"{counts.examples:,} examples to train on, {total:,} tokens; {cut}"]
    if words := dropped(counts):
        lines.append(f"left out: {words}")
    lines += [
        f"{part.source}: the first bad row: {part.first_bad}" for part in data.sources if part.first_bad
    ]
    if outside := sum(part.no_priority for part in data.sources):
        lines.append(f"outside of priority_share: {outside:,} records, in which no token is a priority token")
    if held_out:
        lines.append(f"for validation: {held_out:,} records")
    lines.append(f"sha256 {data.sha256}")
    return Group(titled("Training data", sources), lengths, *map(Text, lines))


# ---------------------------------------------------------------- of a recipe


def preview_recipe(
    recipe: Recipe,
    *,
    n: int = 3,
    t: float = 0.5,
    method: str | None = None,
    with_model: bool = False,
    plain: bool = False,
    console: Console | None = None,
) -> None:
    """Print the first n examples of a recipe and the summary of its data.

    Args:
        recipe: from `load_recipe`.
        n: examples.
        t: diffusion time.
        method: by name; by default the recipe's first.
        with_model: load the recipe's model, and show what it makes of methods that ask it.
        plain: no colour; so it is anyway where the output is no terminal.
        console: to print to.
    """
    console = console or Console()
    methods = {each.name: each for each in recipe.methods}
    name = method or next(iter(methods))
    if name not in methods:
        raise LiftError(f"the recipe has no method {name!r}; {did_you_mean(name, methods)}")
    settings, objective = recipe.training_of(methods[name]), methods[name].build_objective()
    tokenizer, context, data = recipe_data(recipe)
    records, held_out = split_records(recipe, data.records)
    examples, counts = method_examples(records, tokenizer, settings, context, objective)
    model = whole_model(recipe) if with_model else None
    plain = plain or not console.is_terminal
    shown = preview(
        examples[:n],
        tokenizer,
        objective,
        t=t,
        seed=recipe.seed,
        pad_to=settings.pad_to,
        pack_to=settings.pack_to,
        model=model,
        block_size=block_size_of(recipe),
        plain=plain,
    )
    marks = "[[hidden]], prompt ||| response" if plain else "hidden tokens are marked, the prompt is dim"
    which = "" if model is not None else "; where the method asks the model, as its first pass is shown it"
    console.print(Text(f"{recipe.name}, {name}: t = {t}, seed {recipe.seed}, epoch 0; {marks}{which}"))
    console.print(shown)
    console.print(data_summary(data, counts, len(held_out)))


def whole_model(recipe: Recipe) -> Any:
    """The recipe's model with its weights, on the CPU."""
    from lift_harness.models import load_model

    if not isinstance(recipe.model, str):
        raise LiftError(f"recipe {recipe.name!r} makes a new model; there is none to load yet")
    return load_model(recipe.model, device="cpu", **recipe.loading)[0]
