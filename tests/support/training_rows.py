"""Rows of training data, and how tests write and load them."""

import gzip
import json

import pyarrow
from pyarrow import parquet

from lift_harness.training.settings import DataSource
from lift_harness.training.sources import load_data


def write_rows(folder, rows, name="train.jsonl"):
    """A data file of the kind its name tells; returns its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return str(path)
    text = "".join(json.dumps(row) + "\n" for row in rows) if ".jsonl" in name else json.dumps(rows)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


def load(source, **settings):
    return load_data([DataSource(source=str(source), **settings)])


def only(data):
    (record,) = data.records
    return record


S1K = {
    "question": "What is 6 x 7?",
    "thinking_trajectories": ["Six sevens.\n", "not this one"],
    "attempt": "It is 42.\n\nSo: $\\boxed{42}$\n",
    "solution": "42",
    "source_type": "AI-MO",
}
S1K_RESPONSE = "Six sevens.</reasoning>\n<answer>\nIt is 42.\n\nSo: $\\boxed{42}$\n</answer>"
S1K_1_1 = {
    "question": "What is 6 x 7?",
    "deepseek_thinking_trajectory": "Six sevens.",
    "deepseek_attempt": "It is 42.\n\nSo: $\\boxed{42}$",
    "gemini_attempt": "forty-two",
}
LIFT_SFT = {
    "question": "What is 6 x 7?",
    "thinking_trajectories": ["Six sevens."],
    "sol": "42",
    "source_type": "x",
}
KODCODE_TEST = """from solution import add

def test_small():
    assert add(1, 2) == 3
    total = add(2, 2)
    assert total == 4

def test_more():
    assert add(
        0,
        0) == 0
    assert sorted([add(1, 1)]) == [2]
    assert add(5, 5) == 10
"""
KODCODE = {
    "style": "instruct",
    "question_id": "a1",
    "question": "Add two numbers.\n",
    "solution": "def add(a, b):\n    return a + b",
    "test": KODCODE_TEST,
    "r1_solution": "def add(a, b):\n    return b + a",
    "conversations": [
        {"from": "human", "value": "Please solve: Add two numbers."},
        {
            "from": "gpt",
            "value": "<think>\nAdd.\n</think>\n\n```python\ndef add(x, y):\n    return x + y\n```\nDone.",
        },
    ],
}
LOCAL = {"question": "What is 6 x 7?", "reasoning": "Six sevens.", "answer": 42}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": " 6 x 7? "},
    {"role": "assistant", "content": "42 \n"},
    {"role": "user", "content": "Thanks!"},
]
ROWS = [
    {"prompt": f"question {i}", "response": "x" * (i + 1), "source": "ab"[i % 2], "level": i}
    for i in range(20)
]
