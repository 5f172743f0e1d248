"""`lift-harness compare`: options, files it writes, errors; and logs that contradict results files."""

import json
import statistics as stats

import pytest
from support.eval_files import TIME, answered, evals, write_eval, write_log, write_run

from lift_harness.compare import compare, load
from lift_harness.compare.command import run_compare
from lift_harness.errors import LiftError

TASK = "lift_gsm8k"
SIX = [1, 0, 1, 0, 1, 1]


# ---------------------------------------------------------------- the command


def test_the_flips_are_written_with_both_answers(tmp_path, capsys):
    rows = {"base": [1, 0, 1], "mine": [0, 0, 1]}
    evals(tmp_path, TASK, **rows)
    flips = tmp_path / "flips.jsonl"
    run_compare([tmp_path / "base", tmp_path / "mine"], flips=flips)
    (one,) = map(json.loads, flips.read_text().splitlines())
    assert (one["row"], one["baseline"], one["change"], one["doc_id"]) == (
        "mine",
        "base",
        "right->wrong",
        "0",
    )
    assert (one["answer"], one["baseline_answer"]) == ("0: 0.0", "0: 1.0")
    assert one["doc"] == {"question": "question 0", "answer": "0"} and one["metric"] == "acc"
    assert "wrote 1 problem" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "html"}, "format='html' is not known"),
        ({"output": "table.pdf"}, "table.pdf: no format is known for .pdf; give --format"),
        ({"names": ["x"]}, "write NAME=PATH"),
        ({"names": ["a=x", "a=y"]}, "'a' is given twice"),
        ({"tasks": " ,"}, "names nothing"),
        ({"output": "no/such/x.md"}, "cannot be written"),
    ],
)
def test_a_bad_option_is_one_line(tmp_path, options, message):
    evals(tmp_path, TASK, base=SIX)
    if "output" in options:
        options = {"output": tmp_path / options["output"]}
    with pytest.raises(LiftError, match=message) as error:
        run_compare([tmp_path / "base"], **options)
    assert "\n" not in str(error.value)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    from lift_harness.cli import main

    evals(tmp_path, TASK, base=SIX, mine=[1] * 6)
    asked = [
        str(tmp_path / "base"),
        "--name",
        f"other={tmp_path / 'mine'}",
        "--format",
        "json",
        "--metrics",
        "acc",
    ]
    monkeypatch.setattr("sys.argv", ["lift-harness", "compare", *asked])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == ["base", "other"] and found["differences"][0]["gained"] == 2


def test_bad_input_leaves_the_command_line_with_one_line_and_2(tmp_path, monkeypatch, capsys):
    from lift_harness.cli import main

    monkeypatch.setattr("sys.argv", ["lift-harness", "compare", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (text,) = capsys.readouterr().err.strip().splitlines()
    assert text.startswith("error: no file or folder")


# ---------------------------------------------------------------- logs against results


def test_a_log_that_contradicts_its_results_file_is_noted_and_shown(tmp_path):
    write_eval(tmp_path / "m", {TASK: answered(SIX)}, results={"acc,none": 0.25})
    found = compare(load([tmp_path / "m"]))
    assert found.cells["m", TASK, "acc"].value == pytest.approx(4 / 6)
    (note,) = found.notes
    assert "acc is 0.2500 in results_" in note and "0.6667 by the sample log" in note


def test_a_run_whose_results_json_is_of_other_logs_is_noted(tmp_path):
    scores = {"base": {TASK: {"acc": {"value": 0.9, "stderr": 0.1}}}}
    run = write_run(tmp_path / "run", {"base": {"one": {TASK: answered(SIX)}}}, scores=scores)
    (note,) = compare(load([run])).notes
    assert "acc is 0.9000 in results.json of the run" in note


def test_a_log_that_was_cut_off_is_noted(tmp_path):
    folder = write_eval(tmp_path / "m", {TASK: answered(SIX)})
    write_log(folder / f"samples_{TASK}_{TIME}.jsonl", answered(SIX)[:3])
    notes = compare(load([folder])).notes
    assert any("holds 3 problems, its results file 6" in note for note in notes)


def test_without_logs_there_are_values_and_no_differences(tmp_path):
    write_eval(tmp_path / "base", {TASK: answered(SIX)}, logs=False)
    write_eval(tmp_path / "mine", {TASK: answered([1] * 6)}, logs=False)
    found = compare(load([tmp_path / "base", tmp_path / "mine"]))
    with_log = compare(evals(tmp_path / "logs", TASK, base=SIX))
    ours, theirs = found.cells["base", TASK, "acc"], with_log.cells["base", TASK, "acc"]
    assert ours.interval.method == "wilson"  # its standard error says that it is of zeros and ones
    assert (ours.interval.low, ours.interval.high) == pytest.approx(
        (theirs.interval.low, theirs.interval.high)
    )
    assert not found.differences and any("without sample logs" in note for note in found.notes)


def test_of_a_share_without_a_log_the_standard_error_makes_the_interval(tmp_path):
    write_eval(tmp_path / "m", {TASK: answered([[1, 0], [1, 1], [0, 0]])}, logs=False)
    cell = compare(load([tmp_path / "m"])).cells["m", TASK, "acc"]
    error = stats.stdev([0.5, 1, 0]) / 3**0.5
    assert cell.interval.method == "normal"
    assert cell.interval.high == pytest.approx(min(1, 0.5 + 1.959964 * error))
    assert cell.interval.low == pytest.approx(max(0, 0.5 - 1.959964 * error))


def test_a_stock_task_with_an_aggregation_of_its_own_is_taken_from_its_results(tmp_path):
    for name, value in (("base", 12.5), ("mine", 11.0)):
        lines = [
            {**{"doc_id": i, "doc": {"text": f"t{i}"}, "resps": [["x"]], "filter": "none"},
             **{"metrics": ["perplexity", "acc"], "perplexity": -3.0 * i, "acc": float(i % 2)}}
            for i in range(4)
        ]  # fmt: skip
        write_eval(tmp_path / name, {"wikitext": lines}, results={"perplexity,none": value})
    found = compare(load([tmp_path / "base", tmp_path / "mine"]))
    assert found.cells["mine", "wikitext", "perplexity"].value == 11.0
    assert found.differences["mine", "wikitext", "acc"].value == 0
    assert ("mine", "wikitext", "perplexity") not in found.differences
