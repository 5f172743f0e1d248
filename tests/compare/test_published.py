"""Published numbers stand beside what they were measured on, and beside nothing else."""

import re
from itertools import groupby

import pytest
from support.eval_files import DECODING, answered, line, write_eval, write_run

from lift_harness.compare import compare, load
from lift_harness.compare.paper_tables import TABLE_10, TABLES
from lift_harness.compare.published import REASONING, known_model, published
from lift_harness.results.rows import method_name

TASK = "lift_gsm8k"
SIX = [1, 0, 1, 0, 1, 1]
LLADA = "GSAI-ML/LLaDA-8B-Instruct"
TULU_3 = {"data": ["tulu-3 n=10000"], "gen_length": 256}
OPENR1 = {"data": ["mixture-of-thoughts below={'num_tokens': 2500.0} n=3000"]}


@pytest.mark.parametrize(
    ("model", "method", "task", "metric", "options", "percent"),
    [
        (LLADA, "base", "lift_gsm8k", "acc", {}, 78.1),
        (LLADA, "base", "lift_gsm8k", "acc", {"gen_length": 128}, 68.5),
        (LLADA, "base", "lift_math500@256", "acc", {"gen_length": 256}, 32.4),
        (LLADA, "lift H=2", "lift_countdown", "acc", {"data": ["s1k"]}, 27.9),
        (LLADA, "lift H=2", "lift_countdown@128", "acc", {"data": ["s1k"], "gen_length": 128}, 22.8),
        (LLADA, "cart", "lift_sudoku@512", "acc", {"data": ["s1k"], "gen_length": 512}, 4.7),
        (LLADA, "lift_a H=2", "lift_sudoku", "acc", {"data": ["simplescaling/s1K"]}, 11.1),
        (LLADA, "gift", "lift_aime25", "pass@16", {"data": ["s1k"]}, 0.0),
        ("gsai-ml/llada-1.5", "lift H=3", "lift_gsm8k", "acc", {"data": ["s1k"]}, 82.2),
        ("Dream-org/Dream-v0-Instruct-7B", "cart", "lift_sudoku", "acc", {"data": ["s1k"]}, 17.2),
        (LLADA, "lift H=3", "lift_mbpp", "acc", {"data": ["kodcode"], "gen_length": 256}, 44.0),
        (LLADA, "base", "lift_humaneval", "acc", {}, 34.8),
        ("GSAI-ML/LLaDA-1.5", "gift", "lift_countdown", "acc", {"data": ["s1k"]}, 20.7),
        ("GSAI-ML/LLaDA-1.5", "cart", "lift_aime25", "pass@16", {"data": ["s1k"]}, 0.0),
        # tables 2, 5, 6, 8, 10, 12
        (LLADA, "vanilla", "lift_gsm8k", "acc", {"data": ["lift-sft-12k"]}, 82.9),
        (LLADA, "gift", "lift_sudoku", "acc", {"data": ["divelab/LIFT-SFT-12K"]}, 6.6),
        (LLADA, "lift H=3", "lift_aime24", "pass@16", {"data": ["lift-sft-12k"]}, 10.0),
        (LLADA, "topk", "lift_countdown", "acc", {"data": ["s1k"]}, 30.3),
        (LLADA, "random3", "lift_aime25", "pass@16", {"data": ["s1k"]}, 0.0),
        (LLADA, "lift H=4", "lift_countdown", "acc", {"data": ["s1k"]}, 30.4),
        (LLADA, "lift H=20", "lift_math500", "acc", {"data": ["s1k"]}, 33.4),
        (LLADA, "lift H=3 rho=fixed:0.3", "lift_sudoku", "acc", {"data": ["s1k"]}, 8.5),
        (LLADA, "lift H=3 rho=truncated:0.1", "lift_gsm8k@256", "acc", {"gen_length": 256}, 78.9),
        (LLADA, "lift H=3 rho=fixed:0.1", "lift_gsm8k@128", "acc", {"gen_length": 128}, None),
        (LLADA, "lift H=3", "lift_gsm8k", "acc", {"data": ["s1k"], "epochs": 10}, 80.2),
        (LLADA, "gift", "lift_math500", "acc", {"data": ["s1k"], "epochs": 0.5}, 35.0),
        (LLADA, "vanilla", "lift_gsm8k", "acc", {"data": ["s1k"], "epochs": 3}, None),
        (LLADA, "lift H=3", "lift_aime24", "pass@8", {"data": ["s1k"]}, 10.0),
        (LLADA, "lift H=2", "lift_aime25", "avg@16", {"data": ["s1k"]}, 0.4),
        (LLADA, "vanilla", "lift_aime25", "avg@16", {"data": ["s1k"]}, None),  # not read with certainty
        (LLADA, "base", "lift_aime24", "pass@8", {}, 3.3),
        # GIFT's
        ("GSAI-ML/LLaDA-8B-Base", "gift", "lift_gsm8k@256", "acc", TULU_3, 65.8),
        (LLADA, "gift", "lift_countdown@512", "acc", {"data": ["s1k-1.1"], "gen_length": 512}, 21.8),
        (LLADA, "vanilla", "lift_sudoku@512", "acc", OPENR1 | {"gen_length": 512}, 5.9),
        (LLADA, "gift metric=nll", "lift_math500", "acc", {"data": ["s1k"]}, 29.2),
        (LLADA, "gift form=weighting", "lift_sudoku", "acc", {"data": ["s1k"]}, 5.3),
        (LLADA, "dream", "lift_gsm8k", "acc", {"data": ["s1k"]}, 77.0),
        (LLADA, "gift reference", "lift_countdown", "acc", {"data": ["s1k"]}, 24.3),
        ("Dream-org/Dream-v0-Base-7B", "gift", "lift_gsm8k@256", "acc", TULU_3, 55.2),
        (LLADA, "gift", "lift_gsm8k@256", "acc", {"data": ["mixture-of-thoughts n=3000"]}, None),
        # density's: only the model itself, whose words are not known (below)
        ("inclusionAI/LLaDA2.0-mini", "base", "lift_gsm8k@512", "acc", {"gen_length": 512}, 86.58),
        ("inclusionAI/LLaDA2.0-mini", "density w=2", "lift_gsm8k", "acc", {"data": ["gsm8k"]}, None),
        # not what the paper measured
        ("lift-tiny", "base", "lift_gsm8k", "acc", {}, None),
        ("/models/LLaDA-8B-Instruct-mine", "base", "lift_gsm8k", "acc", {}, None),
        (None, "base", "lift_gsm8k", "acc", {}, None),
        (LLADA, None, "lift_gsm8k", "acc", {}, None),
        (LLADA, "lift H=7", "lift_gsm8k", "acc", {"data": ["s1k"]}, None),
        (LLADA, "lift H=4", "lift_gsm8k", "acc", {"data": ["lift-sft-12k"]}, None),
        (LLADA, "lift H=2", "lift_gsm8k", "acc", {"data": ["gsm8k"]}, None),
        (LLADA, "lift H=2", "lift_gsm8k", "acc", {"data": ["s1k", "gsm8k"]}, None),
        (LLADA, "lift H=2", "lift_mbpp", "acc", {"data": ["s1k"]}, None),
        (LLADA, "lift H=2", "lift_mbpp", "acc", {"data": ["kodcode"], "gen_length": 512}, None),
        (LLADA, "base", "lift_sudoku", "solved", {}, None),
        (LLADA, "base", "lift_aime24", "pass@4", {}, None),
        (LLADA, "base", "lift_countdown_mini", "acc", {}, None),
        ("Dream-org/Dream-v0-Instruct-7B", "base", "lift_aime24", "pass@16", {}, None),
    ],
)
def test_published_numbers_stand_beside_what_they_were_measured_on(
    model, method, task, metric, options, percent
):
    found = published(model, method, task, metric, **options)
    assert (found and 100 * found.value) == (percent if percent is None else pytest.approx(percent))


