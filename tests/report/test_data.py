"""The numbers embedded in the report against hand-written logs."""

import json

import pytest
from scipy.stats import binomtest
from support.eval_files import write_log
from support.report_runs import (
    AFTER,
    BEFORE,
    embedded,
    log_file,
    sample_line,
    score,
    write_evaluation,
    write_json,
    write_small_run,
)

from lift_harness.errors import LiftError
from lift_harness.report import write_report
from lift_harness.report.page import page_data
from lift_harness.report.summary import best
from lift_harness.results.scores import Cell
from lift_harness.results.statistics import Interval


@pytest.fixture
def small(tmp_path):
    return write_small_run(tmp_path / "run")


# ------------------------------------------------------------ a run by hand


def test_the_embedded_numbers_are_those_of_the_logs(small):
    data = embedded(write_report(small).read_text(encoding="utf-8"))
    assert data["rows"] == ["base", "vanilla"] and data["tasks"] == ["lift_sudoku", "lift_gsm8k"]
    gsm = data["summary"]["lift_gsm8k"]["acc"]["rows"]
    assert [gsm[row]["value"] for row in data["rows"]] == [1 / 3, 2 / 3]
    expected = binomtest(1, 3).proportion_ci(method="wilson")
    assert (gsm["base"]["low"], gsm["base"]["high"]) == pytest.approx((expected.low, expected.high))
    sudoku = data["summary"]["lift_sudoku"]["acc"]["rows"]["base"]
    assert (sudoku["value"], sudoku["items"]) == (0.45, 4)
    assert 0 <= sudoku["low"] < 0.45 < sudoku["high"] <= 1
    assert data["metrics"][0] == ["acc", "acc: accuracy as published"]
    assert [name for name, _ in data["metrics"]] == ["acc", "solved", "pass@1", "pass@2", "avg@2"]
    assert data["summary"]["lift_gsm8k"]["acc"]["best"] is None
    curve = data["passk"][0]
    assert curve["task"] == "lift_gsm8k"
    assert curve["rows"]["base"]["k"] == [1, 2] and curve["rows"]["base"]["value"] == pytest.approx(
        [0.5, 2 / 3]
    )
    assert data["costs"] == {
        "base": {"eval": {"seconds": 30.0, "forward_passes": 700, "tokens": 9000}},
        "vanilla": {
            "train": {"seconds": 12.0},
            "eval": {"seconds": 30.0, "forward_passes": 700, "tokens": 9000},
        },
    }
    assert data["training"] == [{"arm": "vanilla", "row": "vanilla", "loss": {"x": [1.0], "y": [2.5]}}]
    assert data["header"]["name"] == "small" and ["model", "lift-tiny"] in data["header"]["facts"]
    assert ["seeds", "3"] in data["header"]["facts"]


def test_accuracy_by_difficulty_and_length(small):
    parts = {(part["task"], part["by"]): part for part in page_data(small)["breakdowns"]}
    empty = parts["lift_sudoku", "empty cells"]
    assert empty["bins"] == ["4", "6"]
    assert [cell["value"] for cell in empty["rows"]["base"]] == [3 / 8, 6 / 12]
    assert [cell["value"] for cell in empty["rows"]["vanilla"]] == [8 / 8, 9 / 12]
    steps = parts["lift_gsm8k", "steps of the worked answer"]
    assert steps["bins"] == ["1", "2", "3"]
    assert [cell["value"] for cell in steps["rows"]["base"]] == [0, 0, 1]
    expected = binomtest(0, 1).proportion_ci(method="wilson")
    assert steps["rows"]["base"][0]["high"] == pytest.approx(expected.high)
    answer = parts["lift_gsm8k", "length of the answer"]  # 1, 11, 21 characters and a special token
    assert answer["bins"] == ["1", "11", "21"] and answer["unit"] == "characters"
    assert ("lift_gsm8k", "length of the question") not in parts  # all are two characters long


