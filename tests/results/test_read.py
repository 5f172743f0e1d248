"""What `lift-harness compare` reads: run folders, lm-eval's output, single files, and what is broken in them.

`support.eval_files` writes them as lm-eval 0.4.13 and train-eval do; the last test reads real ones.
"""

import json
import random
import tracemalloc

import pytest
from support.eval_files import DECODING, LATER, TIME, answered, write_eval, write_log, write_run

from lift_harness.compare import compare, load
from lift_harness.errors import LiftError
from lift_harness.results.logs import Notes, read_items
from lift_harness.results.scores import RowOnTask


def flat(row):
    """(seed, task, label, problems, answers a problem) of a row's evaluations."""
    return [
        (seed, one.task, one.label, len(one.items), one.samples)
        for seed, found in row.seeds.items()
        for one in found
    ]


# ---------------------------------------------------------------- run folders


def test_every_method_and_seed_of_a_run_is_read(tmp_path):
    one = {"one": {"lift_gsm8k": answered([1, 0, 1])}}
    run = write_run(
        tmp_path / "run",
        {
            "base": {**one, "samples": {"lift_gsm8k": answered([[1, 0], [0, 0]])}},
            "lift-h3/seed-0": one,
            "lift-h3/seed-1": one,
            "lift-h3/seed-10": one,
        },
        methods=[("lift-h3", {"name": "lift", "H": 3})],
        data=("s1k",),
    )
    base, lift = load([run])
    assert (base.name, base.method, base.model, base.data) == ("base", "base", "lift-tiny", ())
    assert flat(base) == [("", "lift_gsm8k", "one", 3, 1), ("", "lift_gsm8k", "samples", 2, 2)]
    assert (lift.name, lift.method, lift.data) == ("lift-h3", "lift H=3", ("s1k",))
    assert [seed for seed, *_ in flat(lift)] == ["0", "1", "10"]
    assert not base.notes and not lift.notes


@pytest.mark.parametrize(("seeds", "expected"), [(1, [""]), (2, ["0", "1"]), (None, ["0", "1", "2"])])
def test_seeds_that_an_earlier_recipe_left_do_not_count(tmp_path, seeds, expected):
    one = {"one": {"lift_gsm8k": answered([1, 0])}}
    rows = {"base": one, "m": one, **{f"m/seed-{seed}": one for seed in range(3)}}
    run = write_run(tmp_path / "run", rows, methods=[("m", {"name": "vanilla"})])
    if seeds:
        with (run / "recipe.yaml").open("a") as stream:
            stream.write(f"seed: 0\nseeds: {seeds}\n")
    base, m = load([run])
    assert list(m.seeds) == list(m.folders) == expected and list(base.seeds) == [""]


def test_generation_lengths_of_a_run_are_tasks_of_their_own(tmp_path):
    labels = {f"one-{n}": {"lift_gsm8k": answered([1, 0])} for n in (128, 512)}
    (row,) = load([write_run(tmp_path / "run", {"base": labels})])
    assert row.tasks == ["lift_gsm8k@128", "lift_gsm8k@512"]
    assert [one.gen_length for one in row.seeds[""]] == [128, 512]


def test_an_interrupted_run_is_read_as_far_as_it_goes(tmp_path):
    one = {"one": {"lift_gsm8k": answered([1, 0])}}
    run = write_run(
        tmp_path / "run", {"base": one}, methods=[("vanilla", {"name": "vanilla"})], finished=False
    )
    (row,) = load([run])
    assert row.name == "base" and "no results.json" in row.notes[0]


def test_a_run_of_which_only_the_results_are_left(tmp_path):
    (tmp_path / "results.json").write_text(
        json.dumps({"scores": {"base": {"lift_gsm8k": {"acc": {"value": 0.5, "stderr": 0.1}}}}})
    )
    (row,) = load([tmp_path])
    assert row.seeds[""][0].aggregates == {"acc": (0.5, 0.1)} and not row.seeds[""][0].items
    assert any("recipe.yaml cannot be read" in note for note in row.notes)