def test_every_published_number_is_the_designs(shared):
    text = (shared / "DESIGN.md").read_text().split("## 8.")[1].split("## 9.")[0]
    joined = " ".join(text.split())
    names = [column.task for column in REASONING]
    found = {}  # (model, method, task) -> percent

    def put(model, method, tasks, numbers):
        found.update({(model, method, task): float(n) for task, n in zip(tasks, numbers, strict=True)})

    for cells in re.findall(r"^\| (\w[^|]*) \|((?: [\d.]+ \|){6})", text, re.MULTILINE):
        put(LLADA, cells[0], names, re.findall(r"[\d.]+", cells[1]))
    for start, model, tasks in (
        ("LLaDA-1.5:", "GSAI-ML/LLaDA-1.5", names),
        ("(GSM8K MATH Countdown Sudoku):", "Dream-org/Dream-v0-Instruct-7B", names[:4]),
        ("KodCode 5 epochs):", LLADA, ["lift_mbpp", "lift_humaneval"]),
    ):
        sentence = re.split(r"\.(?!\d)", joined.split(start)[1])[0]
        for part in sentence.split(";"):
            method, numbers = re.fullmatch(rf" ?(.*?)((?: [\d.]+){{{len(tasks)}}})", part).groups()
            put(model, method, tasks, numbers.split())
    assert len(found) == 8 * 6 + 4 * 6 + 6 * 4 + 6 * 2
    for (model, method, task), percent in found.items():
        metric = "pass@16" if "aime" in task else "acc"
        data = ["kodcode"] if task in ("lift_mbpp", "lift_humaneval") else ["s1k"]
        assert 100 * published(model, method, task, metric, data=data).value == pytest.approx(percent)
    by_length = joined.split("Base by length 128/256/512:")[1]
    for name, task in (("GSM8K", 0), ("MATH", 1), ("Countdown", 2), ("Sudoku", 3)):
        numbers = re.search(rf"{name} ([\d.]+) ([\d.]+) (\d+\.\d)", by_length).groups()
        for length, percent in zip((128, 256, 512), numbers, strict=True):
            one = published(LLADA, "base", names[task], "acc", gen_length=length)
            assert 100 * one.value == pytest.approx(float(percent))


