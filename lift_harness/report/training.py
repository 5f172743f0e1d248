"""Training logs as curves, short enough to draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift_harness.report.run import Arm, Run, counted
from lift_harness.results.logs import Notes, mapping, number, read_lines, read_object
from lift_harness.results.rows import listed

POINTS = 400  # of a curve; longer ones are means over neighbours
REGIME_POINTS = 100
SERIES = ("loss", "eval_nelbo", "learning_rate", "grad_norm")
REGIMES = ("hardest", "random", "easiest")


def training(run: Run) -> list[dict[str, Any]]:
    """What each trained arm logged: {"arm", "row", series: {"x", "y", "smooth"}, "regimes", "confidence"}."""
    trained, logged = False, []
    absent = dict(NAMES)
    for arm in run.arms:
        if arm.row == "base":
            continue
        trained = True
        if of_arm := curves(arm, run.notes):
            logged.append({"arm": arm.name, "row": arm.row, **of_arm})
        for name in of_arm:
            absent.pop(name, None)
    if logged and absent:
        run.notes.add(f"Not in the training logs: {', '.join(absent.values())}.")
    if trained and not logged:
        run.notes.add("There are no training logs (train/log.jsonl): no training curves.")
    return logged


NAMES = {
    "eval_nelbo": "NELBO on validation data (eval_nelbo)",
    "learning_rate": "learning rate",
    "regimes": "regime shares",
    "confidence": "confidence of kept and dropped tokens",
}


def curves(arm: Arm, notes: Notes) -> dict[str, Any]:
    """The curves of one arm."""
    lines = log_lines(arm, notes)
    logged: dict[str, Any] = {}
    for name in SERIES:
        points, infinite = [], 0
        for line in lines:
            step, value = number(line.get("step")), number(line.get(name))
            infinite += value is None and line.get(name) is not None
            if step is not None and value is not None:
                points.append((step, value))
        if infinite:
            notes.add(f"{arm.name}: {counted(infinite, 'logged value')} of {name} not finite, left out.")
        if points:
            logged[name] = curve(sorted(points), smooth=name in ("loss", "grad_norm"))
    if regimes := regimes_of(lines):
        logged["regimes"] = regimes
    if confidence := confidence_by_t(arm.folder / "train", notes):
        logged["confidence"] = confidence
    return logged


def regimes_of(lines: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Shares of the regimes by step: {"x", "hardest", "random", "easiest"}; {} where none was logged."""
    logged = []
    for line in lines:
        row = [number(line.get(name)) for name in ("step", *map("regime_{}".format, REGIMES))]
        if None not in row:
            logged.append(row)
    if not logged:
        return {}
    steps, *shares = thinned(np.array(sorted(logged)), REGIME_POINTS).T
    return {"x": steps.tolist(), **dict(zip(REGIMES, map(rounded, shares), strict=True))}


def log_lines(arm: Arm, notes: Notes) -> list[dict[str, Any]]:
    """The training log; without one, the losses in train.json."""
    for log in ("train/log.jsonl", "train/steps/log.jsonl"):
        if lines := list(read_lines(arm.folder / log, notes)):
            return lines
    losses = mapping(read_object(arm.folder / "train.json", notes).get("result")).get("loss")
    return list(filter(mapping, losses)) if isinstance(losses, list) else []


def curve(points: Sequence[tuple[float, float]], smooth: bool) -> dict[str, Any]:
    """x and y of at most POINTS points, and a running mean over a twentieth of the curve."""
    table = np.array(points)  # [n, 2]
    n, reach = len(table), len(table) // 40
    sums = np.concatenate([[0.0], np.cumsum(table[:, 1])])
    i = np.arange(n)
    start, end = np.maximum(0, i - reach), np.minimum(n, i + reach + 1)
    means = (sums[end] - sums[start]) / (end - start)
    x, y, mean = thinned(np.column_stack([table, means]), POINTS).T
    shown = {"x": x.tolist(), "y": rounded(y)}
    if smooth and reach:
        shown["smooth"] = rounded(mean)
    return shown


def thinned(table: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most `most` rows of a table [n, columns]: means over as many neighbours each."""
    size = -(-len(table) // most)
    starts = np.arange(0, len(table), size)
    counts = np.diff(starts, append=len(table))
    return np.add.reduceat(table, starts, axis=0) / counts[:, None]


def rounded(values: Iterable[float]) -> list[float]:
    """Six digits are more than a plot shows."""
    return [float(f"{value:.6g}") for value in values]


def confidence_by_t(folder: Path, notes: Notes) -> dict[str, Any] | None:
    """Mean confidence of kept and dropped tokens by diffusion time: {"t", "kept", "dropped"}."""
    for name in ("confidence.json", "steps/confidence.json"):
        data = read_object(folder / name, notes)
        edges = list(map(number, listed(data.get("t_edges"))))
        known = [edge for edge in edges if edge is not None]
        if len(known) == len(edges) > 1:
            middles = rounded((a + b) / 2 for a, b in pairwise(known))
            kept, dropped = (list(map(number, listed(data.get(kind)))) for kind in ("kept", "dropped"))
            return {"t": middles, "kept": kept[: len(middles)], "dropped": dropped[: len(middles)]}
    return None
