"""The tables of an analysis, as files (CSV, parquet) and for the terminal."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table

from lift_harness.analysis.sums import Floats, State
from lift_harness.analysis.trend import Estimate, Trend, says
from lift_harness.console import csv_cell, titled
from lift_harness.files import whole

Row = dict[str, Any]
ALL = "all"  # of column t: all times together


def bin_edges(frequency: NDArray[np.int64], bins: int) -> Floats:
    """Edges [bins + 1] of bins that are equally wide on a logarithmic scale, from 1 to above the highest."""
    return np.geomspace(1, float(frequency.max()) + 1, bins + 1)


def bins_of(frequency: NDArray[np.int64], edges: Floats) -> NDArray[np.int64]:
    """The bin of each frequency [K]: edges[i] <= frequency < edges[i + 1]."""
    return (np.searchsorted(edges, frequency, side="right") - 1).clip(0, len(edges) - 2)


def token_rows(
    state: State, times: Sequence[float], ids: Sequence[int], frequency: Sequence[int], tokenizer: Any
) -> Iterator[Row]:
    """A row for each token and time, and one for all times together."""
    n, mean, stderr = state.tokens.n, state.tokens.mean(), state.tokens.stderr()
    for k, (token, occurrences) in enumerate(zip(ids, frequency, strict=True)):
        text = token_text(tokenizer, int(token))
        for row, t in enumerate([*times, ALL]):
            yield {
                "token_id": int(token),
                "text": text,
                "frequency": int(occurrences),
                "t": t,
                "count": int(n[row, k]),
                "confidence_mean": known(mean[row, k]),
                "confidence_stderr": known(stderr[row, k]),
            }


def frequency_rows(state: State, times: Sequence[float], frequency: NDArray[np.int64]) -> list[Row]:
    """A row for each time and each bin in which something was masked.

    `frequency_low` and `frequency_high` are the lowest and highest frequency of the tokens in the bin.
    """
    n, mean, stderr = state.bins.n, state.bins.mean(), state.bins.stderr()
    rows: list[Row] = []
    for row, t in enumerate([*times, ALL]):
        for b in n[row].nonzero()[0].tolist():
            inside = frequency[state.bin_of == b]
            rows.append(
                {
                    "t": t,
                    "bin": b,
                    "frequency_low": int(inside.min()),
                    "frequency_high": int(inside.max()),
                    "tokens": len(inside),
                    "count": int(n[row, b]),
                    "confidence_mean": known(mean[row, b]),
                    "confidence_stderr": known(stderr[row, b]),
                }
            )
    return rows


def bin_steps(rows: Sequence[Row]) -> list[str]:
    """Whether the means of the bins rise with frequency, in words: a correlation alone may hide where not."""
    means = [row["confidence_mean"] for row in rows if row["t"] == ALL]
    rises = sum(b > a for a, b in zip(means, means[1:], strict=False))
    steps = len(means) - 1
    return [f"From one frequency bin to the next, mean confidence rises in {rises} of {steps} steps."][:steps]


def known(value: float) -> float | None:
    """A float, None for NaN."""
    return None if math.isnan(value) else float(value)


def token_text(tokenizer: Any, token: int) -> str:
    """A token as text on one line: white space and control characters but the space as Python escapes."""
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    return "".join(c if c.isprintable() and c != "\\" else repr(c)[1:-1] for c in text)


# ---------------------------------------------------------------- files


def write_csv(file: Path, rows: Sequence[Row]) -> None:
    """Write rows with their keys as header; None is an empty field."""

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)

    whole(file, write)


def write_parquet(file: Path, rows: Sequence[Row]) -> None:
    """The same as parquet; column t is text there, too."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([{**row, "t": str(row["t"])} for row in rows])
    whole(file, lambda part: parquet.write_table(table, part))


def write_json(file: Path, data: Any) -> None:
    """Write JSON; NaN becomes null."""
    text = json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    whole(file, lambda part: part.write_text(text, encoding="utf-8"))


def plain(data: Any) -> Any:
    """Without NaN, which JSON does not have."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(value) for value in data]
    return None if isinstance(data, float) and math.isnan(data) else data


# ---------------------------------------------------------------- the terminal


def frequency_table(rows: Sequence[Row], times: Sequence[float]) -> RenderableType:
    """Mean confidence of each frequency bin, by time and overall."""
    title = "Mean confidence p(x0) of masked tokens at each t, and over all with standard error"
    table = Table(padding=(0, 0))
    for column in ("occurrences", "tokens", "masked", *(f"{t:.3g}" for t in times), "all t"):
        table.add_column(column, justify="right", no_wrap=True)
    mean_at = {(row["t"], row["bin"]): row["confidence_mean"] for row in rows}
    for row in (row for row in rows if row["t"] == ALL):
        low, high, stderr = row["frequency_low"], row["frequency_high"], row["confidence_stderr"]
        between = f"{low:,}" if low == high else f"{low:,} - {high:,}"
        means = [mean_at.get((t, row["bin"])) for t in times]
        overall = f"{row['confidence_mean']:.3f}" + ("" if stderr is None else f" ± {stderr:.3f}")
        cells = ["" if mean is None else f"{mean:.3f}" for mean in means]
        table.add_row(between, f"{row['tokens']:,}", f"{row['count']:,}", *cells, overall)
    return titled(title, table)


def trend_table(trend: Trend) -> RenderableType:
    """Rank correlation and gap by time, with intervals."""
    table = Table(padding=(0, 0))
    for column in ("t", "tokens", "Spearman", "trend", "frequent - rare"):
        table.add_column(column, justify="left" if column == "trend" else "right")
    rows = [(f"{t:.3g}", trend.by_time, i) for i, t in enumerate(trend.times)]
    rows += [(ALL, trend.overall, 0), (f"{ALL}, every", trend.every, 0)]
    for label, measured, i in rows:
        rho, gap = measured.spearman[i], measured.gap[i]
        table.add_row(label, f"{measured.tokens:,}", shown(rho), says(rho), shown(gap))
    return titled("Frequency against confidence, 95 % intervals", table)


def shown(estimate: Estimate) -> str:
    """An estimate, empty where there is none."""
    return "" if estimate.sign is None else str(estimate)
