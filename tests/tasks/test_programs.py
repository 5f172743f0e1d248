"""HumanEval and MBPP answers: the canonical solutions pass, everything else is a 0 and never an exception."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.errors import LiftError
from lift_harness.tasks import prompts, sandbox
from lift_harness.tasks.scoring import programs
from lift_harness.tasks.scoring.programs import code_block, program, score, score_many

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
    assert len(answers) == 164
    answers += [(row, said(row["code"])) for row in mbpp()]
    assert len(answers) == 164 + 257
    scores = score_many(answers)
    assert [row["task_id"] for (row, _), one in zip(answers, scores, strict=True) if one["acc"] != 1] == []
    assert all(one["format"] == 1 for one in scores)
    assert score(*answers[0])["acc"] == 1  # kept


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared beside the checkout")
def test_solutions_of_the_next_problem_fail():
    rows = mbpp()[:12]
    assert not any(
        one["acc"] for one in score_many(zip(rows, [said(r["code"]) for r in rows[1:]], strict=False))
    )


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
    assert score(ADD, said(code)) == {"acc": 1, "format": 1}


@pytest.mark.parametrize(
    "code",
    [
        "def sum(a, b):\n    return a + b",
        "from operator import add as sum",
        "def sum(a, b): return math.fsum([a, b])",  # the tests' imports are there too
    ],
)
def test_mbpp_answers_that_count(code):
    assert score(SUM, said(code)) == {"acc": 1, "format": 1}


def test_mbpp_takes_builtins_only_from_the_answer():
    assert program(SUM, said("pass")).names == ("sum",)
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
        assert score(doc, text) == {"acc": 0, "format": 0}


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet=st.characters()).map(lambda text: text if "```python" in text else "```" + text))
def test_any_text_has_a_score(text):
    assert score(SUM, text)["acc"] == 0


def test_each_distinct_answer_runs_once(monkeypatch):
    ran = []
    real = sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda programs, **how: ran.extend(programs) or real(programs, **how))
    texts = [said("def sum(a, b):\n    return b + a"), said("def sum(a, b):\n    return b"), said("no")]
    scores = score_many([(SUM, text) for text in texts * 3])
    assert [one["acc"] for one in scores] == [1, 0, 0] * 3 and len(ran) == 3
    assert score(SUM, texts[0])["acc"] == 1 and len(ran) == 3


def test_rows_of_other_benchmarks_are_an_error():
    with pytest.raises(LiftError, match="not a row of HumanEval") as error:
        score({"question": "How many?"}, "")
    assert "question" in str(error.value)


def test_no_isolation_is_refused_unless_allowed(monkeypatch):
    monkeypatch.setattr(sandbox.runner, "_isolation", "none")
    monkeypatch.setattr(programs, "_unisolated", False)
    with pytest.raises(LiftError, match="confirm_run_unsafe_code"):
        programs.ready()
    with pytest.raises(LiftError, match="confirm_run_unsafe_code"):
        score(SUM, said("def sum(a, b):\n    return a + b + 0"))
    with pytest.warns(RuntimeWarning):
        assert programs.ready(allow_unisolated=True) == "none"
