"""Values and intervals of rows on tasks, against subsets counted one by one, resampling, scipy."""

import itertools
import random

import pytest
from support.eval_files import answered, write_eval, write_run

from lift_harness.results import statistics
from lift_harness.results.read import load
from lift_harness.results.scores import RowOnTask

TASK = "lift_gsm8k"


def on_task(folder, verdicts):
    """A row whose problems have these verdicts: a list an answer each."""
    (row,) = load([write_eval(folder / "m", {TASK: answered(verdicts)})])
    return RowOnTask(row, TASK)


def test_a_curve_counts_subsets_and_its_band_is_of_resampled_problems(tmp_path):
    random_ = random.Random(2)
    chances = [random_.random() for _ in range(60)]
    verdicts = [[int(random_.random() < chance) for _ in range(6)] for chance in chances]
    curve = on_task(tmp_path, verdicts).pass_curve()
    assert [cell.metric for cell in curve] == [f"pass@{k}" for k in range(1, 7)]  # not only 1, 2, 4, 6
    for k, cell in enumerate(curve, start=1):
        exact = []
        for answers in verdicts:
            subsets = list(itertools.combinations(answers, k))
            exact.append(sum(map(max, subsets)) / len(subsets))
        assert cell.value == pytest.approx(sum(exact) / 60)
        means = sorted(sum(random_.choices(exact, k=60)) / 60 for _ in range(4000))
        assert (cell.interval.low, cell.interval.high) == pytest.approx((means[100], means[3899]), abs=0.025)


@pytest.mark.parametrize(("n", "points"), [(32, 32), (33, 7)])
def test_up_to_32_answers_every_k_is_in_the_curve(tmp_path, n, points):
    """Of 33: 1, 2, 4, 8, 16, 32 and 33."""
    verdicts = [[int(i < right) for i in range(n)] for right in (0, 3, 9)]
    assert len(on_task(tmp_path, verdicts).pass_curve()) == points


def test_a_curve_and_a_table_have_the_same_numbers(tmp_path):
    row = on_task(tmp_path, [[1, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    by_metric = {cell.metric: cell for cell in row.pass_curve()}
    for k in (1, 2, 4):
        assert by_metric[f"pass@{k}"] == row.cell(f"pass@{k}")


def test_pass_at_k_of_seeds_is_a_mean_of_each_problem(tmp_path):
    seeds = ([[1, 1], [1, 0]], [[0, 0], [0, 1]])
    rows = {f"m/seed-{i}": {"samples": {TASK: answered(verdicts)}} for i, verdicts in enumerate(seeds)}
    curve = RowOnTask(load([write_run(tmp_path / "run", rows)])[0], TASK).pass_curve()
    assert [cell.value for cell in curve] == pytest.approx([0.5, 0.75])  # (1 + 0) / 2, 1/2; (1 + 0) / 2, 1


def test_unanimity_is_not_certainty(tmp_path):
    scipy = pytest.importorskip("scipy.stats", reason="scipy is not installed: no second Wilson interval")
    wilson = scipy.binomtest(0, 8).proportion_ci(method="wilson")
    for n in (1, 3):
        row = on_task(tmp_path / str(n), [[0] * n] * 8)
        cell = row.cell("acc" if n == 1 else "pass@3")
        assert (cell.value, cell.interval.low) == (0, 0) and cell.interval.high == pytest.approx(wilson.high)


def test_an_interval_from_a_standard_error():
    scipy = pytest.importorskip("scipy.stats", reason="scipy is not installed: no second Wilson interval")
    for right, n in ((0, 5), (5, 5), (3, 8), (70, 100)):
        share = right / n
        expected = scipy.binomtest(right, n).proportion_ci(method="wilson")
        error = (share * (1 - share) / (n - 1)) ** 0.5  # lm-eval's of n zeros and ones
        interval = statistics.interval_of_error(share, error, n)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    half = scipy.norm.ppf(0.975) * 0.1
    normal = statistics.interval_of_error(0.5, 0.1, 40)
    assert (normal.low, normal.high) == pytest.approx((0.5 - half, 0.5 + half)) and normal.method == "normal"
    assert statistics.interval_of_error(0.95, 0.1, 40).high == 1.0
    assert statistics.interval_of_error(0.5, None, 40) is None
    assert statistics.interval_of_error(0.0, 0.0, None) is None  # nothing is known
