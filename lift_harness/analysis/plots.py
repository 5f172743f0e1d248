"""The plots of an analysis, each as PNG and SVG: confidence against frequency, and tokens over time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lift_harness.analysis.sums import Floats, State
from lift_harness.analysis.tables import ALL, Row
from lift_harness.files import whole

TIME_COLOURS = matplotlib.colormaps["viridis"]
TOKEN_COLOURS = matplotlib.colormaps["plasma"]


def save_figure(figure: Figure, file: Path) -> list[Path]:
    """Write FILE.png and FILE.svg; the same data gives the same bytes."""
    files = [file.with_suffix(suffix) for suffix in (".png", ".svg")]
    with matplotlib.rc_context({"svg.hashsalt": "lift-harness"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a token in a script the font lacks
        whole(files[0], lambda part: figure.savefig(part, format="png", dpi=150))
        whole(files[1], lambda part: figure.savefig(part, format="svg", metadata={"Date": None}))
    return files


def confidence_by_frequency(
    frequency: NDArray[np.int64], state: State, rows: Sequence[Row], times: Sequence[float], min_count: int
) -> Figure:
    """Left all times together, a point a token, with the bins' means; right the bins by time."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    n, mean = state.tokens.n[-1], state.tokens.mean()[-1]
    enough = n >= max(1, min_count)
    left.scatter(
        frequency[enough], mean[enough], s=14, alpha=0.6, color="tab:gray", linewidths=0, label="token"
    )
    draw_bins(left, [row for row in rows if row["t"] == ALL], "black", "frequency bin", frequency, state)
    left.set_title("All t together", fontsize=11)
    for i, t in enumerate(times):
        colour = TIME_COLOURS(0.8 - 0.75 * i / max(1, len(times) - 1))
        draw_bins(right, [row for row in rows if row["t"] == t], colour, f"t = {t:.2f}", frequency, state)
    right.set_title("By diffusion time", fontsize=11)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("occurrences of the token in the data's responses")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=9)
    left.set_ylabel("mean confidence p(x0) where masked")
    return figure


def draw_bins(
    axes: Any, rows: Sequence[Row], colour: Any, label: str, frequency: NDArray[np.int64], state: State
) -> None:
    """A line through the means of the bins, each at the geometric mean frequency of its tokens."""
    x = [float(np.exp(np.log(frequency[state.bin_of == row["bin"]]).mean())) for row in rows]
    y = [row["confidence_mean"] for row in rows]
    error = bars(np.array(y), np.array([row["confidence_stderr"] or 0 for row in rows]))
    axes.errorbar(
        x, y, yerr=error, color=colour, marker="o", markersize=4, linewidth=1.6, capsize=2, label=label
    )


def bars(mean: Floats, stderr: Floats) -> Floats:
    """Lengths [2, n] of 95 % intervals below and above, no further than probabilities go."""
    wide = 1.96 * stderr
    return np.stack([np.minimum(wide, mean), np.minimum(wide, 1 - mean)]).clip(min=0)


def curves(
    chosen: Sequence[int],
    names: Sequence[str],
    frequency: NDArray[np.int64],
    state: State,
    times: Sequence[float],
) -> Figure:
    """Mean confidence of chosen kinds of token over the diffusion time, with 95 % bands."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    mean, stderr = state.tokens.mean(), state.tokens.stderr()
    for i, (k, name) in enumerate(zip(chosen, names, strict=True)):
        colour = TOKEN_COLOURS(0.85 * i / max(1, len(chosen) - 1))
        below, above = bars(mean[:-1, k], np.nan_to_num(stderr[:-1, k]))
        shown = f"{label(name)}  {frequency[k]:,}"
        axes.plot(times, mean[:-1, k], color=colour, marker="o", markersize=4, linewidth=1.6, label=shown)
        axes.fill_between(times, mean[:-1, k] - below, mean[:-1, k] + above, color=colour, alpha=0.1, lw=0)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("diffusion time t: share of the response that is masked")
    axes.set_ylabel("mean confidence p(x0) where masked")
    axes.grid(alpha=0.25)
    axes.legend(
        frameon=False, fontsize=9, title="token, occurrences", loc="center left", bbox_to_anchor=(1, 0.5)
    )
    return figure


def label(text: str, longest: int = 24) -> str:
    """A token's text as matplotlib shows it: not as mathematics, not too long, a space to be seen."""
    short = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return repr(short.replace(r"\\", "\\")).replace("$", r"\$").replace(r"\\", "\\")


def spread(frequency: NDArray[np.int64], enough: NDArray[np.bool_], n: int) -> list[int]:
    """Up to n kinds of token, from the most frequent on, evenly spaced in rank among those with enough."""
    order = [int(k) for k in (-frequency).argsort(kind="stable") if enough[k]]
    if len(order) <= n:
        return order
    return [order[round(i)] for i in np.linspace(0, len(order) - 1, n)]