def test_every_number_of_the_tables_is_in_the_paper(shared):
    """As printed, one or two times in a row (rendered text and its formula), in the order of the row."""
    text = (shared / "papers" / "lift-2605.22939.txt").read_text().replace("\\", "")
    for table in sorted({one.table for one in TABLES} - {10}):
        printed = text.split(f"Table {table}:")[1].split("Table ")[0]
        for (model, method), numbers in groupby(
            (one for one in TABLES if one.table == table), key=lambda one: (one.model, one.method)
        ):
            cells = [f"{one.percent:.1f}" for one in numbers]
            if table != 12:  # whose pass@16 is not quoted
                row = "".join(rf"(?:{re.escape(cell)}){{1,2}}" for cell in cells)
                assert re.search(row, printed), (table, model, method)
            else:
                assert all(cell in printed for cell in cells)
    by_epoch = [
        f"{epochs}{epochs / 2:g}" + "".join(f"{n:.1f}" for row in cells for n in row)
        for epochs, cells in TABLE_10.items()
    ]
    assert "".join(by_epoch) in text.split("Table 10:")[1]


def test_a_snapshot_in_the_hubs_cache_is_that_model():
    cached = "/home/me/hub/models--GSAI-ML--LLaDA-1.5/snapshots/0123abc/"
    assert known_model(cached) == known_model("GSAI-ML/LLaDA-1.5") is not None
    assert known_model("/home/me/LLaDA-1.5") is None


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ({"name": "vanilla"}, "vanilla"),
        ({"name": "lift"}, "lift H=3"),
        ({"name": "lift_a", "H": 2, "rho": "uniform", "variant": "release"}, "lift_a H=2"),
        ({"name": "gift", "weight": "published", "reference": False}, "gift"),
        ({"name": "lift", "H": 2, "rho": "fixed:0.3"}, "lift H=2 rho=fixed:0.3"),
        ({"name": "gift", "variant": "release"}, "gift"),
        ({"name": "gift", "reference": True}, "gift reference"),
        ({"name": "gift", "metric": "nll"}, "gift metric=nll"),
        ({"name": "gift", "metric": "sqrt_entropy", "form": "weighting"}, "gift form=weighting"),
        ({"name": "gift", "weight": "nelbo"}, None),
        ({"name": "dream"}, "dream"),
        ({"name": "vanilla", "t_range": [0.3, 0.8]}, None),
        ({"name": "cart", "p": 0.2}, None),
        (None, None),
    ],
)
def test_the_papers_method_is_that_with_its_options(objective, name):
    assert method_name(objective) == name


def test_the_published_number_of_a_run_is_in_its_cells(tmp_path):
    run = write_run(
        tmp_path / "run",
        {name: {"one-256": {TASK: answered(SIX)}, "one": {TASK: answered(SIX)}} for name in ("base", "mine")},
        model=LLADA,
        methods=[("mine", {"name": "lift", "H": 2})],
        data=("s1k",),
    )
    cells = compare(load([run])).cells
    assert cells["base", f"{TASK}@256", "acc"].published.value == pytest.approx(0.761)
    assert cells["mine", TASK, "acc"].published.value == pytest.approx(0.782)
    assert cells["mine", TASK, "acc"].published.what == "gen_length 256"
    best = published(LLADA, "lift_a H=2", TASK, "acc", gen_length=256, data=["s1k"])
    assert best.what == "best of gen_length 128, 256, 512"


