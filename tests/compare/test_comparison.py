"""Comparisons: values, differences, what does not compare, published numbers, the command."""

import itertools
import random
import statistics as stats

import pytest
from support.eval_files import DECODING, LATER, answered, evals, line, write_eval, write_log, write_run

from lift_harness.compare import compare, load
from lift_harness.compare.render import render
from lift_harness.errors import LiftError

TASK = "lift_gsm8k"


def pass_at_k(verdicts, k):
    """The share of all subsets of k answers in which at least one is right."""
    subsets = list(itertools.combinations(verdicts, k))
    return sum(any(subset) for subset in subsets) / len(subsets)


# ---------------------------------------------------------------- values


def test_answers_that_are_one_text_are_no_pass_at_k(tmp_path):
    """An engine that fixes its seed: four equal answers are one answer, and pass@4 was not measured."""
    acc = [[1] * 4, [0] * 4, [0] * 4]
    for name in ("base", "mine"):
        texts = ["same"] * 4 if name == "mine" else list("abcd")
        write_eval(tmp_path / name, {TASK: answered(acc, texts=texts)})
    comparison = compare(load([tmp_path / "base", tmp_path / "mine"]))
    known = {metric for row, _, metric in comparison.cells if row == "mine"}
    assert known == {"acc", "pass@1", "avg@4"}
    assert ("base", TASK, "pass@4") in comparison.cells
    (note,) = comparison.notes
    assert note.startswith("mine on lift_gsm8k: the 4 answers to each problem are one text (3 distinct texts")
    assert "pass@k was not measured" in note and note in render(comparison, "table", width=200)


