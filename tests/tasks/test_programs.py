"""HumanEval and MBPP answers: the canonical solutions pass, everything else is a 0 and never an exception."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.errors import LiftError
from lift_harness.tasks import prompts, sandbox
from lift_harness.tasks.scoring import programs, score_humaneval, score_mbpp
from lift_harness.tasks.scoring.programs import code_block

SHARED = Path(__file__).parents[3] / "shared" / "data"
ADD = {
    "task_id": "HumanEval/x",
    "prompt": (
        "from typing import List\n\n\ndef double(x):\n    return 2 * x\n\n\n"
        'def total(xs: List[int]) -> int:\n    """Twice the sum."""\n'
    ),
    "canonical_solution": "    return sum(double(x) for x in xs)\n",
    "test": (
        "def check(candidate):\n    assert candidate([1, 2]) == double(3)\n    assert candidate([]) == 0\n"
    ),
    "entry_point": "total",
}
SUM = {
    "task_id": 126,
    "prompt": "Write a function to add two numbers.",
    "code": "def helper(a):\n    return a\n\ndef sum(a, b):\n    return helper(a) + b",
    "test_imports": ["import math"],
    "test_list": ["assert sum(1, 2) == 3", "assert math.isclose(sum(0.1, 0.2), 0.3)"],
}


@pytest.fixture(autouse=True)
def isolated():
    if sandbox.isolation() == "none":
        pytest.skip("no isolation on this machine")


def said(code):
    return prompts.GEN_PREFIX + prompts.response("thinking", f"```python\n{code}\n```")


def score(doc, text):
    return (score_mbpp if "test_list" in doc else score_humaneval).BENCHMARK.score(doc, text)


def humaneval():
    with gzip.open(SHARED / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def mbpp():
    rows = json.loads((SHARED / "mbpp_sanitized.json").read_text(encoding="utf-8"))
    return [row for row in rows if 11 <= row["task_id"] <= 510]


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared beside the checkout")
def test_all_canonical_solutions_pass():
    answers = [(row, said(row["prompt"] + row["canonical_solution"])) for row in humaneval()]
    others = [(row, said(row["code"])) for row in mbpp()]
    assert (len(answers), len(others)) == (164, 257)
    score_humaneval.BENCHMARK.prepare(answers)
    score_mbpp.BENCHMARK.prepare(others)
    for doc, text in answers + others:
        assert score(doc, text) == {"acc": 1, "lenient": 1, "format": 1}, doc["task_id"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared beside the checkout")
def test_solutions_of_the_next_problem_fail():
    rows = mbpp()[:12]
    answers = [(row, said(other["code"])) for row, other in zip(rows, rows[1:], strict=False)]
    assert not any(one["acc"] for one in score_mbpp.BENCHMARK.prepare(answers))


@pytest.mark.parametrize(
    "code",
    [
        ADD["prompt"] + ADD["canonical_solution"],  # all of it
        ADD["canonical_solution"],  # only the body,
        "return sum(double(x) for x in xs)",  # not indented,
        "    def total(xs):\n        return 2 * sum(xs)",  # indented as a whole,
        "def total(xs: List[int]) -> int:\n    return sum(map(double, xs))",  # without import and helper
        "total = lambda xs: 2 * sum(xs)",
        "from __future__ import annotations\ndef total(xs: list[Nothing]):\n    return 2 * sum(xs)",
        "def total(xs):\n    return 2 * sum(xs)\nif __name__ == '__main__':\n    raise SystemExit(1)",
    ],
)
def test_humaneval_answers_that_count(code):
    assert score(ADD, said(code)) == {"acc": 1, "lenient": 1, "format": 1}


@pytest.mark.parametrize(
    "code",
    [
        "def sum(a, b):\n    return a + b",
        "from operator import add as sum",
        "def sum(a, b): return math.fsum([a, b])",  # the tests' imports are there too
    ],
)
def test_mbpp_answers_that_count(code):
    assert score(SUM, said(code)) == {"acc": 1, "lenient": 1, "format": 1}


def test_mbpp_takes_builtins_only_from_the_answer():
    assert score_mbpp.program(SUM, "pass").names == ("sum",)
    assert score(SUM, said("def add(a, b):\n    return a + b"))["acc"] == 0  # the builtin `sum` is no answer


GOOD = "def sum(a, b):\n    return a + b"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"```python\n{GOOD}\n```", GOOD + "\n"),
        (f"```python\n{GOOD}\n``` and ```python\nwrong\n```", GOOD + "\n"),
        (f"```python\r\n{GOOD}\n```", GOOD + "\n"),
        (f"```python\n{GOOD}</answer>", GOOD),
        (f"```python\n{GOOD}", GOOD),
        (f"```python\n{GOOD}<|eot_id|><|endoftext|>```", GOOD),
        ("```python\n```", ""),
        ("```python\n</answer>", ""),
        (f"```\n{GOOD}\n```", None),
        (GOOD, None),
        ("", None),
        ("```python", None),
    ],
)
def test_the_first_python_block_is_taken(text, code):
    assert code_block(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "```python\n```",
        "```python\n\0\n```",
        "```python\n\ud800\n```",
        "```python\n" + "(" * 10**6,
        "`" * 10**6,
        "```python" * 10**5,
        "```python\n" + " " * 10**6 + "x",
        "```python\n" + "def sum\n" * 10**5,
        "\r\r" * 10**5,
    ],
    ids=range(10),
)
def test_garbage_is_a_zero(text):
    for doc in (ADD, SUM):
        assert score(doc, text) == {"acc": 0, "lenient": 0, "format": 0}


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet=st.characters()).map(lambda text: text if "```python" in text else "```" + text))
def test_any_text_has_a_score(text):
    assert score(SUM, text)["acc"] == 0


def test_each_distinct_answer_runs_once(monkeypatch):
    ran = []
    real = sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda programs, **how: ran.extend(programs) or real(programs, **how))
    texts = [said("def sum(a, b):\n    return b + a"), said("def sum(a, b):\n    return b"), said("no")]
    scores = score_mbpp.BENCHMARK.prepare([(SUM, text) for text in texts * 3])
    assert [one["acc"] for one in scores] == [1, 0, 0] * 3 and len(ran) == 3
    assert score(SUM, texts[0])["acc"] == 1 and len(ran) == 3


def answer(text, reasoning="thinking"):
    return prompts.GEN_PREFIX + prompts.response(reasoning, text)


BODY = "    return sum(double(x) for x in xs)"
WRONG = "def sum(a, b):\n    return a - b"
FENCED = f"```\n{GOOD}\n```"


@pytest.mark.parametrize(
    ("doc", "text", "acc", "lenient"),
    [
        (SUM, answer(f"```py\n{GOOD}\n```"), 0, 1),
        (SUM, answer(f"```Python\n{GOOD}\n```"), 0, 1),
        (SUM, answer(FENCED), 0, 1),
        (SUM, answer(GOOD), 0, 1),  # no fence
        (ADD, answer(BODY), 0, 1),  # the same, only the body
        (SUM, prompts.GEN_PREFIX + f"thinking</reasoning>\n{FENCED}", 0, 1),  # no answer tag
        (SUM, FENCED + "<|eot_id|>", 0, 1),  # no tag at all
        (SUM, GOOD + "<|eot_id|>", 0, 1),
        (SUM, answer(f"```python\n{GOOD}\n```", f"try ```python\n{WRONG}\n```"), 0, 1),
        (SUM, answer(f"```python\nprint(1)\n``` then {FENCED}"), 0, 1),  # the block that defines it
        (SUM, answer(f"```py\n{WRONG}\n```"), 0, 0),  # a wrong program is wrong
        (SUM, answer(WRONG), 0, 0),
        (SUM, answer(f"```python\n{WRONG}\n```", f"try ```python\n{GOOD}\n```"), 1, 1),  # as published
        (SUM, answer("I do not know."), 0, 0),
        (SUM, "sum(a, b) is a + b", 0, 0),
    ],
)
def test_a_slip_of_format_is_told_from_a_wrong_program(doc, text, acc, lenient):
    metrics = score(doc, text)
    assert (metrics["acc"], metrics["lenient"]) == (acc, lenient)


def test_text_without_a_program_runs_nothing(monkeypatch):
    monkeypatch.setattr(sandbox, "run", lambda programs, **how: pytest.fail(f"ran {programs}"))
    for text in ("", "I do not know how to add.", answer(""), answer(" \n")):
        assert score(SUM, text)["lenient"] == 0


def test_rows_of_other_benchmarks_are_an_error():
    with pytest.raises(LiftError, match="no field 'prompt'; is this a log of another task"):
        score({"question": "How many?"}, "")
    with pytest.raises(LiftError, match="test_list must be a list of tests"):
        score({**SUM, "test_list": []}, "no code")


def test_no_isolation_is_refused_unless_allowed(monkeypatch):
    monkeypatch.setattr(sandbox.runner, "_isolation", "none")
    monkeypatch.setattr(programs, "_unisolated", False)
    with pytest.raises(LiftError, match="confirm_run_unsafe_code"):
        programs.ready()
    with pytest.raises(LiftError, match="confirm_run_unsafe_code"):
        score(SUM, said("def sum(a, b):\n    return a + b + 0"))
    with pytest.warns(RuntimeWarning):
        assert programs.ready(allow_unisolated=True) == "none"
