"""From the answers to one problem to its metrics. Imports neither torch nor lm_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.passk import pass_at


def judge(
    benchmark: Benchmark, doc: Mapping[str, Any], texts: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Verdicts on the n answers to a problem, and the problem's metrics.

    Args:
        benchmark: its kind.
        doc: its dataset row.
        texts: all that the assistant said, once per sample.

    Returns:
        {"n_samples", "n_correct", metric: [value per sample]}, and {metric: value} with pass@k and avg@n
        when there is more than one sample.
    """
    scores = [benchmark.score(doc, text) for text in texts]
    samples = {name: [score[name] for score in scores] for name in benchmark.metrics}
    n, n_correct = len(scores), sum(score[benchmark.correct] == 1 for score in scores)
    metrics = {name: over_samples(values) for name, values in samples.items()}
    if n > 1:
        metrics |= pass_at(n, n_correct)
    return {"n_samples": n, "n_correct": n_correct, **samples}, metrics


def over_samples(values: Sequence[Any]) -> Any:
    """A metric of one problem from its samples: the mean, or the sums of (right, empty) counts."""
    if isinstance(values[0], tuple):
        return tuple(map(sum, zip(*values, strict=True)))
    return sum(values) / len(values)