def test_bins_of_a_length_hold_as_many_answers_each(tmp_path):
    lengths = [n * n for n in range(1, 101)]
    one = [sample_line(i, ["x" * n], [float(n > 2500)], question=f"Q{i:03}") for i, n in enumerate(lengths)]
    write_evaluation(tmp_path / "base", "task", one)
    part = next(p for p in page_data(tmp_path)["breakdowns"] if p["by"] == "length of the answer")
    cells = part["rows"]["base"]
    assert len(cells) == 5 and sum(cell["n"] for cell in cells) == 100
    assert all(18 <= cell["n"] <= 22 for cell in cells)
    for label, cell in zip(part["bins"], cells, strict=True):
        low, high = map(int, label.split("\u2013"))
        inside = [n for n in lengths if low <= n <= high]
        assert cell["n"] == len(inside) and cell["value"] == sum(n > 2500 for n in inside) / len(inside)


def test_the_browser_holds_every_text_and_verdict(small):
    data = page_data(small)
    items = {(item["task"], item["id"]): item for item in data["browser"]["items"]}
    item = items["lift_gsm8k", "1"]
    assert (item["question"], item["target"]) == ("Q1", "7")
    assert data["browser"]["frames"]["lift_gsm8k"] == (BEFORE, AFTER)
    assert [data["arms"][a]["name"] for a, *_ in item["answers"]] == ["base", "base", "vanilla", "vanilla"]
    assert item["answers"][1] == [0, 1, [0, 1], None, ["a", "b"]]
    sudoku = items["lift_sudoku", "2"]
    assert sudoku["answers"] == [[0, 0, [0], ["0 of 6"], ["grid 2"]], [1, 0, [0], ["3 of 6"], ["grid 2"]]]
    assert sudoku["facts"] == {"empty cells": 6}


def test_several_seeds(tmp_path):
    """Two seeds of one method: they differ on one of four problems."""
    right = {"0": [1, 1, 0, 0], "1": [1, 1, 1, 0]}
    for seed, found in right.items():
        one = [sample_line(i, ["x"], [float(v)], question=f"Q{i}") for i, v in enumerate(found)]
        write_evaluation(tmp_path / "m" / f"seed-{seed}", "task", one)
        write_json(
            tmp_path / "m" / f"seed-{seed}" / "train.json", {"result": {}, "seconds": 10 + 10 * int(seed)}
        )
        write_json(
            tmp_path / "m" / f"seed-{seed}" / "eval.json",
            {"result": {"task": {"acc": score(sum(found) / 4)}}, "seconds": 5},
        )
    write_json(
        tmp_path / "results.json",
        {"scores": {"m": {"task": {"acc": score(0.625, 0.125, n_seeds=2)}}}},
    )
    data = page_data(tmp_path)
    assert [arm["name"] for arm in data["arms"]] == ["m seed 0", "m seed 1"] and data["rows"] == ["m"]
    cell = data["summary"]["task"]["acc"]["rows"]["m"]
    assert (cell["seeds"], cell["items"]) == (2, 4)
    # Over problems: of the resamples of 1, 1, 1/2, 0 a sixteenth are ones, a 256th zeros.
    assert 0 < cell["low"] < 0.625 and cell["high"] == 1.0
    assert (cell["seeds_low"], cell["seeds_high"]) == (0.0, 1.0)  # 0.625 +- 12.706 x 0.125
    assert data["costs"]["m"]["train"]["seconds"] == 15
    (tmp_path / "results.json").unlink()  # an interrupted run has the same from its logs
    assert page_data(tmp_path)["summary"]["task"]["acc"]["rows"]["m"] == cell


def test_evaluations_at_several_generation_lengths(tmp_path):
    for length, found in ((128, [0, 0, 1]), (256, [1, 0, 1])):
        one = [sample_line(i, ["x"], [float(v)], question=f"Q{i}") for i, v in enumerate(found)]
        write_log(log_file(tmp_path / "base", f"one-{length}", "lift_gsm8k"), one)
    scores = {f"lift_gsm8k@{n}": {"acc": score(v)} for n, v in ((256, 2 / 3), (128, 1 / 3))}
    write_json(tmp_path / "results.json", {"scores": {"base": scores}})
    data = page_data(tmp_path)
    assert [(item["task"], item["id"]) for item in data["browser"]["items"]][3:] == [
        ("lift_gsm8k@128", str(i)) for i in range(3)
    ]
    part = next(part for part in data["breakdowns"] if part["by"] == "length of the generation")
    assert part["task"] == "lift_gsm8k" and part["bins"] == ["128", "256"]
    assert [cell["value"] for cell in part["rows"]["base"]] == [1 / 3, 2 / 3]
    assert not [note for note in data["notes"] if "sample logs give" in note]