LIFTS = {"subset": "lift"}
GREEDY = {**DECODING, "schedule": "fixed", "remasking": "low_confidence"}
AIME = {**GREEDY, "gen_length": 512, "steps": 256, "temperature": 0.1, "cache": "prefix"}


@pytest.mark.parametrize(
    ("task", "options", "reason"),
    [
        (TASK, {}, None),
        (TASK, {"metadata": {"question": "{question}"}}, None),
        (TASK, {"decoding": {**GREEDY, "gen_length": 512, "steps": 256}}, None),
        (TASK, {"decoding": {**GREEDY, "seed": 7, "early_stop": False, "speculate": 4}}, None),
        ("lift_sudoku", {"metadata": LIFTS}, None),
        (TASK, {"instruction": "Think hard."}, "asked in other words than by the authors' code"),
        (TASK, {"metadata": {"question": "Q: {question}"}}, "asked in other words than by the authors' code"),
        (TASK, {"instruction": None, "metadata": {"instruction": None}}, "do not say how it was asked"),
        ("lift_sudoku", {"metadata": {"subset": "d1"}}, "subset d1, not lift"),
        ("lift_sudoku", {}, "subset none, not lift"),
        (TASK, {"decoding": None}, "do not say how it was decoded"),
        (TASK, {"decoding": {**GREEDY, "steps": 256}}, "decoded otherwise: steps 256, not 128"),
        (TASK, {"decoding": {**GREEDY, "block_length": 64}}, "block_length 64, not 32"),
        (TASK, {"decoding": {**GREEDY, "temperature": 0.5}}, "temperature 0.5, not 0.0"),
        (TASK, {"decoding": {**GREEDY, "cache": "dual"}}, "cache dual, not none"),
        (TASK, {"decoding": {**GREEDY, "schedule": "factor"}}, "schedule factor, not fixed"),
        (TASK, {"decoding": {**GREEDY, "gen_length": 64, "steps": 32}}, "gen_length 64, not 256"),
    ],
)
def test_a_number_of_the_paper_stands_only_beside_what_was_asked_and_decoded_alike(
    tmp_path, task, options, reason
):
    verdicts = {"acc": [[1, 4]], "solved": [0.0]} if "sudoku" in task else {"acc": [1.0]}
    write_eval(tmp_path / "m", {task: [line(i, verdicts) for i in range(6)]}, pretrained=LLADA, **options)
    comparison = compare(load([tmp_path / "m"]))
    assert (comparison.cells["m", task, "acc"].published is None) == (reason is not None)
    assert len(comparison.notes) == (reason is not None)
    if reason:
        assert f"not beside m on {task[5:]}: " in comparison.notes[0] and reason in comparison.notes[0]


@pytest.mark.parametrize(
    ("samples", "decoding", "reason"),
    [
        (16, AIME, None),
        (32, AIME, "32 answers a problem, not 16"),
        (16, {**AIME, "cache": "none"}, "cache none, not prefix"),
        (16, {**AIME, "gen_length": 256, "steps": 128}, "gen_length 256, not 512"),
    ],
)
def test_pass_at_16_is_that_of_sixteen_answers(tmp_path, samples, decoding, reason):
    lines = answered([[0, 1] * (samples // 2), [0] * samples])
    write_eval(tmp_path / "m", {"lift_aime24": lines}, pretrained=LLADA, decoding=decoding)
    comparison = compare(load([tmp_path / "m"]))
    assert (comparison.cells["m", "lift_aime24", "pass@16"].published is None) == (reason is not None)
    assert [reason in note for note in comparison.notes] == ([True] if reason else [])


def test_a_reason_is_one_note_for_all_cells(tmp_path):
    tasks = {"lift_gsm8k": answered(SIX), "lift_math500": answered(SIX)}
    for name in ("a", "b"):
        write_eval(tmp_path / name, tasks, pretrained=LLADA, instruction="Think hard.")
    (note,) = compare(load([tmp_path / "a", tmp_path / "b"])).notes
    assert "not beside a, b on gsm8k, math500: asked in other words" in note


def test_a_published_number_over_more_problems_is_noted(tmp_path):
    write_eval(tmp_path / "m", {TASK: answered(SIX)}, pretrained=LLADA, original=1319)
    (note,) = compare(load([tmp_path / "m"])).notes
    assert "all 1319 problems" in note and "over 6" in note