def test_a_log_without_its_results_file_counts(tmp_path):
    one = {"one": {"lift_gsm8k": answered([1, 0, 1])}, "one-512": {"lift_gsm8k": answered([1, 1])}}
    run = write_run(tmp_path / "run", {"base": one})
    for file in run.rglob("results_*.json"):
        file.unlink()
    write_log(run / f"base/eval/one/samples_lift_gsm8k_{LATER}.jsonl", answered([0, 0, 0, 0]))
    write_log(run / f"base/eval/one/samples_lift_gsm8k_{LATER}.scored.jsonl", answered([1]))
    (row,) = load([run])
    assert flat(row) == [("", "lift_gsm8k", "one", 4, 1), ("", "lift_gsm8k@512", "one-512", 2, 1)]
    assert not row.seeds[""][0].settings


def test_a_results_file_comes_before_a_log_of_its_task(tmp_path):
    run = write_run(tmp_path / "run", {"base": {"one": {"lift_gsm8k": answered([1, 0])}}})
    write_log(run / f"base/eval/one/samples_lift_aime24_{TIME}.jsonl", answered([0]))
    write_log(run / f"base/eval/one/samples_lift_gsm8k_{LATER}.jsonl", answered([1, 1, 1]))
    (row,) = load([run])
    assert sorted(flat(row)) == [("", "lift_aime24", "one", 1, 1), ("", "lift_gsm8k", "one", 2, 1)]


def test_the_record_of_a_stage_counts_where_lm_evals_files_are_gone(tmp_path):
    run = write_run(tmp_path / "run", {}, finished=False)
    for seed, value in enumerate((0.25, 0.75)):
        (run / f"m/seed-{seed}").mkdir(parents=True)
        record = {"result": {"lift_gsm8k": {"acc": {"value": value, "stderr": 0.1}}}}
        (run / f"m/seed-{seed}/eval.json").write_text(json.dumps(record))
    (row,) = load([run])
    assert {seed: one.aggregates for seed, (one,) in row.seeds.items()} == {
        "0": {"acc": (0.25, 0.1)},
        "1": {"acc": (0.75, 0.1)},
    }