def test_accuracy_flips_and_p_values_by_hand(tmp_path):
    base = [1, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    mine = [0, 1, 1, 1, 1, 1, 1, 0, 1, 0]
    found = compare(evals(tmp_path, TASK, base=base, mine=mine))
    cell = found.cells["mine", TASK, "acc"]
    assert (cell.value, cell.items, cell.samples, cell.interval.method) == (0.7, 10, 1, "wilson")
    assert (cell.interval.low, cell.interval.high) == pytest.approx((0.3968, 0.8922), abs=5e-4)  # textbook
    one = found.differences["mine", TASK, "acc"]
    assert one.value == pytest.approx(0.4) and one.items == 10 and one.baseline == "base"
    assert (one.gained, one.lost) == (5, 1)
    assert one.mcnemar == one.adjusted == pytest.approx(2 * (1 + 6) / 64)
    flips = {(flip.item.doc_id, flip.change) for flip in found.flips}
    assert flips == {("0", "right->wrong"), *((str(i), "wrong->right") for i in (2, 3, 4, 5, 6))}
    assert not found.refusals and not found.notes


def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(tmp_path):
    random_ = random.Random(0)
    chances = [random_.random() ** 4 for _ in range(12)]
    verdicts, other = ([[int(random_.random() < p) for _ in range(8)] for p in chances] for _ in range(2))
    found = compare(evals(tmp_path, TASK, base=verdicts, mine=other))
    assert found.tasks[TASK] == ["acc", "pass@1", "pass@2", "pass@4", "pass@8", "avg@8"]
    for k in (1, 2, 4, 8):
        for row, values in (("base", verdicts), ("mine", other)):
            expected = stats.fmean(pass_at_k(one, k) for one in values)
            cell = found.cells[row, TASK, f"pass@{k}"]
            assert cell.value == pytest.approx(expected) and cell.samples == 8
            assert cell.interval.method == "bootstrap"
        expected = stats.fmean(
            pass_at_k(b, k) - pass_at_k(a, k) for a, b in zip(verdicts, other, strict=True)
        )
        one = found.differences["mine", TASK, f"pass@{k}"]
        assert one.value == pytest.approx(expected)
        assert one.mcnemar is None and one.gained is None


def test_with_other_numbers_of_answers_the_common_k_are_compared(tmp_path):
    random_ = random.Random(1)
    eight = [[random_.randint(0, 1) for _ in range(8)] for _ in range(6)]
    three = [[random_.randint(0, 1) for _ in range(3)] for _ in range(6)]
    found = compare(evals(tmp_path, TASK, base=eight, mine=three))
    compared = {metric for _, _, metric in found.differences}
    assert compared == {"acc", "pass@1", "pass@2", "pass@3"}
    assert ("base", TASK, "pass@3") in found.cells and ("mine", TASK, "pass@4") not in found.cells
    expected = stats.fmean(pass_at_k(b, 3) - pass_at_k(a, 3) for a, b in zip(eight, three, strict=True))
    assert found.differences["mine", TASK, "pass@3"].value == pytest.approx(expected)
    assert any("8 and 3 answers a problem, compared up to pass@3" in note for note in found.notes)


def sudoku(cells):
    """Lines of (right, empty) counts, one answer each."""
    return [
        line(i, {"acc": [list(pair)], "solved": [float(pair[0] == pair[1])]}) for i, pair in enumerate(cells)
    ]


def test_sudoku_counts_cells_over_all_puzzles(tmp_path):
    base, mine = [(4, 8), (1, 4), (6, 6), (0, 9)], [(8, 8), (1, 4), (6, 6), (3, 9)]
    found = compare(evals(tmp_path, TASK, base=sudoku(base), mine=sudoku(mine)))
    assert found.cells["base", TASK, "acc"].value == pytest.approx(11 / 27)
    assert found.cells["base", TASK, "acc"].interval.method == "bootstrap"
    one = found.differences["mine", TASK, "acc"]
    assert one.value == pytest.approx(7 / 27) and one.mcnemar is None and one.gained is None
    solved = found.differences["mine", TASK, "solved"]
    assert (solved.gained, solved.lost, solved.mcnemar) == (1, 0, 1.0)
    assert found.cells["mine", TASK, "solved"].interval.method == "wilson"


def test_a_metric_comes_from_the_evaluation_that_is_for_it(tmp_path):
    run = write_run(
        tmp_path / "run",
        {"base": {"one": {TASK: answered([1, 1, 0])}, "samples": {TASK: answered([[0, 0], [1, 0]])}}},
    )
    found = compare(load([run]))
    assert found.cells["base", TASK, "acc"].value == pytest.approx(2 / 3)
    assert found.cells["base", TASK, "acc"].items == 3
    assert found.cells["base", TASK, "pass@2"].value == 0.5
    assert found.cells["base", TASK, "pass@2"].items == 2
    assert not found.notes


def test_pass_at_k_comes_from_the_evaluation_with_the_most_answers(tmp_path):
    rows = {
        "one": {TASK: answered([[1, 1], [1, 1]])},
        "samples": {TASK: answered([[0, 0, 0, 1], [0, 0, 0, 0]])},
    }
    found = compare(load([write_run(tmp_path / "run", {"base": rows})]))
    assert found.cells["base", TASK, "pass@2"].value == 0.25
    assert found.cells["base", TASK, "acc"].value == 1


# ---------------------------------------------------------------- seeds


def test_seeds_are_averaged_problem_by_problem(tmp_path):
    base, first, second = [0, 0, 1, 0, 1, 0], [1, 0, 1, 0, 0, 1], [1, 1, 1, 0, 1, 0]
    run = write_run(
        tmp_path / "run",
        {
            "base": {"one": {TASK: answered(base)}},
            "m/seed-0": {"one": {TASK: answered(first)}},
            "m/seed-1": {"one": {TASK: answered(second)}},
        },
    )
    found = compare(load([run]))
    cell = found.cells["m", TASK, "acc"]
    assert cell.seed_values == {"0": 0.5, "1": pytest.approx(4 / 6)}
    assert cell.value == pytest.approx(7 / 12) and cell.interval.method == "bootstrap"
    half = 12.7062047 * stats.stdev([3 / 6, 4 / 6]) / 2**0.5
    assert cell.over_seeds.low == pytest.approx(max(0, 7 / 12 - half))
    one = found.differences["m", TASK, "acc"]
    assert one.value == pytest.approx(7 / 12 - 2 / 6)
    assert (one.gained, one.lost) == (2 + 2, 1 + 0) and one.mcnemar is None  # sums over the two seeds
    half = 12.7062047 * stats.stdev([1 / 6, 2 / 6]) / 2**0.5
    assert one.over_seeds.low == pytest.approx(max(-1, 1.5 / 6 - half), abs=1e-6)
    assert {flip.seed for flip in found.flips} == {"0", "1"}
    assert not found.notes  # results.json has the same mean


def test_seeds_of_both_are_paired_by_their_number(tmp_path):
    rows = {"a": ([1, 0, 0, 0], [1, 1, 1, 0]), "b": ([1, 1, 0, 0], [1, 1, 1, 1])}
    run = write_run(
        tmp_path / "run",
        {
            f"{name}/seed-{i}": {"one": {TASK: answered(acc)}}
            for name, both in rows.items()
            for i, acc in enumerate(both)
        },
    )
    one = compare(load([run])).differences["b", TASK, "acc"]
    assert one.value == pytest.approx(0.25) and one.over_seeds is None  # 0.25 with both: no spread to see
    assert (one.gained, one.lost) == (2, 0)


# ---------------------------------------------------------------- order does not matter


def test_neither_the_order_of_problems_nor_that_of_rows_changes_a_number(tmp_path):
    random_ = random.Random(2)
    rows = {name: [[random_.randint(0, 1) for _ in range(4)] for _ in range(30)] for name in "abc"}
    once = compare(evals(tmp_path / "1", TASK, **rows), baseline="a")
    mixed = {name: random_.sample(answered(rows[name]), 30) for name in "cab"}
    again = compare(evals(tmp_path / "2", TASK, **mixed), baseline="a")
    assert again.rows == ["c", "a", "b"]
    assert once.differences == again.differences
    assert {key: one.interval for key, one in once.cells.items()} == {
        key: one.interval for key, one in again.cells.items()
    }


def test_the_other_way_round_the_sign_turns(tmp_path):
    verdicts = random.Random(3).choices((0, 1), k=50)
    rows = evals(tmp_path, TASK, a=verdicts[:25], b=verdicts[25:])
    there = compare(rows, baseline="a").differences["b", TASK, "acc"]
    back = compare(rows, baseline="b").differences["a", TASK, "acc"]
    assert there.value == -back.value and there.p == back.p and there.mcnemar == back.mcnemar
    assert (there.gained, there.lost) == (back.lost, back.gained)
    assert there.interval.low == pytest.approx(-back.interval.high)


def test_holm_is_over_the_rows_of_a_task(tmp_path):
    base = [0] * 12
    rows = evals(tmp_path, TASK, base=base, some=[1] * 6 + [0] * 6, many=[1] * 10 + [0, 0], none=base)
    found = compare(rows)
    p = {name: found.differences[name, TASK, "acc"].mcnemar for name in ("some", "many", "none")}
    assert p == {"some": 2 / 64, "many": 2 / 1024, "none": 1.0}
    adjusted = {name: found.differences[name, TASK, "acc"].adjusted for name in p}
    assert adjusted == {"some": pytest.approx(4 / 64), "many": pytest.approx(6 / 1024), "none": 1.0}


# ---------------------------------------------------------------- what does not compare


def refused(folder, base, mine, **options):
    """The comparison of two evaluations that differ: (lines, options of write_eval) each."""
    for name, (lines, how) in (("base", base), ("mine", mine)):
        write_eval(folder / name, {TASK: lines}, **how)
    rows = load([folder / "base", folder / "mine"])
    found = compare(rows, **options)
    if not options.get("anyway"):
        assert not found.differences and not found.flips
    return found


SIX = [1, 0, 1, 0, 1, 1]


def test_other_problems_are_not_compared(tmp_path):
    found = refused(tmp_path, (answered(SIX), {}), (answered(SIX)[1:5], {}))
    (one,) = found.refusals
    assert (one.row, one.baseline, one.task, one.metrics) == ("mine", "base", TASK, ("acc",))
    (reason,) = one.reasons
    assert reason.kind == "problems" and reason.problems == 2
    assert str(reason) == "other problems: 4 in both, 0 only in the row, 2 only in the baseline"


def test_another_problem_under_the_same_number_is_another_problem(tmp_path):
    lines = [line(i, {"acc": [1.0]}, doc={"question": f"something else {i}"}) for i in range(6)]
    found = refused(tmp_path, (answered(SIX), {}), (lines, {}), anyway=True)
    assert found.refusals[0].reasons[0].text.startswith("0 in both")
    assert not found.differences  # --anyway has nothing to compare


def test_other_prompts_are_not_compared(tmp_path):
    mine = answered(SIX, prompt="Think hard.")
    found = refused(tmp_path, (answered(SIX), {}), (mine, {"instruction": "Think hard."}))
    assert str(found.refusals[0].reasons[0]) == "other prompts: of 6 of 6 problems; the instruction differs"
    two = answered(SIX)[:4] + answered(SIX, prompt="<|user|> Solve.")[4:]
    found = refused(tmp_path / "two", (answered(SIX), {}), (two, {}))
    (reason,) = found.refusals[0].reasons
    assert reason.problems == 2 and "2 of 6 problems" in reason.text and "chat template" in reason.text


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("gen_length", 512, "gen_length 512, not 256"),
        ("temperature", 0.5, "temperature 0.5, not 0.0"),
        ("cache", "prefix", "cache prefix, not none"),
        ("top_p", 0.9, "top_p 0.9, not 1.0"),  # the baseline's file is from before there was a top_p
    ],
)
def test_other_decoding_settings_are_not_compared(tmp_path, setting, value, text):
    how = {"decoding": {**DECODING, setting: value}}
    found = refused(tmp_path, (answered(SIX), {}), (answered(SIX), how))
    (reason,) = found.refusals[0].reasons
    assert reason.kind == "settings" and reason.text == text