def test_training_curves(tmp_path):
    log = [
        {
            "step": n,
            "loss": float(n % 2),
            "learning_rate": 1 - n / 2000,
            "regime_hardest": 0.2,
            "regime_random": 0.3,
            "regime_easiest": 0.5,
        }
        for n in range(1, 2001)
    ]
    log[10]["loss"] = float("nan")
    log.append({"step": 2000, "eval_nelbo": 1.25})
    write_log(tmp_path / "m" / "train" / "log.jsonl", log)
    write_json(
        tmp_path / "m" / "train" / "confidence.json",
        {"t_edges": [0, 0.5, 1], "kept": [0.25, None], "dropped": [0.75, 0.5], "count": [3, 4]},
    )
    data = page_data(tmp_path)
    (arm,) = data["training"]
    assert len(arm["loss"]["x"]) == len(arm["loss"]["y"]) <= 400
    assert sum(arm["loss"]["x"]) / len(arm["loss"]["x"]) == pytest.approx(1000.5, abs=2)
    # Every window holds as many odd steps as even ones, but for one.
    assert all(abs(v - 0.5) < 0.02 for v in arm["loss"]["smooth"])
    assert arm["eval_nelbo"] == {"x": [2000.0], "y": [1.25]}
    assert set(arm["regimes"]["hardest"]) == {0.2} and set(arm["regimes"]["easiest"]) == {0.5}
    assert arm["confidence"] == {"t": [0.25, 0.75], "kept": [0.25, None], "dropped": [0.75, 0.5]}
    assert "m: 1 logged value of loss not finite, left out." in data["notes"]


def test_token_frequency(tmp_path):
    write_log(tmp_path / "base" / "eval" / "traces.jsonl", [])
    head = "bin,frequency_low,frequency_high,count,confidence_mean,confidence_stderr\n"
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "frequency.csv").write_text(
        head + "0,1,3,10,0.25,0.1\n1,4,9,20,0.5,\n2,0,0,0,,\n"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "frequency.csv").write_text(
        "t," + head + "all,0,1,3,10,0.2,0.1\n0.5,0,1,3,10,0.3,0.1\n"
    )
    first, second = page_data(tmp_path)["frequency"]
    assert first["series"][0]["t"] == "all" and len(first["series"][0]["bins"]) == 2
    assert first["series"][0]["bins"][1] == {
        "frequency_low": 4,
        "frequency_high": 9,
        "count": 20,
        "confidence_mean": 0.5,
        "confidence_stderr": None,
    }
    assert [one["t"] for one in second["series"]] == ["all", 0.5]


def test_costs_are_the_manifests_where_there_is_one(small):
    stage = {"seconds": 99.0, "gpu_hours": 0.0, "forward_passes": 5, "tokens": 6, "peak_memory_bytes": 7}
    write_json(small / "manifest.json", {"stages": {"vanilla/train": stage, "base/eval": {"gpu_hours": 2}}})
    costs = page_data(small)["costs"]
    assert costs["vanilla"]["train"] == {
        "seconds": 99.0,
        "forward_passes": 5,
        "tokens": 6,
        "peak_memory_bytes": 7,
    }
    assert costs["base"]["eval"]["gpu_hours"] == 2 and costs["base"]["eval"]["seconds"] == 30


# ------------------------------------------------------------ what is best


