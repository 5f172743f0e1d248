"""Training logs as curves, short enough to draw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from lift_harness.report.run import Arm, Run, counted
from lift_harness.results.logs import Notes, mapping, number, read_lines, read_object

POINTS = 400  # of a curve; longer ones are means over neighbours
REGIME_POINTS = 100
SERIES = ("loss", "eval_nelbo", "learning_rate", "grad_norm")
REGIMES = ("hardest", "random", "easiest")


def training(run: Run) -> list[dict[str, Any]]:
    """What each trained arm logged: {"arm", "row", series: {"x", "y", "smooth"}, "regimes", "confidence"}."""
    trained = [arm for arm in run.arms if arm.row != "base"]
    logged: list[dict[str, Any]] = []
    present: set[str] = set()
    for arm in trained:
        of_arm = curves(arm, run.notes)
        if of_arm:
            logged.append({"arm": arm.name, "row": arm.row, **of_arm})
            present |= of_arm.keys()
    absent = [NAMES[name] for name in NAMES if name not in present]
    if logged and absent:
        run.notes.add(f"Not in the training logs: {', '.join(absent)}.")
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
    found: dict[str, Any] = {}
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
            found[name] = curve(sorted(points), smooth=name in ("loss", "grad_norm"))
    if regimes := regimes_of(lines):
        found["regimes"] = regimes
    if confidence := confidence_by_t(arm.folder / "train", notes):
        found["confidence"] = confidence
    return found


def regimes_of(lines: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Shares of the regimes by step: {"x", "hardest", "random", "easiest"}; {} where none was logged."""
    logged = []
    for line in lines:
        row = [number(line.get(name)) for name in ("step", *(f"regime_{name}" for name in REGIMES))]
        if None not in row:
            logged.append(tuple(value for value in row if value is not None))
    if not logged:
        return {}
    steps, *shares = zip(*thinned(sorted(logged), REGIME_POINTS), strict=True)
    return {"x": list(steps)} | {
        name: list(map(rounded, of)) for name, of in zip(REGIMES, shares, strict=True)
    }


def log_lines(arm: Arm, notes: Notes) -> list[dict[str, Any]]:
    """The training log; without one, the losses in train.json."""
    for log in ("train/log.jsonl", "train/steps/log.jsonl"):
        if lines := list(read_lines(arm.folder / log, notes)):
            return lines
    losses = mapping(read_object(arm.folder / "train.json", notes).get("result")).get("loss")
    return [entry for entry in losses if isinstance(entry, dict)] if isinstance(losses, list) else []


def curve(points: Sequence[tuple[float, float]], smooth: bool) -> dict[str, Any]:
    """x and y of at most POINTS points, and a running mean over a twentieth of the curve."""
    ys = [y for _, y in points]
    reach = len(ys) // 40
    sums = list(accumulate(ys, initial=0.0))
    means = []
    for i in range(len(ys)):
        start, end = max(0, i - reach), min(len(ys), i + reach + 1)
        means.append((sums[end] - sums[start]) / (end - start))
    short = thinned([(x, y, mean) for (x, y), mean in zip(points, means, strict=True)])
    shown = {"x": [x for x, _, _ in short], "y": [rounded(y) for _, y, _ in short]}
    if smooth and reach:
        shown["smooth"] = [rounded(mean) for _, _, mean in short]
    return shown


def thinned(points: Sequence[tuple[float, ...]], most: int = POINTS) -> list[tuple[float, ...]]:
    """At most `most` points: means over as many neighbours each."""
    size = -(-len(points) // most)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [tuple(sum(column) / len(group) for column in zip(*group, strict=True)) for group in groups]


def rounded(value: float) -> float:
    """Six digits are more than a plot shows."""
    return float(f"{value:.6g}")


def confidence_by_t(folder: Path, notes: Notes) -> dict[str, Any] | None:
    """Mean confidence of kept and dropped tokens by diffusion time: {"t", "kept", "dropped"}."""
    for name in ("confidence.json", "steps/confidence.json"):
        data = read_object(folder / name, notes)
        edges = list(map(number, data.get("t_edges") or []))
        known = [edge for edge in edges if edge is not None]
        if len(known) == len(edges) > 1:
            middles = [rounded((a + b) / 2) for a, b in pairwise(known)]
            kept, dropped = (list(map(number, data.get(kind) or [])) for kind in ("kept", "dropped"))
            return {"t": middles, "kept": kept[: len(middles)], "dropped": dropped[: len(middles)]}
    return None
