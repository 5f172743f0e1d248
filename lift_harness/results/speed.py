"""What the answers of a row to a task took: forward passes, tokens, tokens a second, memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from lift_harness.results.aggregates import amount
from lift_harness.results.logs import Evaluation, mapping, read_object
from lift_harness.results.scores import RowOnTask


@dataclass(frozen=True)
class Speed:
    """The speed of a row on a task; with several seeds means over them.

    Attributes:
        row: name of the row.
        task: name of the task.
        tokens: of the answers' texts: what stands before the end of text and before a stop string.
        passes: forward passes of sequences: a pass over a batch of eight answers counts as eight.
        tokens_per_pass: tokens over passes (TPF).
        tokens_per_second: of the lm-eval run that the task was part of, on the machine that it ran on; None:
            not known, or all responses were kept ones.
        peak_memory_bytes: of the stage's process; None: not known.
        exact: whether all tokens come from passes over all that the model sees (no approximate cache); None:
            not known.
    """

    row: str
    task: str
    tokens: float
    passes: float
    tokens_per_pass: float
    tokens_per_second: float | None
    peak_memory_bytes: float | None
    exact: bool | None


def speed_of(row: RowOnTask) -> Speed | None:
    """The speed of a row on a task, of the evaluation with one answer a problem where there is one.

    None where the results files do not say what the answers took (another backend's, an earlier version's).
    """
    counted = {seed: one for seed, all_of in row.by_seed.items() for one in all_of[:1] if is_counted(one)}
    if not counted:
        return None
    statistics = [one.statistics for one in counted.values()]
    tokens, passes = (fmean(each[name] for each in statistics) for name in ("tokens", "forward_passes"))
    rates = [each["tokens_per_second"] for each in statistics if "tokens_per_second" in each]
    peaks = [peak for seed in counted for peak in peak_memory(row, seed)]
    exact = mapping(next(iter(counted.values())).settings.get("decoding")).get("exact")
    return Speed(
        row=row.name,
        task=row.task,
        tokens=tokens,
        passes=passes,
        tokens_per_pass=tokens / passes,
        tokens_per_second=fmean(rates) if rates else None,
        peak_memory_bytes=fmean(peaks) if peaks else None,
        exact=exact if isinstance(exact, bool) else None,
    )


def is_counted(evaluation: Evaluation) -> bool:
    """Whether it is known what its answers took."""
    return "tokens" in evaluation.statistics and evaluation.statistics.get("forward_passes", 0) >= 1


def peak_memory(row: RowOnTask, seed: str) -> Iterator[float]:
    """The peak of a seed's evaluation in bytes, where its stage wrote a record."""
    if folder := row.row.folders.get(seed):
        cost = mapping(read_object(folder / "eval.json", row.row.notes).get("cost"))
        if peak := amount(cost.get("peak_memory_bytes")):
            yield peak
