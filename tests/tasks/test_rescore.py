"""`lift-harness score`: logs of samples scored again, against numbers worked out by hand."""

import json
import math
import subprocess
import sys
import tracemalloc

import pytest

from lift_harness.errors import LiftError
from lift_harness.tasks.catalog import task_config
from lift_harness.tasks.scoring.rescore import score_file


def line(answers, gold="6 * 3 = 18\n#### 18", **more):
    return json.dumps({"doc": {"question": "How many?", "answer": gold}, "resps": [answers], **more}) + "\n"


def boxed(*numbers):
    return [f"so</reasoning><answer>\\boxed{{{number}}}</answer>" for number in numbers]


def test_metrics_join_the_lines(tmp_path):
    log = tmp_path / "samples.jsonl"
    log.write_text(line(boxed(18), doc_id=7) + line(boxed(17)) + "\n" + line([""]) + line(boxed("18.0")))
    result = score_file("lift_gsm8k", log, tmp_path / "out.jsonl")
    assert (result["problems"], result["samples"]) == (4, 1)
    metrics = result["metrics"]
    assert metrics["acc"] == metrics["math_verify"] == 0.5
    assert metrics["format"] == 0.75  # `<reasoning>` is the protocol's, not in the log
    # Two of four: sample variance 1/3, over 4 problems.
    assert metrics["acc_stderr"] == pytest.approx(math.sqrt(1 / 3 / 4))
    rows = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["acc"] for row in rows] == [1, 0, 0, 1]
    assert rows[0]["doc_id"] == 7 and rows[0]["doc"]["verdicts"]["n_correct"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "samples.jsonl"]


def test_pass_at_k_of_several_samples(tmp_path):
    log = tmp_path / "samples.jsonl"
    log.write_text(line(boxed(18, 1, 2, 3)) + line(boxed(1, 2, 3, 4)))
    metrics = score_file("lift_gsm8k", log)["metrics"]
    # One right of four: pass@1 = 1/4, pass@2 = 1/2, pass@4 = 1; the other problem has none.
    assert [metrics[f"pass@{k}"] for k in (1, 2, 4)] == [0.125, 0.25, 0.5]
    assert metrics["acc"] == metrics["avg@4"] == 0.125
    assert (tmp_path / "samples.scored.jsonl").is_file()


def test_sudoku_sums_cells(tmp_path):
    puzzle, solution = "1230341221434321", "1234341221434321"
    row = {
        "doc": {"Puzzle": puzzle, "Solution": solution},
        "resps": [[f"</reasoning><answer>{solution}</answer>"]],
    }
    log = tmp_path / "samples.jsonl"
    log.write_text(json.dumps(row) + "\n")
    metrics = score_file("lift_sudoku", log)["metrics"]
    assert metrics["acc"] == metrics["solved"] == 1


def test_code_says_what_it_was_isolated_with(tmp_path):
    doc = {"prompt": "Add.", "code": "def add(a, b): return a + b", "test_imports": []}
    doc["test_list"] = ["assert add(1, 2) == 3"]
    good, bad = "```python\ndef add(a, b): return a + b\n```", "```python\ndef add(a, b): return 4\n```"
    log = tmp_path / "samples.jsonl"
    log.write_text(json.dumps({"doc": doc, "resps": [[good, bad]]}) + "\n")
    from lift_harness.tasks import sandbox

    if sandbox.isolation() == "none":
        pytest.skip("no isolation on this machine")
    result = score_file("lift_mbpp", log)
    assert result["sandbox"] == sandbox.isolation()
    assert result["metrics"]["acc"] == 0.5 and result["metrics"]["pass@2"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no samples"),
        (line(boxed(1)) + "\n{", "line 3: not JSON"),
        (line(boxed(1)) + "\n" + line(boxed(1), gold="#### x"), "line 3: doc: not a row"),
        ("[1]\n", "line 1: not an object"),
        ('{"resps": [["a"]]}\n', "line 1: doc"),
        ('{"doc": {"answer": "#### 1"}}\n', "line 1: resps"),
        ('{"doc": {"answer": "#### 1"}, "resps": [[1]]}\n', "line 1: resps"),
        ('{"doc": {"question": "?"}, "resps": [["a"]]}\n', "line 1: doc: no field 'answer'"),
        ('{"doc": {"answer": "#### x"}, "resps": [["a"]]}\n', "line 1: doc: not a row"),
        (line(boxed(1)) + line(boxed(1, 2)), "line 2: resps: 2 answers, 1 in"),
    ],
)
def test_bad_lines_are_one_line_errors(tmp_path, text, said):
    log = tmp_path / "samples.jsonl"
    log.write_text(text)
    with pytest.raises(LiftError) as error:
        score_file("lift_gsm8k", log, tmp_path / "out.jsonl")
    assert said in str(error.value) and str(log) in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [log]


