"""What is analysed: the responses of training data, and how often each token occurs in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.keyed_random import ANALYSIS_DRAW, keyed_bits
from lift_harness.training.data import Example, TokenCounts, dropped, least, token_counter, tokenize
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import Record, load_data

GENERATED = 1000  # examples of a generator that is named without a number


@dataclass(frozen=True)
class Corpus:
    """The data, tokenised.

    Attributes:
        chosen: the examples that the model sees, in the order they were drawn.
        total: examples in the data.
        tokens: int64 [K], the ids that occur in the responses of all data, ascending.
        frequency: int64 [K], how often each does.
        sha256: of the chosen examples and of the frequencies.
        notes: what was cut or left out, in words.
    """

    chosen: list[Example]
    total: int
    tokens: NDArray[np.int64]
    frequency: NDArray[np.int64]
    sha256: str
    notes: list[str]


def load_corpus(name: str, tokenizer: Any, *, context: int | None, n: int | None, seed: int) -> Corpus:
    """Read the data, count its tokens, draw examples.

    Args:
        name: a recipe (name or YAML file), or a data source of training (a generator, a published dataset,
            a path).
        tokenizer: of the model.
        context: tokens that the model holds; what is longer loses the end of its response.
        n: examples that the model sees, drawn at random; None: all. Frequencies are of all data.
        seed: of the draw.

    Raises:
        LiftError: no such data, or data that cannot be read.
    """
    sources, max_length = find_sources(name, n)
    counts = TokenCounts()
    examples = tokenize(
        read_records(name, sources, tokenizer),
        tokenizer,
        max_length=least(context, max_length),
        long="truncate",
        counts=counts,
    )
    tokens = chain.from_iterable(example.response for example in examples)
    ids, frequency = np.unique(np.fromiter(tokens, np.int64), return_counts=True)
    notes = []
    if counts.truncated:
        notes.append(f"{counts.truncated} responses were cut at {least(context, max_length)} tokens")
    if words := dropped(counts):
        notes.append(f"left out: {words}")
    chosen = draw_examples(examples, n, seed)
    return Corpus(chosen, len(examples), ids, frequency, corpus_hash(chosen, ids, frequency), notes)


def find_sources(name: str, n: int | None) -> tuple[list[DataSource], int | None]:
    """The data sources that a name means, and the recipe's limit on their length."""
    from lift_harness.pipeline.recipe import load_recipe, recipe_names
    from lift_harness.training.sources.synthetic import SOURCES

    if name in recipe_names() or name.endswith((".yaml", ".yml")):
        recipe = load_recipe(name)
        sources = [DataSource(**part.model_dump()) for part in recipe.data]
        return sources, getattr(recipe.training, "max_length", None)
    if name in SOURCES:
        return [DataSource(source=name, n=n or GENERATED)], None
    return [DataSource(source=name)], None


def read_records(name: str, sources: Sequence[DataSource], tokenizer: Any) -> list[Record]:
    """The records of the sources; a name that is almost a recipe's gets that as a hint."""
    from lift_harness.pipeline.recipe import recipe_names

    try:
        return load_data(sources, token_counter(tokenizer)).records
    except LiftError as error:
        hint = did_you_mean(name, recipe_names())
        if hint.startswith("did you mean") and "unknown data source" in str(error):
            raise LiftError(f"--data {name!r} is neither a recipe ({hint}) nor a data source") from None
        raise


def draw_examples(examples: Sequence[Example], n: int | None, seed: int) -> list[Example]:
    """A random n of the examples, in random order; a function of their ids and the seed alone."""
    ids = torch.tensor([example.id for example in examples])
    order = keyed_bits(seed, ANALYSIS_DRAW, ids).argsort(stable=True).tolist()
    return [examples[i] for i in order[:n]]


def corpus_hash(chosen: Sequence[Example], tokens: NDArray[np.int64], frequency: NDArray[np.int64]) -> str:
    """sha256 of what the result depends on."""
    hashed = sha256(tokens.tobytes() + frequency.tobytes())
    for example in chosen:
        for part in ([example.id, len(example.prompt)], example.prompt, example.response):
            hashed.update(np.array(part, np.int64).tobytes())
    return hashed.hexdigest()
