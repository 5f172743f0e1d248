"""The published numbers that ours are shown beside: LIFT (arXiv 2605.22939).

They stand beside a row only when the row is what they were measured on: that model, that method, and the
training data of that table.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from lift_harness.compare.paper_tables import (
    DREAM,
    FOUR,
    KODCODE,
    LENGTHS,
    LIFT_SFT_12K,
    LLADA,
    LLADA_1_5,
    REASONING,
    S1K,
    TABLES,
    Quoted,
)
from lift_harness.results.scores import Published

SOURCE = "arXiv 2605.22939"
MODELS = {
    "gsai-ml/llada-8b-instruct": LLADA,
    "gsai-ml/llada-1.5": LLADA_1_5,
    "dream-org/dream-v0-instruct-7b": DREAM,
}
DATA = {
    "s1k": S1K,
    "simplescaling/s1k": S1K,
    "kodcode": KODCODE,
    "kodcode/kodcode-light-rl-10k": KODCODE,
    "lift-sft-12k": LIFT_SFT_12K,
    "divelab/lift-sft-12k": LIFT_SFT_12K,
}
BY_LENGTH = FOUR  # the tasks of which the paper has the best of three lengths


def published(
    model: str | None,
    method: str | None,
    task: str,
    metric: str,
    *,
    gen_length: int | None = None,
    data: Collection[str] = (),
    epochs: float | None = None,
) -> Published | None:
    """The number of the paper for a model, method and task.

    The number at that very length, else the best of the paper's lengths.

    Args:
        model: a Hub id, or a folder of the Hub's cache; any other folder is some other model.
        method: "base", or as `results.rows.method_name` gives it.
        task: with or without "@LENGTH".
        metric: "acc", "pass@16".
        gen_length: tokens generated; None: not known.
        data: what the model was trained on: `data[].source` of the recipe.
        epochs: of training, where not those of the paper's main tables (table 10).
    """
    asked = known_model(model), method, task.partition("@")[0], metric, epochs
    trained_on = {DATA.get(source.lower(), source) for source in data} if method != "base" else set()
    alike = [
        one
        for one in TABLES
        if (one.model, one.method, one.task, one.metric, one.epochs) == asked and trained_on <= {one.data}
    ]
    at_length = [one for one in alike if gen_length is not None and one.gen_length == gen_length]
    best = [one for one in alike if one.gen_length is None]
    only = [one for one in alike if gen_length is None and one.gen_length is not None]
    quoted = next(iter([*at_length, *best, *only]), None)
    return quoted and Published(quoted.percent / 100, conditions(quoted), SOURCE)


def conditions(quoted: Quoted) -> str:
    """What a number was measured under that ours may not share."""
    if quoted.epochs is not None:
        return f"{quoted.epochs:g} epochs"
    if quoted.gen_length is not None:
        return f"gen_length {quoted.gen_length}"
    return f"best of gen_length {', '.join(map(str, LENGTHS))}" if quoted.metric == "acc" else ""


def known_model(name: str | None) -> str | None:
    """The published model that a Hub id, or a snapshot in the Hub's cache, is."""
    cached = re.search(r"models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]", name or "")
    return MODELS.get((f"{cached[1]}/{cached[2]}" if cached else name or "").lower())


__all__ = ["BY_LENGTH", "LENGTHS", "REASONING", "known_model", "published"]