def test_bad_names(tmp_path):
    with pytest.raises(LiftError, match="did you mean lift_gsm8k"):
        score_file("lift_gsm8", tmp_path / "samples.jsonl")
    with pytest.raises(LiftError, match="No such file"):
        score_file("lift_gsm8k", tmp_path / "samples.jsonl")
    (tmp_path / "samples.jsonl").write_text(line(boxed(1)))
    with pytest.raises(LiftError, match="cannot be written"):
        score_file("lift_gsm8k", tmp_path / "samples.jsonl", tmp_path / "no" / "folder.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"doc": "\xe9"}\n')
    with pytest.raises(LiftError, match="line 1: not UTF-8"):
        score_file("lift_gsm8k", tmp_path / "latin.jsonl")


def test_kinds_come_from_the_tasks_files():
    kinds = {
        name: task_config(f"lift_{name}")["benchmark"] for name in ("gsm8k", "aime24", "sudoku_mini", "mbpp")
    }
    assert kinds == {"gsm8k": "gsm8k", "aime24": "math", "sudoku_mini": "sudoku", "mbpp": "mbpp"}
    assert task_config("lift_gsm8k")["gen_prefix"] == "<reasoning>"


def test_needs_neither_torch_nor_lm_eval():
    script = "import sys, lift_harness.tasks.scoring.rescore, lift_harness.tasks.scoring.programs\n"
    script += "print([name for name in ('torch', 'lm_eval', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_answers_that_lm_eval_only_padded_with_do_not_count(tmp_path):
    """On two processes the last problem of the one that has fewer is asked twice; the log tells how often."""
    log = tmp_path / "samples.jsonl"
    padded = json.loads(line([*boxed(17), *boxed(18)]))
    padded["doc"]["verdicts"] = {"n_samples": 1, "n_correct": 0}
    log.write_text(line(boxed(18)) + json.dumps(padded) + "\n")
    found = score_file("lift_gsm8k", log)
    assert (found["problems"], found["samples"], found["metrics"]["acc"]) == (2, 1, 0.5)


def test_a_problem_with_a_line_for_each_filter_counts_once(tmp_path):
    log = tmp_path / "samples.jsonl"
    twice = [line(boxed(n), filter=name) for n in (18, 17) for name in ("strict-match", "flexible-extract")]
    log.write_text("".join(twice))
    found = score_file("lift_gsm8k", log)
    assert (found["problems"], found["metrics"]["acc"]) == (2, 0.5)


MBPP = {"prompt": "?", "code": "def f(): pass", "test_list": ["assert f() is None"], "test_imports": []}
HUMANEVAL = {"prompt": "def f():", "test": "def check(f): pass", "entry_point": "f"}
SUDOKU = {"Puzzle": "1230341221434321", "Solution": "1234341221434321"}


@pytest.mark.parametrize(
    ("task", "doc", "said"),
    [
        ("lift_humaneval", MBPP, "no field 'test'; is this a log of another task"),
        ("lift_mbpp", HUMANEVAL, "no field 'code'; is this a log of another task"),
        ("lift_mbpp", {**MBPP, "test_list": []}, "test_list must be a list of tests"),
        ("lift_mbpp", {**MBPP, "test_list": "assert True"}, "test_list must be a list of tests"),
        ("lift_sudoku", {**SUDOKU, "Puzzle": "abcdefghijklmnop"}, "must be 16 digits each"),
        ("lift_sudoku", {**SUDOKU, "Puzzle": 34341200430321.0}, "must be 16 digits each"),
        ("lift_gsm8k", {"answer": "#### x" + "y" * 100_000}, "not a row of this task"),
    ],
)
def test_a_row_of_another_task_or_none_is_refused(tmp_path, task, doc, said):
    log = tmp_path / "samples.jsonl"
    log.write_text(json.dumps({"doc": doc, "resps": [["```python\nf = print\n```"]]}) + "\n")
    with pytest.raises(LiftError, match=said) as error:
        score_file(task, log)
    assert len(str(error.value)) < 600 and "line 1" in str(error.value)


def test_the_line_that_is_not_utf8_is_named(tmp_path):
    log = tmp_path / "samples.jsonl"
    log.write_bytes(line(boxed(18)).encode() * 89 + b'{"doc": "\xe9"}\n')
    with pytest.raises(LiftError, match="line 90: not UTF-8"):
        score_file("lift_gsm8k", log)


@pytest.mark.parametrize("where", ["name", "lines"])
def test_a_log_that_says_it_is_of_another_task_is_refused(tmp_path, where):
    """AIME's rows look like GSM8K's to the scorer: an answer that is a number."""
    name = "samples_lift_aime24_2026-01-02T03-04-05.678901.jsonl" if where == "name" else "log.jsonl"
    log = tmp_path / name
    log.write_text(line(boxed(18), gold="18", **({"task": "lift_aime24"} if where == "lines" else {})))
    with pytest.raises(LiftError, match="is a log of lift_aime24.*give --task lift_aime24"):
        score_file("lift_gsm8k", log)
    assert score_file("lift_math500", log)["metrics"]["acc"] == 1.0  # the same scoring
    other = tmp_path / "samples_gsm8k_2026-01-02T03-04-05.678901.jsonl"  # lm-eval's own
    other.write_text(line(boxed(18)))
    assert score_file("lift_gsm8k", other)["metrics"]["acc"] == 1.0


def test_a_long_log_is_not_held_in_memory(tmp_path):
    log = tmp_path / "samples.jsonl"
    with log.open("w") as stream:
        for i in range(2000):
            stream.write(line([f"{i} " * 2000 + boxed(18)[0]]))
    assert log.stat().st_size > 15e6
    score_file("lift_gsm8k", log)  # what is made once
    tracemalloc.start()
    try:
        score_file("lift_gsm8k", log)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4e6