@pytest.mark.parametrize("with_seeds", [True, False])
def test_of_a_mean_over_seeds_no_error_over_problems_is_made(tmp_path, with_seeds):
    def scores(value, **more):
        return {"lift_gsm8k": {"acc": {"value": value, "stderr": 0.1, **more}}}

    results = {"scores": {"m": scores(0.5, n_seeds=3)}}
    if with_seeds:
        results["seeds"] = {"m": {str(seed): scores(value) for seed, value in enumerate((0.4, 0.5, 0.6))}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (row,) = load([tmp_path])
    cell = RowOnTask(row, "lift_gsm8k").cell("acc")
    assert cell.value == pytest.approx(0.5) and cell.interval is None
    half = 4.302652729749464 * 0.1 / 3**0.5
    if with_seeds:
        assert (cell.over_seeds.low, cell.over_seeds.high) == pytest.approx((0.5 - half, 0.5 + half))
    else:
        assert cell.over_seeds is None


def test_a_task_that_only_results_json_has_is_there_too(tmp_path):
    run = write_run(tmp_path / "run", {"base": {"one": {"lift_gsm8k": answered([1, 0])}}})
    results = json.loads((run / "results.json").read_text())
    results["scores"]["base"]["lift_aime24"] = {"pass@16": {"value": 0.1, "stderr": 0.05}}
    (run / "results.json").write_text(json.dumps(results))
    (row,) = load([run])
    assert row.tasks == ["lift_gsm8k", "lift_aime24"]
    assert row.seeds[""][1].aggregates == {"pass@16": (0.1, 0.05)}


def test_a_method_folder_a_results_json_and_a_folder_of_runs(tmp_path):
    one = {"one": {"lift_gsm8k": answered([1, 0])}}
    for name in ("a", "b"):
        write_run(tmp_path / name, {"base": one, "vanilla": one})
    assert [row.name for row in load([tmp_path / "a" / "vanilla"])] == ["vanilla"]
    assert [row.name for row in load([tmp_path / "a" / "results.json"])] == ["base", "vanilla"]
    assert [row.name for row in load([tmp_path])] == ["a/base", "a/vanilla", "b/base", "b/vanilla"]


# ---------------------------------------------------------------- lm-eval's output


def test_the_newest_evaluation_of_a_task_and_model_wins_and_it_is_said(tmp_path):
    write_eval(tmp_path / "out" / "m", {"lift_gsm8k": answered([1, 1]), "lift_aime24": answered([0, 0])})
    write_eval(tmp_path / "out" / "m", {"lift_gsm8k": answered([0, 0, 0])}, time=LATER)
    (row,) = load([tmp_path / "out"])
    assert sorted(flat(row)) == [("", "lift_aime24", "one", 2, 1), ("", "lift_gsm8k", "one", 3, 1)]
    assert len(row.notes) == 1
    assert "lift_gsm8k" in row.notes[0] and "newer than results_2026-01-02" in row.notes[0]


def test_several_models_below_one_folder_are_rows(tmp_path):
    for name in ("x", "y"):
        write_eval(tmp_path / "out" / name, {"lift_gsm8k": answered([1, 0])}, pretrained=name)
    assert [(row.name, row.model) for row in load([tmp_path / "out"])] == [("x", "x"), ("y", "y")]
    (row,) = load([tmp_path / "out" / "y"])
    assert row.name == "y"


def test_two_models_in_the_same_folder_are_told_apart(tmp_path):
    write_eval(tmp_path / "out", {"lift_gsm8k": answered([1, 0])}, pretrained="x")
    write_eval(tmp_path / "out", {"lift_gsm8k": answered([1, 1])}, pretrained="y", time=LATER)
    assert [row.name for row in load([tmp_path / "out"])] == ["x", "y"]


def test_a_results_file_takes_its_own_logs(tmp_path):
    folder = write_eval(tmp_path / "m", {"lift_gsm8k": answered([1, 0])})
    write_eval(folder, {"lift_gsm8k": answered([1, 1, 1])}, time=LATER)
    (row,) = load([folder / f"results_{TIME}.json"])
    assert flat(row) == [("", "lift_gsm8k", "one", 2, 1)]


def test_an_adapter_is_not_the_base_model(tmp_path):
    write_eval(tmp_path / "a", {"lift_gsm8k": answered([1])}, pretrained="GSAI-ML/LLaDA-8B-Instruct")
    write_eval(
        tmp_path / "b", {"lift_gsm8k": answered([1])}, pretrained="GSAI-ML/LLaDA-8B-Instruct", peft="p"
    )
    plain, adapted = load([tmp_path / "a", tmp_path / "b"])
    assert (plain.method, adapted.method) == ("base", None)


def test_groups_and_other_files_are_left_alone(tmp_path):
    folder = write_eval(tmp_path / "m", {"lift_gsm8k": answered([1, 0])})
    data = json.loads((folder / f"results_{TIME}.json").read_text())
    data["results"]["lift_reasoning"] = {"alias": "lift_reasoning", "acc,none": 0.3}
    (folder / f"results_{TIME}.json").write_text(json.dumps(data))
    (folder / "notes.txt").write_text("x")
    (row,) = load([folder])
    assert row.tasks == ["lift_gsm8k"]


# ---------------------------------------------------------------- logs


def test_a_scored_log_has_only_problems(tmp_path):
    log = write_log(tmp_path / "mine.scored.jsonl", answered([1, 0]))
    (row,) = load([log])
    assert row.name == "mine" and flat(row) == [("", "answers", "one", 2, 1)]
    assert row.model is None and row.method is None


def test_an_unnamed_log_is_of_the_task_whose_problems_it_has(tmp_path):
    write_eval(
        tmp_path / "m", {"lift_gsm8k": answered([1, 0]), "other": answered([1], doc={"question": "x"})}
    )
    log = write_log(tmp_path / "mine.scored.jsonl", answered([0, 0]))
    rows = load([tmp_path / "m", log])
    assert rows[1].tasks == ["lift_gsm8k"]


def test_a_log_with_lm_evals_name_or_a_task_in_its_lines_needs_no_guess(tmp_path):
    first = write_log(tmp_path / f"samples_lift_mbpp_{TIME}.scored.jsonl", answered([1]))
    second = write_log(tmp_path / "x.jsonl", answered([1], task="lift_humaneval"))
    assert [row.tasks for row in load([first, second])] == [["lift_mbpp"], ["lift_humaneval"]]


def test_a_log_takes_the_settings_of_the_results_beside_it_but_not_its_numbers(tmp_path):
    folder = write_eval(tmp_path / "m", {"lift_gsm8k": answered([1, 1])})
    log = write_log(folder / f"samples_lift_gsm8k_{TIME}.scored.jsonl", answered([0, 1]))
    (row,) = load([log])
    (one,) = row.seeds[""]
    assert one.settings["decoding"] == DECODING and not one.aggregates


def test_a_problem_is_the_same_whatever_the_order_of_lines_and_fields(tmp_path):
    lines = answered([1, 0, 1, 1])
    lines[3]["doc"] = {**lines[0]["doc"], "verdicts": lines[3]["doc"]["verdicts"]}  # the same question twice
    write_log(tmp_path / "a.jsonl", lines)
    mixed = [{**one, "doc": dict(reversed(one["doc"].items()))} for one in random.Random(0).sample(lines, 4)]
    write_log(tmp_path / "b.jsonl", mixed)
    a, b = (row.seeds[""][0].items for row in load([tmp_path / "a.jsonl", tmp_path / "b.jsonl"]))
    assert len(a) == 4 and list(a) == list(b)
    assert [one.doc_id for one in a.values()] == [one.doc_id for one in b.values()]


def test_a_log_whose_answers_were_taken_out_has_its_verdicts(tmp_path):
    lines = answered([[1, 0, 1], [0, 0, 0]])
    for one in lines:
        del one["resps"]
    (row,) = load([write_log(tmp_path / "x.jsonl", lines)])
    assert [(item.n, item.right) for item in row.seeds[""][0].items.values() if item.doc_id == "0"] == [
        (3, 2)
    ]


def test_filters_of_a_stock_task_are_metrics_of_one_problem(tmp_path):
    lines = []
    for name, values in (("strict-match", (0.0, 1.0)), ("flexible-extract", (1.0, 1.0))):
        for i, value in enumerate(values):
            lines.append(
                {
                    **{"doc_id": i, "doc": {"question": f"q{i}"}, "resps": [[f"text {i}"]], "filter": name},
                    **{"metrics": ["exact_match"], "exact_match": value},
                }
            )
    (row,) = load([write_log(tmp_path / f"samples_gsm8k_{TIME}.jsonl", lines)])
    first, second = sorted(row.seeds[""][0].items.values(), key=lambda item: item.doc_id)
    names = {"exact_match,strict-match", "exact_match,flexible-extract"}
    assert set(first.scores) == set(second.scores) == names
    assert first.scores["exact_match,strict-match"] == (0.0, 1.0) and first.right is None


# ---------------------------------------------------------------- names


def test_names_are_unique_and_as_short_as_can_be(tmp_path):
    one = {"one": {"lift_gsm8k": answered([1, 0])}}
    write_run(tmp_path / "p" / "run", {"base": one, "vanilla": one})
    write_run(tmp_path / "q" / "run", {"base": one})
    rows = load([tmp_path / "p" / "run", tmp_path / "q" / "run"])
    assert [row.name for row in rows] == ["p/run/base", "vanilla", "q/run/base"]


def test_rows_are_called_what_the_user_calls_them(tmp_path):
    one = {"one": {"lift_gsm8k": answered([1, 0])}}
    run = write_run(tmp_path / "run", {"base": one, "vanilla": one})
    out = write_eval(tmp_path / "out" / "m", {"lift_gsm8k": answered([1, 0])})
    rows = load([run], {"mine": run, "theirs": out})
    assert [row.name for row in rows] == ["mine/base", "mine/vanilla", "theirs"]


# ---------------------------------------------------------------- what is broken


def test_broken_lines_and_files_are_noted_and_left_out(tmp_path):
    folder = write_eval(tmp_path / "m", {"lift_gsm8k": answered([1, 0, 1])})
    log = folder / f"samples_lift_gsm8k_{TIME}.jsonl"
    log.write_text(log.read_text()[:-40] + "\n[1]\n")
    (folder / f"results_{LATER}.json").write_text('{"results": ')
    (row,) = load([folder])
    assert flat(row) == [("", "lift_gsm8k", "one", 2, 1)]
    assert any("2 of its lines cannot be read" in note for note in row.notes)
    assert any(f"results_{LATER}.json: not JSON" in note for note in row.notes)


@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {"acc": None}, {"n_samples": 1, "acc": "no"}, {"n_samples": 1, "acc": [None]}]
)
def test_verdicts_that_are_none_leave_a_problem_without_metrics(tmp_path, value):
    lines = answered([1, 0])
    for one in lines:
        one["doc"]["verdicts"] = value
        one["metrics"], one["resps"] = value, [["a"]]
    (row,) = load([write_log(tmp_path / "x.jsonl", lines)])
    assert all(not item.scores for item in row.seeds[""][0].items.values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "no file or folder"),
        (lambda p: p, "holds no results that can be compared"),
        (lambda p: write_log(p / "x.jsonl", []), "holds no samples"),
        (lambda p: write_log(p / "results_x.json", [{}]), "holds no results"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, make, message):
    with pytest.raises(LiftError, match=message) as error:
        load([make(tmp_path)])
    assert "\n" not in str(error.value)
    assert "give a" in str(error.value)


