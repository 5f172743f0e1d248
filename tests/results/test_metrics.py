"""Order and visibility of metrics: one table, which all outputs follow."""

import json

import pytest
from support.eval_files import line, write_eval, write_run

from lift_harness.compare import compare, load
from lift_harness.compare.render import render
from lift_harness.report.page import page_data
from lift_harness.results import metrics


def test_ours_come_first_then_pass_at_k_by_k():
    names = ["avg@16", "format", "pass@16", "word_perplexity", "pass@2", "solved", "acc", "math_verify"]
    expected = ["acc", "solved", "pass@2", "pass@16", "format", "word_perplexity", "math_verify", "avg@16"]
    assert metrics.in_order(names) == expected
    shown = ["acc", "solved", "pass@2", "pass@16", "word_perplexity"]
    assert list(filter(metrics.is_shown, expected)) == shown
    assert metrics.about("pass@16") == "pass@16: one of 16 right"
    assert metrics.about("word_perplexity") == "word_perplexity"


@pytest.mark.parametrize("shown", [True, False])
def test_a_new_metric_is_one_line_in_one_table(tmp_path, monkeypatch, shown):
    monkeypatch.setitem(metrics.KNOWN, "style", metrics.Metric(0.5, "how it reads", shown=shown))
    lines = [line(i, {"format": [1.0], "acc": [i % 2], "solved": [0.0], "style": [1.0]}) for i in range(4)]
    run = write_run(tmp_path / "run", {"base": {"one": {"lift_x": lines}}})
    page = page_data(run)
    assert [name for name, _ in page["metrics"]] == ["acc", "style", "solved", "format"]
    assert ["style", "style: how it reads"] in page["metrics"]
    found = compare(load([run]))
    assert found.tasks["lift_x"] == ["acc", "style", "solved", "format"]
    for format in ("table", "markdown", "latex"):
        assert ("style" in render(found, format)) == shown
    assert "style" in render(found, "csv") and "style" in json.loads(render(found, "json"))["tasks"]["lift_x"]


def test_the_metrics_of_another_task_are_shown_after_ours(tmp_path):
    lines = [line(i, {"f1": [0.5], "acc": [1.0]}) for i in range(3)]
    write_eval(tmp_path / "m", {"stock": lines})
    assert compare(load([tmp_path / "m"])).shown("stock") == ["acc", "f1"]