def test_what_does_not_change_the_text_does_not_matter(tmp_path):
    other = {**DECODING, "seed": 7, "early_stop": False, "speculate": 2, "top_p": 1, "max_gen_toks": 256}
    mine = {**DECODING, "seed": 3, "early_stop": True, "speculate": 1, "steps": 128.0}
    write_eval(tmp_path / "base", {TASK: answered(SIX)}, decoding=mine)
    write_eval(tmp_path / "mine", {TASK: answered(SIX)}, decoding=other)
    found = compare(load([tmp_path / "base", tmp_path / "mine"]))
    assert not found.refusals and found.differences


def test_precision_and_version_of_the_task(tmp_path):
    how = {"dtype": "torch.bfloat16", "version": 2.0}
    found = refused(tmp_path, (answered(SIX), {}), (answered(SIX), how))
    assert [str(one) for one in found.refusals[0].reasons] == [
        "other settings: dtype bfloat16, not float32",
        "another version of the task: 2.0, not 1.0",
    ]


def test_the_same_answers_with_other_verdicts_were_scored_differently(tmp_path):
    texts = [[f"text {i}"] for i in range(6)]
    lines = [
        [line(i, {"acc": [float(v)]}, texts=texts[i]) for i, v in enumerate(acc)] for acc in (SIX, [1] * 6)
    ]
    found = refused(tmp_path, (lines[0], {}), (lines[1], {}))
    (reason,) = found.refusals[0].reasons
    assert reason.kind == "scoring" and reason.problems == 2