def test_nothing_at_all_is_one_line():
    with pytest.raises(LiftError, match="nothing to compare"):
        load([])


# ---------------------------------------------------------------- real files


@pytest.mark.slow
def test_what_lm_eval_really_writes_is_read(tmp_path):
    from lift_harness.compare import compare
    from lift_harness.lm.evaluation import evaluate_model

    options = {"model_args": "", "gen_kwargs": "temperature=0.5", "batch_size": "4", "limit": 3}
    for name, samples in (("a", 1), ("b", 2)):
        evaluate_model("lift-tiny", ["sudoku_mini"], output=tmp_path / name, samples=samples, **options)
    a, b = rows = load([tmp_path / "a", tmp_path / "b"])
    assert (a.name, a.model, a.method) == ("a", "lift-tiny", "base")
    assert flat(a) == [("", "lift_sudoku_mini", "one", 3, 1)]
    assert flat(b) == [("", "lift_sudoku_mini", "one", 3, 2)]
    found = compare(rows)
    (file,) = (tmp_path / "b").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]["lift_sudoku_mini"]
    for metric in ("acc", "solved", "format", "pass@1", "pass@2", "avg@2"):
        assert found.cells["b", "lift_sudoku_mini", metric].value == pytest.approx(theirs[f"{metric},none"])
    assert not found.refusals and not found.notes  # the same problems, prompts and settings


