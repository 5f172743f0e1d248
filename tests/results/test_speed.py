"""Speed of rows, and what rows are called, from files written by hand."""

import json

from support.eval_files import DECODING, LATER, answered, write_eval

from lift_harness.compare import load
from lift_harness.results.scores import on_task
from lift_harness.results.speed import speed_of

TASK = "lift_sudoku_mini"
HUGE = {"forward_passes": 1, "tokens": 1e308}
FAST = {**DECODING, "cache": "dual", "steps": 64, "exact": False}


def speed(rows, name=None):
    return next(speed_of(one) for one in on_task(rows, TASK) if name in (None, one.name))


def test_a_rows_speed_is_what_its_results_file_counted(tmp_path):
    folder = write_eval(tmp_path / "a", {TASK: answered([1, 0, 1])}, passes=60, tokens=20, rate=123.4)
    found = speed(load([folder]))
    assert (found.tokens, found.passes, found.tokens_per_pass) == (60, 60, 1.0)
    assert found.tokens_per_second == 123.4 and found.peak_memory_bytes is None and found.exact is None


def test_where_nothing_was_counted_there_is_no_speed(tmp_path):
    folder = write_eval(tmp_path / "a", {TASK: answered([1, 0])})
    assert speed(load([folder])) is None
    (file,) = folder.glob("results_*.json")
    data = json.loads(file.read_text())
    for counts in (
        {"forward_passes": 0, "tokens": 0},
        {"tokens": 9},
        {"forward_passes": "x", "tokens": 9},
        HUGE,
    ):
        data["config"]["decoding_statistics"] = {"tasks": {TASK: counts}, "tokens_per_second": 5}
        file.write_text(json.dumps(data))
        assert speed(load([folder])) is None


def test_of_kept_responses_alone_there_is_no_rate(tmp_path):
    found = speed(load([write_eval(tmp_path / "a", {TASK: answered([1, 0])}, passes=8, decoding=FAST)]))
    assert found.tokens_per_second is None and found.tokens_per_pass == 2.5 and found.exact is False


def test_seeds_count_with_their_means_and_peaks_come_from_the_stages(tmp_path):
    run = tmp_path / "run"
    for seed, passes in ((0, 30), (1, 10)):
        arm = run / "m" / f"seed-{seed}"
        write_eval(arm / "eval" / "one", {TASK: answered([1, 0])}, passes=passes, rate=100 + seed)
        write_eval(arm / "eval" / "samples", {TASK: answered([[1, 0], [0, 0]])}, passes=999)
        (arm / "eval.json").write_text(json.dumps({"cost": {"peak_memory_bytes": 2**30 * (1 + seed)}}))
    (run / "recipe.yaml").write_text("{methods: [{name: m}], model: lift-tiny, seed: 0, seeds: 2}")
    found = speed(load([run]), "m")
    assert (found.passes, found.tokens, found.tokens_per_pass) == (20, 20, 1.0)
    assert found.tokens_per_second == 100.5 and found.peak_memory_bytes == 1.5 * 2**30


# ---------------------------------------------------------------- names


def names(*paths, by_settings=False):
    return [row.name for row in load(paths, by_settings=by_settings)]


def write(folder, **decoding):
    settings = {**DECODING, "schedule": "fixed", **decoding}
    return write_eval(folder, {TASK: answered([1, 0])}, decoding=settings)


def test_rows_of_one_model_and_one_name_are_called_by_what_differs(tmp_path):
    paths = [write(tmp_path / "a" / "m"), write(tmp_path / "b" / "m", cache="dual", seed=7)]
    assert names(*paths) == ["m cache=none", "m cache=dual"]
    alike = write(tmp_path / "c" / "m", seed=3)
    assert names(paths[0], alike) == ["a/m", "c/m"]  # a seed is no difference


def test_other_weights_are_not_called_by_settings(tmp_path):
    ours = write(tmp_path / "a" / "m")
    theirs = write_eval(
        tmp_path / "b" / "m", {TASK: answered([1])}, peft="adapter", decoding={**DECODING, "cache": "dual"}
    )
    assert names(ours, theirs) == ["a/m", "b/m"]


def test_by_settings_rows_are_called_by_nothing_else(tmp_path):
    fixed = write(tmp_path / "x")
    adaptive = write(tmp_path / "y", schedule="threshold", threshold=0.9, cache="dual")
    dual = write(tmp_path / "z", cache="dual")
    assert names(fixed, adaptive, dual, by_settings=True) == [
        "cache=none schedule=fixed",
        "cache=dual schedule=threshold threshold=0.9",
        "cache=dual schedule=fixed",
    ]
    other = write_eval(tmp_path / "o", {TASK: answered([1])}, pretrained="hub/Other", time=LATER)
    assert names(fixed, dual, other, by_settings=True) == [
        "lift-tiny cache=none",
        "lift-tiny cache=dual",
        "Other",
    ]
