"""HumanEval+ and MBPP+ on files made here in their form: the problems, some with more tests."""

import json
from itertools import islice

import pytest

from lift_harness.errors import LiftError
from lift_harness.tasks import data, sandbox
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.sandbox import Program
from lift_harness.tasks.scoring import score_humaneval, score_mbpp

# As EvalPlus writes them: inputs, what is right for each, and a comparison that allows for floats.
COMPARISON = """import numpy as np
from math import inf

def is_floats(x) -> bool:
    return isinstance(x, float) or (isinstance(x, (list, tuple)) and all(isinstance(i, float) for i in x))

def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

"""
LOOP = """inputs = {inputs}
results = {results}
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion({name}(*inp), exp, 0)
"""
HUMANEVAL = {  # problem -> more inputs
    "HumanEval/0": [[[1.0, 2.0, 3.0], 0.5], [[1.0, 1.05], 0.1], [[], 1.0]],
    "HumanEval/13": [[a, b] for a in range(1, 30) for b in range(1, 30)],
    "HumanEval/31": [[n] for n in range(-5, 400)],
}
ALMOST = {  # right for the tests of HumanEval, wrong for one of ours
    "HumanEval/31": """
def is_prime(n):
    return n == 289 or n > 1 and all(n % d for d in range(2, n))
""",
    "HumanEval/13": """
from math import gcd
def greatest_common_divisor(a, b):
    return 1 if (a, b) == (21, 28) else gcd(a, b)
""",
    "HumanEval/0": """
def has_close_elements(xs, t):
    return not xs or any(abs(a - b) < t for i, a in enumerate(xs) for b in xs[:i])
""",
}


@pytest.fixture(autouse=True)
def _isolated():
    if sandbox.isolation() == "none":
        pytest.skip("no isolation on this machine")


@pytest.fixture
def rows(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    return {"humaneval": data.load("humaneval"), "mbpp": data.load("mbpp")}


def answers_of(source, name, inputs):
    found = {}
    exec(source, found)
    return [found[name](*one) for one in inputs]


def indented(text):
    return "".join(f"    {line}\n" for line in text.splitlines())


def humaneval_plus(row):
    inputs = HUMANEVAL.get(row["task_id"])
    if inputs is None:
        return row
    results = answers_of(row["prompt"] + row["canonical_solution"], row["entry_point"], inputs)
    tests = indented(LOOP.format(inputs=inputs, results=results, name="candidate"))
    return {**row, "test": f"{COMPARISON}def check(candidate):\n{tests}"}


def mbpp_plus(row, inputs=()):
    name = score_mbpp.names(row)[-1]
    results = answers_of("\n".join([*row["test_imports"], row["code"]]), name, inputs)
    more = LOOP.format(inputs=list(inputs), results=results, name=name)
    shown = "\n".join(row["test_list"])
    return {**row, "test": f"{COMPARISON}{shown}\n{more}"}


def write(folder, name, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(lines, encoding="utf-8")


def test_humaneval_plus_runs_its_own_tests(rows, tmp_path, monkeypatch):
    write(tmp_path, "humanevalplus.jsonl", map(humaneval_plus, rows["humaneval"]))
    docs = {row["task_id"]: row for row in rows["humaneval"]}
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    task = load_task("lift_humaneval_plus")
    assert len(task.eval_docs) == 164
    for doc in (doc for doc in task.eval_docs if doc["task_id"] in HUMANEVAL):
        right, almost = doc["prompt"] + doc["canonical_solution"], ALMOST[doc["task_id"]]
        told = [f"```python\n{code}\n```" for code in (right, almost)]
        assert [task.benchmark.score(doc, text)["acc"] for text in told] == [1, 0], doc["task_id"]
        by_first = [task.benchmark.score(docs[doc["task_id"]], text)["acc"] for text in told]
        assert by_first == [1, 1], doc["task_id"]
        assert task.doc_to_text(doc).endswith(doc["prompt"])


def test_mbpp_plus_runs_its_own_tests_and_shows_the_first(rows, tmp_path, monkeypatch):
    problem = next(row for row in rows["mbpp"] if row["task_id"] == 20)  # is_woodall
    made = [mbpp_plus(problem, [[n] for n in range(1, 200)])]
    made += [mbpp_plus(row) for row in islice((row for row in rows["mbpp"] if row is not problem), 256)]
    made += [{**made[0], "task_id": 1000 + i} for i in range(378 - len(made))]
    write(tmp_path, "mbppplus.jsonl", made)
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    task = load_task("lift_mbpp_plus")
    doc = task.eval_docs[0]
    name = score_mbpp.names(doc)[-1]
    known = "\n".join(problem["test_list"])
    assert known in task.doc_to_text(doc) and "inputs =" not in task.doc_to_text(doc)
    told = [f"```python\n{code}\n```" for code in (doc["code"], f"def {name}(n):\n    return n == 383")]
    assert [task.benchmark.score(doc, text)["acc"] for text in told] == [1, 0]
    assert [task.benchmark.score(problem, text)["acc"] for text in told] == [1, 1]  # by the three of MBPP


def test_the_time_grows_with_the_tests_of_a_problem(rows):
    few = score_humaneval.program(rows["humaneval"][0], "def f(): pass")
    many = score_humaneval.program({**rows["humaneval"][0], "test": "#" * 55_000}, "def f(): pass")
    assert (few.cpu_s, many.cpu_s) == (10, 15)
    busy = "import time\ndef f():\n    while time.process_time() < 1.6:\n        pass\n    return 1"
    short, long = (Program(busy, "assert f() == 1", ("f",), cpu_s=seconds) for seconds in (1, 20))
    assert [one.passed for one in sandbox.run([short, long])] == [False, True]


def test_files_without_a_hash_are_counted_and_must_have_their_fields(rows, tmp_path, monkeypatch):
    """Nobody here has seen the published ones, so an altered file of as many rows would pass."""
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    with pytest.raises(LiftError, match="humanevalplus.jsonl: No such file") as error:
        load_task("lift_humaneval_plus")
    assert "sha256" not in str(error.value)
    for made, said in (
        (
            rows["humaneval"][:163],
            "are not the published ones; set LIFT_DATA_DIR to a folder with humanevalplus.jsonl, 164 rows",
        ),
        ([{"task_id": "HumanEval/0"}] * 164, "rows of humanevalplus.jsonl are not those of the benchmark"),
    ):
        write(tmp_path, "humanevalplus.jsonl", made)
        with pytest.raises(LiftError, match=said) as error:
            load_task("lift_humaneval_plus")
        assert "\n" not in str(error.value)
    (tmp_path / "humanevalplus.jsonl").write_text("{not json\n")
    with pytest.raises(LiftError, match="LIFT_DATA_DIR: humanevalplus.jsonl: ") as error:
        load_task("lift_humaneval_plus")
    assert "\n" not in str(error.value)


def test_the_revisions_are_commits():
    for name in ("humaneval_plus", "mbpp_plus", "mbpp_full"):
        source = data.SOURCES[name]
        assert source.unhashed and len(source.hub[3]) == 40 and source.rows
