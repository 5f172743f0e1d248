"""The published numbers that ours are shown beside: LIFT (arXiv 2605.22939), percent.

They stand beside a row only when the row is what they were measured on: that model, that method, and the
training data of that table.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from lift_harness.results.scores import Published

SOURCE = "arXiv 2605.22939"
LLADA, LLADA_1_5, DREAM = "llada-8b-instruct", "llada-1.5", "dream-v0-instruct-7b"
MODELS = {
    "gsai-ml/llada-8b-instruct": LLADA,
    "gsai-ml/llada-1.5": LLADA_1_5,
    "dream-org/dream-v0-instruct-7b": DREAM,
}
S1K, KODCODE = "s1K", "KodCode"
DATA = {
    "s1k": S1K,
    "simplescaling/s1k": S1K,
    "kodcode": KODCODE,
    "kodcode/kodcode-light-rl-10k": KODCODE,
}
LENGTHS = (128, 256, 512)

# (task, metric) of the columns below. Sudoku's is the share of cells.
REASONING = (
    ("lift_gsm8k", "acc"),
    ("lift_math500", "acc"),
    ("lift_countdown", "acc"),
    ("lift_sudoku", "acc"),
    ("lift_aime24", "pass@16"),
    ("lift_aime25", "pass@16"),
)
CODE = (("lift_mbpp", "acc"), ("lift_humaneval", "acc"))

# Trained on s1K; the best of the three generation lengths (AIME: pass@16).
BEST: dict[str, dict[str, tuple[float, ...]]] = {
    LLADA: {
        "base": (78.1, 36.1, 19.6, 11.2, 3.3, 3.3),
        "vanilla": (78.7, 34.1, 20.7, 16.8, 6.7, 3.3),
        "gift": (79.2, 34.2, 21.7, 17.3, 16.7, 0.0),
        "cart": (78.8, 35.5, 23.0, 14.6, 10.0, 3.3),
        "lift H=2": (79.8, 37.9, 27.9, 16.5, 10.0, 3.3),
        "lift H=3": (79.4, 38.4, 26.4, 17.4, 16.7, 6.7),
        "lift_a H=2": (78.7, 36.8, 33.2, 11.1, 6.7, 3.3),
        "lift_a H=3": (79.0, 34.0, 23.1, 16.2, 13.4, 3.3),
    },
    LLADA_1_5: {
        "base": (80.9, 37.8, 22.6, 12.1, 13.3, 3.3),
        "vanilla": (79.2, 32.6, 22.0, 14.4, 6.7, 3.3),
        "lift H=2": (79.5, 39.8, 31.3, 15.6, 13.3, 6.7),
        "lift H=3": (82.2, 38.8, 31.2, 18.2, 13.3, 6.7),
    },
    DREAM: {  # without AIME
        "base": (76.7, 39.8, 21.1, 8.2),
        "vanilla": (76.1, 30.6, 25.0, 14.8),
        "gift": (78.5, 40.0, 23.4, 16.0),
        "cart": (77.8, 38.9, 22.3, 17.2),
        "lift H=2": (77.9, 40.8, 33.6, 22.5),
        "lift H=3": (79.1, 40.6, 25.6, 17.5),
    },
}
# LLaDA-8B-Instruct trained on KodCode for 5 epochs, gen_length 256.
PROGRAMS: dict[str, tuple[float, ...]] = {
    "base": (41.1, 34.8),
    "vanilla": (43.2, 31.1),
    "cart": (41.9, 32.9),
    "gift": (44.4, 35.2),
    "lift H=2": (43.6, 37.4),
    "lift H=3": (44.0, 36.3),
}
# LLaDA-8B-Instruct itself at gen_length 128, 256 and 512.
BY_LENGTH: dict[str, tuple[float, ...]] = {
    "lift_gsm8k": (68.5, 76.1, 78.1),
    "lift_math500": (26.4, 32.4, 36.1),
    "lift_countdown": (19.6, 19.6, 17.1),
    "lift_sudoku": (11.2, 6.5, 5.5),
}
# Hours of an H100 that a training of LLaDA-8B-Instruct on s1K takes.
GPU_HOURS = {
    **{"vanilla": 1.0, "gift": 1.8, "cart": 1.0, "lift H=2": 1.8, "lift H=3": 1.8},
    **{"lift_a H=2": 1.0, "lift_a H=3": 1.0},
}


def published(
    model: str | None,
    method: str | None,
    task: str,
    metric: str,
    *,
    gen_length: int | None = None,
    data: Collection[str] = (),
) -> Published | None:
    """The number of the paper for a model, method and task.

    Args:
        model: a Hub id, or a folder of the Hub's cache; any other folder is some other model.
        method: "base", or as `results.rows.method_name` gives it.
        task: with or without "@LENGTH".
        metric: "acc", "pass@16".
        gen_length: tokens generated; None: not known.
        data: what the model was trained on: `data[].source` of the recipe.
    """
    known, task = known_model(model), task.partition("@")[0]
    if known is None or method is None:
        return None
    trained_on = {DATA.get(source.lower(), source) for source in data} if method != "base" else set()
    if known == LLADA and (task, metric) in CODE:
        if gen_length not in (None, 256) or trained_on - {KODCODE} or method not in PROGRAMS:
            return None
        return Published(PROGRAMS[method][CODE.index((task, metric))] / 100, "gen_length 256", SOURCE)
    if (task, metric) not in REASONING or trained_on - {S1K}:
        return None
    if known == LLADA and method == "base" and gen_length in LENGTHS and task in BY_LENGTH:
        value = BY_LENGTH[task][LENGTHS.index(gen_length)]
        return Published(value / 100, f"gen_length {gen_length}", SOURCE)
    values = BEST[known].get(method, ())[REASONING.index((task, metric)) :]
    if not values:
        return None
    what = "best of gen_length 128, 256, 512" if metric == "acc" else ""
    return Published(values[0] / 100, what, SOURCE)


def known_model(name: str | None) -> str | None:
    """The published model that a Hub id, or a snapshot in the Hub's cache, is."""
    cached = re.search(r"models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]", name or "")
    return MODELS.get((f"{cached[1]}/{cached[2]}" if cached else name or "").lower())