def cell(row, value, low, high, seeds=None):
    interval = None if low is None else Interval(low, high, "bootstrap")
    over = Interval(*seeds, "t") if seeds else None
    return Cell(row, "task", "acc", value, interval, over, {"": value}, 9, 1, 9, None)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"a": (0.3, 0.2, 0.4), "c": (0.5, 0.4, 0.5)}, "b"),
        ({"a": (0.3, 0.2, 0.4), "c": (0.5, 0.4, 0.52)}, None),
        ({"a": (0.3, None, None), "c": (0.5, 0.4, 0.5)}, None),  # a is not known
        ({"a": (0.3, 0.2, 0.4, (0.1, 0.5))}, "b"),
        ({"a": (0.3, 0.2, 0.4, (0.05, 0.55))}, None),  # another training of a might reach b
        ({}, None),  # of what?
    ],
)
def test_best_needs_intervals_above_all_others(others, expected):
    cells = [cell(name, *values) for name, values in others.items()]
    assert best([*cells, cell("b", 0.6, 0.51, 0.7)]) == expected
    assert best([*cells, cell("b", 0.6, 0.51, 0.7, (0.3, 0.9))]) is None  # another training of b might not


# ------------------------------------------------------------ what is missing or wrong


def test_an_interrupted_run_says_what_is_missing(tmp_path):
    folder = write_small_run(tmp_path / "run", results=False)
    (folder / "vanilla" / "eval.json").unlink()
    log = log_file(folder / "vanilla", "one", "lift_gsm8k")
    log.write_text(log.read_text()[:-40])  # killed while it wrote
    data = page_data(folder)
    assert data["rows"] == ["base", "vanilla"]
    found = data["summary"]["lift_gsm8k"]["acc"]["rows"]
    assert [found[row]["items"] for row in data["rows"]] == [3, 2]  # as far as the logs go
    said = "\n".join(data["notes"])
    assert (
        "results.json is not there: the run has not ended." in said and "manifest.json is not there" in said
    )
    assert f"vanilla/eval/one/{log.name}: 1 of its lines cannot be read" in said and "no replay" in said


def test_results_of_another_evaluation_are_noticed(small):
    results = json.loads((small / "results.json").read_text())
    results["scores"]["base"]["lift_gsm8k"]["acc"]["value"] = 0.9
    write_json(small / "results.json", results)
    assert any(
        "base on lift_gsm8k: acc is 0.9000 in results.json of the run, but 0.3333 by the sample log" in note
        for note in page_data(small)["notes"]
    )


def test_an_empty_start_and_broken_files(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: started\n")
    (tmp_path / "results.json").write_text("{")
    data = embedded(write_report(tmp_path, tmp_path / "page.html").read_text())
    assert data["summary"] == {} and data["header"]["name"] == "started"
    assert any(note.startswith("results.json: not JSON: ") for note in data["notes"])


def test_another_folder_is_refused_in_one_line(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(LiftError, match="is not a run folder: it has neither recipe.yaml nor results.json"):
        write_report(tmp_path)
    with pytest.raises(LiftError, match="no run folder"):
        write_report(tmp_path / "none")
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(LiftError, match="cannot be written"):
        write_report(tmp_path, tmp_path / "none" / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml", "thesis.tex"]


def test_decoding_histories_are_checked(small):
    good = {
        "task": "lift_gsm8k",
        "doc_id": 1,
        "sample": 0,
        "label": "one",
        "tokens": ["a", "b"],
        "step": [1, 0],
        "confidence": [0.51234, None],
    }
    bad = [
        {**good, "doc_id": 77},
        {**good, "step": [1]},
        {**good, "tokens": "ab"},
        {**good, "step": [1, "x"]},
    ]
    write_log(small / "vanilla" / "eval" / "traces.jsonl", [good, *bad])
    data = page_data(small)
    (trace,) = data["browser"]["traces"]
    assert data["browser"]["items"][trace["item"]]["id"] == "1"
    assert trace == {
        "item": trace["item"],
        "arm": 1,
        "label": 0,
        "sample": 0,
        "tokens": ["a", "b"],
        "step": [1, 0],
        "confidence": [0.512, None],
    }
    assert any("4 decoding histories without a problem or not well formed" in note for note in data["notes"])