def test_a_log_takes_little_more_memory_than_its_file(tmp_path):
    """What a run of 200,000 answers needs is measured by benchmarks/logs.py; here a hundredth of it."""
    lines = answered([i % 2 for i in range(2000)], prompt="Solve it. " * 150)
    log = write_log(tmp_path / "samples_lift_gsm8k_2026-01-02T03-04-05.678901.jsonl", lines)
    tracemalloc.start()
    try:
        items, _ = read_items(log, Notes())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(items) == 2000 and log.stat().st_size > 4e6
    assert peak < 1.5 * log.stat().st_size


# ------------------------------------------------------------ what is not used is said


def test_a_path_has_one_name_and_counts_once(tmp_path):
    write_eval(tmp_path / "a", {"lift_gsm8k": answered([1, 0])})
    with pytest.raises(LiftError, match="is called x and y; give it one name"):
        load([], {"x": tmp_path / "a", "y": str(tmp_path / "a")})
    (row,) = load([tmp_path / "a", tmp_path / "a"])
    assert row.notes == [f"{tmp_path / 'a'} is named 2 times; its rows are here once"]


def test_logs_of_an_output_folder_that_are_not_used_are_named(tmp_path):
    folder = write_eval(tmp_path / "a", {"lift_gsm8k": answered([1, 0])})
    (used,) = folder.glob("*.jsonl")
    alone = write_log(folder / f"samples_lift_gsm8k_{LATER}.jsonl", answered([1, 1]))
    scored = write_log(used.with_suffix(".scored.jsonl"), answered([1, 1]))
    (row,) = load([folder])
    assert sorted(row.notes) == sorted(
        [
            f"{alone} is not used: its results file is not there; name it itself",
            f"{scored} is not used: beside results files a log that was scored again is to be named itself",
        ]
    )


def test_a_baseline_without_a_task_is_said(tmp_path):
    write_eval(tmp_path / "base", {"lift_gsm8k": answered([1, 0])})
    write_eval(tmp_path / "mine", {"lift_sudoku": answered([1, 0]), "lift_gsm8k": answered([1, 1])})
    comparison = compare(load([tmp_path / "base", tmp_path / "mine"]))
    assert "the baseline base has no results of lift_sudoku: no differences there" in comparison.notes
