"""The published numbers that ours are shown beside: of LIFT, GIFT and density-driven masking, and of presets.

They stand beside a row only when the row is what they were measured on: that model, that method, and the
training data of that table. Those of a preset are of untrained models, beside what was run under it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from lift_harness.compare import density_tables, gift_tables, paper_tables
from lift_harness.compare.paper_tables import (
    DREAM,
    DREAM_BASE,
    FOUR,
    KODCODE,
    LENGTHS,
    LIFT_SFT_12K,
    LLADA,
    LLADA2_MINI,
    LLADA_1_5,
    LLADA_BASE,
    OPENR1_3K,
    REASONING,
    S1K,
    S1K_1_1,
    TULU3_10K,
    Quoted,
)
from lift_harness.results.scores import Published
from lift_harness.tasks.presets import preset, preset_names

TABLES = (*paper_tables.TABLES, *gift_tables.TABLES, *density_tables.TABLES)
SDAR = ("sdar-1.7b-chat", "sdar-4b-chat", "sdar-8b-chat", "sdar-30b-a3b-chat")
MODELS = {
    "gsai-ml/llada-8b-instruct": LLADA,
    "gsai-ml/llada-8b-base": LLADA_BASE,
    "gsai-ml/llada-1.5": LLADA_1_5,
    "dream-org/dream-v0-instruct-7b": DREAM,
    "dream-org/dream-v0-base-7b": DREAM_BASE,
    "inclusionai/llada2.0-mini": LLADA2_MINI,
    **{f"jetlm/{name}": name for name in SDAR},
}
DATA = {  # by `results.rows.data_name`
    "s1k": S1K,
    "simplescaling/s1k": S1K,
    "s1k-1.1": S1K_1_1,
    "simplescaling/s1k-1.1": S1K_1_1,
    "mixture-of-thoughts below={'num_tokens': 2500.0} n=3000": OPENR1_3K,
    "tulu-3 n=10000": TULU3_10K,
    "kodcode": KODCODE,
    "kodcode/kodcode-light-rl-10k": KODCODE,
    "lift-sft-12k": LIFT_SFT_12K,
    "divelab/lift-sft-12k": LIFT_SFT_12K,
}


def of_presets() -> Iterator[Quoted]:
    """The numbers of the presets."""
    for found in map(preset, preset_names()):
        for name, task in found.tasks.items():
            for model, percent in task.published.items():
                number = Quoted(task.table, MODELS[model.lower()], "base", "", name, task.metric, percent)
                yield number._replace(
                    gen_length=task.decoding.get("gen_length"),
                    paper=found.paper,
                    fewshot=task.num_fewshot,
                    preset=found.name,
                )


PRESETS = tuple(of_presets())
BY_LENGTH = FOUR  # the tasks of which LIFT's paper has the best of three lengths


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
    """The first of `candidates` as it is shown."""
    found = candidates(model, method, task, metric, gen_length=gen_length, data=data, epochs=epochs)
    return as_published(found[0]) if found else None


def candidates(
    model: str | None,
    method: str | None,
    task: str,
    metric: str,
    *,
    gen_length: int | None = None,
    data: Collection[str] = (),
    epochs: float | None = None,
    under: str | None = None,
) -> list[Quoted]:
    """The numbers of the papers for a model, method and task, the first of LIFT's, then of the others.

    That of the preset, those at that very length, then the best of LIFT's lengths.

    Args:
        model: a Hub id, or a folder of the Hub's cache; any other folder is some other model.
        method: "base", or as `results.rows.method_name` gives it.
        task: with or without "@LENGTH".
        metric: "acc", "pass@16".
        gen_length: tokens generated; None: not known.
        data: what the model was trained on, by `results.rows.data_name`.
        epochs: of training, where not those of the paper's main tables (table 10).
        under: the preset that it was run under, None: none.
    """
    asked = known_model(model), method, task.partition("@")[0], metric, epochs
    trained_on = {DATA.get(source.lower(), source) for source in data} if method != "base" else set()
    alike = [
        one
        for one in TABLES
        if (one.model, one.method, one.task, one.metric, one.epochs) == asked and trained_on <= {one.data}
    ]
    of_preset = [
        one
        for one in PRESETS
        if (one.model, one.method, one.task, one.metric, one.epochs) == asked and one.preset == under
    ]
    at_length = [one for one in alike if gen_length is not None and one.gen_length == gen_length]
    best = [one for one in alike if one.gen_length is None]
    only = [one for one in alike if gen_length is None and one.gen_length is not None]
    return [*of_preset, *at_length, *best, *only]


def as_published(quoted: Quoted) -> Published:
    """A number as it is shown."""
    return Published(quoted.percent / 100, conditions(quoted), quoted.paper, quoted.preset)


def conditions(quoted: Quoted) -> str:
    """What a number was measured under that ours may not share."""
    if quoted.preset:
        return f"preset {quoted.preset}"
    if quoted.epochs is not None:
        return f"{quoted.epochs:g} epochs"
    if quoted.gen_length is not None:
        return f"gen_length {quoted.gen_length}"
    return f"best of gen_length {', '.join(map(str, LENGTHS))}" if quoted.metric == "acc" else ""


def known_model(name: str | None) -> str | None:
    """The published model that a Hub id, or a snapshot in the Hub's cache, is."""
    cached = re.search(r"models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]", name or "")
    return MODELS.get((f"{cached[1]}/{cached[2]}" if cached else name or "").lower())


__all__ = ["BY_LENGTH", "LENGTHS", "REASONING", "as_published", "candidates", "known_model", "published"]
