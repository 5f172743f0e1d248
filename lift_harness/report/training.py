"""Training logs as curves, short enough to draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lift_harness.report.files import Notes, counted, number, read_lines, read_mapping
from lift_harness.report.run import Arm, Run

POINTS = 400  # of a curve; longer ones are means over neighbours
REGIME_POINTS = 100
SERIES = ("loss", "eval_nelbo", "learning_rate", "grad_norm")
REGIMES = ("hardest", "random", "easiest")


def training(run: Run) -> list[dict[str, Any]]:
    """What each trained arm logged: {"arm", "row", series: {"x", "y", "smooth"}, "regimes", "confidence"}."""
    found = [curves(arm, run.notes) for arm in run.arms if arm.row != "base"]
    found = [one for one in found if len(one) > 2]
    if found:
        absent = [NAMES[name] for name in NAMES if not any(name in one for one in found)]
        if absent:
            run.notes.add(f"Not in the training logs: {', '.join(absent)}.")
    elif any(arm.row != "base" for arm in run.arms):
        run.notes.add("There are no training logs (train/log.jsonl): no training curves.")
    return found


NAMES = {
    "eval_nelbo": "NELBO on validation data (eval_nelbo)",
    "learning_rate": "learning rate",
    "regimes": "regime shares",
    "confidence": "confidence of kept and dropped tokens",
}


def curves(arm: Arm, notes: Notes) -> dict[str, Any]:
    """The curves of one arm."""
    lines = log_lines(arm, notes)
    found: dict[str, Any] = {"arm": arm.name, "row": arm.row}
    for name in SERIES:
        wanted = [(number(line.get("step")), number(line.get(name)), line.get(name)) for line in lines]
        infinite = sum(y is None and raw is not None for _, y, raw in wanted)
        if infinite:
            notes.add(f"{arm.name}: {counted(infinite, 'logged value')} of {name} not finite, left out.")
        points = sorted((x, y) for x, y, _ in wanted if x is not None and y is not None)
        if points:
            found[name] = curve(points, smooth=name in ("loss", "grad_norm"))
    shares = []
    for line in lines:
        step, values = number(line.get("step")), [number(line.get(f"regime_{name}")) for name in REGIMES]
        if step is not None and None not in values:
            shares.append((step, *[value for value in values if value is not None]))
    if shares:
        shares = thinned(sorted(shares), REGIME_POINTS)
        found["regimes"] = {"x": [s[0] for s in shares]} | {
            name: [rounded(s[i + 1]) for s in shares] for i, name in enumerate(REGIMES)
        }
    confidence = confidence_by_t(arm.folder / "train", notes, arm.name)
    if confidence:
        found["confidence"] = confidence
    return found


def log_lines(arm: Arm, notes: Notes) -> list[dict[str, Any]]:
    """The training log; without one, the losses in train.json."""
    for place in ("train/log.jsonl", "train/steps/log.jsonl"):
        lines = list(read_lines(arm.folder / place, notes, f"{arm.name}: log.jsonl"))
        if lines:
            return lines
    record = read_mapping(arm.folder / "train.json", notes, f"train.json of {arm.name}")
    losses = (record.get("result") or {}).get("loss") if isinstance(record.get("result"), dict) else None
    return [entry for entry in losses if isinstance(entry, dict)] if isinstance(losses, list) else []


def curve(points: Sequence[tuple[float, float]], smooth: bool) -> dict[str, Any]:
    """x and y of at most POINTS points, and a running mean over a twentieth of the curve."""
    ys = [y for _, y in points]
    reach = len(ys) // 40
    sums = [0.0]
    for y in ys:
        sums.append(sums[-1] + y)
    means = []
    for i in range(len(ys)):
        start, end = max(0, i - reach), min(len(ys), i + reach + 1)
        means.append((sums[end] - sums[start]) / (end - start))
    short = thinned([(x, y, mean) for (x, y), mean in zip(points, means, strict=True)])
    found: dict[str, Any] = {"x": [p[0] for p in short], "y": [rounded(p[1]) for p in short]}
    if smooth and reach:
        found["smooth"] = [rounded(p[2]) for p in short]
    return found


def thinned(points: Sequence[tuple[float, ...]], most: int = POINTS) -> list[tuple[float, ...]]:
    """At most `most` points: means over as many neighbours each."""
    size = -(-len(points) // most)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [tuple(sum(column) / len(group) for column in zip(*group, strict=True)) for group in groups]


def rounded(value: float) -> float:
    """Six digits are more than a plot shows."""
    return float(f"{value:.6g}")


def confidence_by_t(folder: Path, notes: Notes, name: str) -> dict[str, Any] | None:
    """Mean confidence of kept and dropped tokens by diffusion time: {"t", "kept", "dropped"}."""
    for place in ("confidence.json", "steps/confidence.json"):
        found = read_mapping(folder / place, notes, f"{name}: confidence.json")
        edges = [number(edge) for edge in found.get("t_edges") or []]
        if len(edges) > 1 and None not in edges:
            known = [edge for edge in edges if edge is not None]
            middles = [rounded((a + b) / 2) for a, b in zip(known[:-1], known[1:], strict=True)]
            means = {
                kind: [number(value) for value in found.get(kind) or []][: len(middles)]
                for kind in ("kept", "dropped")
            }
            return {"t": middles, **means}
    return None