def test_anyway_compares_the_common_problems_with_a_caveat(tmp_path):
    mine = answered([0, 1, 1, 1, 1, 1])[:5]
    found = refused(tmp_path, (answered(SIX), {}), (mine, {}), anyway=True)
    one = found.differences["mine", TASK, "acc"]
    assert one.items == 5 and one.value == pytest.approx(4 / 5 - 3 / 5)
    assert (one.gained, one.lost) == (2, 1)
    assert [reason.kind for reason in one.caveats] == ["problems"] and not found.refusals


def test_one_refused_evaluation_does_not_keep_the_others_from_being_compared(tmp_path):
    rows = {
        "base": {"one": {TASK: answered(SIX)}, "samples": {TASK: answered([[1, 0], [0, 0]])}},
        "mine": {"one": {TASK: answered(SIX)[:3]}, "samples": {TASK: answered([[1, 1], [0, 1]])}},
    }
    found = compare(load([write_run(tmp_path / "run", rows)]))
    assert [one.metrics for one in found.refusals] == [("acc",)]
    assert {metric for _, _, metric in found.differences} == {"pass@1", "pass@2", "avg@2"}


def test_what_a_log_does_not_say_is_said_to_be_unchecked(tmp_path):
    lines = answered(SIX)
    for one in lines:
        del one["prompt_hash"], one["arguments"]
    logs = [write_log(tmp_path / f"{name}.scored.jsonl", lines) for name in "ab"]
    found = compare(load(logs))
    assert found.differences and any("prompts are not known" in note for note in found.notes)
    assert any("decoding settings are not known" in note for note in found.notes)


# ---------------------------------------------------------------- choosing


def test_the_baseline_is_vanilla_or_base_or_the_first_or_the_one_asked_for(tmp_path):
    *rows, vanilla = evals(tmp_path, TASK, x=SIX, y=SIX, base=SIX, vanilla=SIX)
    assert compare([*rows, vanilla]).baseline == "vanilla"
    assert compare(rows).baseline == "base"
    assert compare(rows[:2]).baseline == "x"
    assert compare(rows, baseline="y").baseline == "y"
    with pytest.raises(LiftError, match="no row 'bass'; did you mean base"):
        compare(rows, baseline="bass")


def test_tasks_and_metrics_can_be_chosen(tmp_path):
    many = answered([[1, 0], [0, 1]])
    write_eval(tmp_path / "m", {"lift_gsm8k": many, "lift_math500": many})
    rows = load([tmp_path / "m"])
    assert list(compare(rows, tasks=["math500"]).tasks) == ["lift_math500"]
    assert compare(rows, metrics=["pass@k"]).tasks["lift_gsm8k"] == ["pass@1", "pass@2"]
    with pytest.raises(LiftError, match="no results of 'math50'"):
        compare(rows, tasks=["math50"])
    with pytest.raises(LiftError, match="no values of accc; known: acc, pass@1"):
        compare(rows, metrics=["accc"])


def test_the_newest_is_compared(tmp_path):
    write_eval(tmp_path / "m", {TASK: answered([0] * 6)})
    write_eval(tmp_path / "m", {TASK: answered([1] * 6)}, time=LATER)
    assert compare(load([tmp_path / "m"])).cells["m", TASK, "acc"].value == 1
