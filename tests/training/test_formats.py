"""What the rows of each source of training data become."""

import shutil

import pytest
from support.training_rows import (
    KODCODE,
    LIFT_SFT,
    LOCAL,
    MESSAGES,
    S1K,
    S1K_1_1,
    S1K_RESPONSE,
    load,
    only,
)

from lift_harness.errors import LiftError
from lift_harness.tasks import data as benchmarks
from lift_harness.tasks.prompts import INSTRUCTIONS
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.scoring.score_gsm8k import extract, target
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import Record, content_hash, load_data, stable_ids

pytestmark = pytest.mark.usefixtures("no_data_dir")

MATH, GSM8K = INSTRUCTIONS["math"], INSTRUCTIONS["gsm8k"]


# ---------------------------------------------------------------- what each source's rows become

SHORT_RESPONSE = "Six sevens.</reasoning>\n<answer>\n\\boxed{42}\n</answer>"


@pytest.mark.parametrize(
    "name", ["train.jsonl", "train.json", "train.jsonl.gz", "train.json.gz", "train.parquet"]
)
@pytest.mark.parametrize(
    "row, response",
    [(S1K, S1K_RESPONSE), (S1K_1_1, S1K_RESPONSE), (LIFT_SFT, SHORT_RESPONSE), (LOCAL, SHORT_RESPONSE)],
    ids=["s1k", "s1k-1.1", "lift-sft-12k", "question-reasoning-answer"],
)
def test_worked_mathematics(write, name, row, response):
    path = write([row], name)
    user = f"{MATH}\n\nWhat is 6 x 7?"
    expected = Record((("user", user),), response, "<reasoning>", "math", f"{path}:1")
    assert only(load(path)) == expected


def test_gsm8k_loses_its_calculator_and_its_mark(write):
    row = {
        "question": "Tom has 1,500 eggs and sells 3. How many are left?",
        "answer": "He has 1500-3=<<1500-3=1497>>1,497 eggs.\n#### 1,497",
    }
    record = only(load(write([row])))
    assert record.user == f"{GSM8K}\n\nTom has 1,500 eggs and sells 3. How many are left?"
    answer = "He has 1500-3=1,497 eggs.</reasoning>\n<answer>\n\\boxed{1497}\n</answer>"
    assert (record.response, record.prefix) == (answer, "<reasoning>")


def test_kodcode_is_asked_as_mbpp_and_answers_in_one_block(write):
    record = only(load(write([KODCODE], "k.parquet")))
    shown = "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert sorted([add(1, 1)]) == [2]"
    assert record.user == f"{INSTRUCTIONS['mbpp']}\n\nAdd two numbers.\n\n\n{shown}"
    code = "```python\ndef add(x, y):\n    return x + y\n```"
    assert record.response == f"Add.</reasoning>\n<answer>\n{code}\n</answer>"
    assert (record.prefix, record.kind) == ("<reasoning>", "code")


@pytest.mark.parametrize(
    "changed, reasoning, code",
    [
        ({"conversations": [KODCODE["conversations"][0]]}, "", KODCODE["solution"]),
        ({"conversations": None}, "", KODCODE["solution"]),
        (
            {"conversations": [{"from": "gpt", "value": "<think>hm</think> As I said."}]},
            "hm",
            KODCODE["r1_solution"],
        ),
        ({"conversations": [{"from": "gpt", "value": "Sum.\n```python\nx = 1\n```"}]}, "Sum.", "x = 1"),
        (
            {"conversations": [{"from": "gpt", "value": "Sum."}], "r1_solution": None},
            "Sum.",
            KODCODE["solution"],
        ),
    ],
)
def test_kodcode_rows_that_lack_a_reasoning_or_a_program(write, changed, reasoning, code):
    record = only(load(write([KODCODE | changed])))
    assert record.response == f"{reasoning}</reasoning>\n<answer>\n```python\n{code}\n```\n</answer>"


@pytest.mark.parametrize(
    "question, tests, task",
    [
        ('def f(x):\n    """Twice x."""\n', "no python at all (", "humaneval"),
        ("Write a function.", "def test_f():\n    with raises(ValueError):\n        f()", None),
    ],
)
def test_code_without_tests_to_show(write, question, tests, task):
    row = {"question": question, "solution": "def f(x): return 2 * x", "test": tests}
    record = only(load(write([row])))
    instruction, asked = record.user.split("\n\n", 1)
    assert asked == question
    assert instruction == INSTRUCTIONS[task] if task else "tests" not in instruction
    assert "```python block" in instruction


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_of_a_conversation_the_last_answer_is_learnt(write, name, column):
    record = only(load(write([{column: MESSAGES, "source": "tulu"}], name)))
    assert record.messages == tuple((m["role"], m["content"]) for m in MESSAGES[:4])
    assert (record.response, record.prefix, record.kind) == ("42 \n", "", "chat")
    assert record.user == " 6 x 7? "


def test_sharegpt_names_and_a_column_for_the_system(write):
    turns = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}]
    record = only(load(write([{"system": "Be brief.", "conversations": turns}])))
    assert record.messages == (("system", "Be brief."), ("user", "Hello")) and record.response == "Hi."


@pytest.mark.parametrize("response", ["response", "completion"])
def test_prompt_and_response(write, response):
    path = write([{"prompt": "Hello", response: "Hi."}])
    assert only(load(path)) == Record((("user", "Hello"),), "Hi.", "", "chat", f"{path}:1")
    listed = {"prompt": MESSAGES[:4], response: [MESSAGES[4]]}
    record = only(load(write([listed])))
    assert len(record.messages) == 4 and record.response == "42 \n"


@pytest.mark.parametrize(
    "said, reasoning, answer",
    [
        ("<think>\nSix sevens.\n</think>\n\nSo \\boxed{42}.", "Six sevens.", "So \\boxed{42}."),
        ("Six sevens.</reasoning>\n<answer>\n42\n</answer>", "Six sevens.", "\\boxed{42}"),
        ("<reasoning>Six sevens.</reasoning><answer>\\boxed{42}</answer>", "Six sevens.", "\\boxed{42}"),
        (
            "Six sevens: $\\boxed{4\\frac{2}{1}}$.",
            "Six sevens: $\\boxed{4\\frac{2}{1}}$.",
            "\\boxed{4\\frac{2}{1}}",
        ),
    ],
)
def test_messages_as_mathematics_are_asked_as_the_benchmark_asks(write, said, reasoning, answer):
    turns = [{"role": "user", "content": "6 x 7?"}, {"role": "assistant", "content": said}]
    record = only(load(write([{"messages": turns}]), kind="math"))
    assert record.user == f"{MATH}\n\n6 x 7?" and record.prefix == "<reasoning>"
    assert record.response == f"{reasoning}</reasoning>\n<answer>\n{answer}\n</answer>"


def test_the_same_columns_as_conversation(write):
    record = only(load(write([S1K]), kind="chat"))
    assert (record.user, record.prefix) == ("What is 6 x 7?", "")
    assert record.response == "Six sevens.\n\nIt is 42.\n\nSo: $\\boxed{42}$"


def test_fields_say_which_column_is_which(write):
    row = {"problem": "6 x 7?", "steps": "Six sevens.", "final": "42", "messages": "not these"}
    path = write([row])
    fields = {"question": "problem", "reasoning": "steps", "answer": "final"}
    assert only(load(path, fields=fields)).response == SHORT_RESPONSE
    record = only(load(path, fields={"prompt": "problem", "response": "steps"}))
    assert (record.user, record.response, record.kind) == ("6 x 7?", "Six sevens.", "chat")
    mbpp = {
        "text": "Add.",
        "code": "def add(): pass",
        "test_list": ["assert add(1)==1", "assert add(2)  == 2"],
    }
    fields = {"question": "text", "answer": "code", "tests": "test_list"}
    record = only(load(write([mbpp]), fields=fields))
    assert record.user.endswith("Add.\n\nassert add(1)==1\nassert add(2)  == 2") and record.kind == "code"


def test_generated_sources_and_their_order():
    data = load_data([DataSource(source="arithmetic", n=3, seed=1), DataSource(source="sudoku", n=2)])
    assert [record.origin for record in data.records] == [
        *(f"arithmetic:{i}" for i in (1, 2, 3)),
        *("sudoku:1", "sudoku:2"),
    ]
    assert data.records[0].user.startswith(INSTRUCTIONS["arithmetic"])
    assert {record.prefix for record in data.records} == {"<reasoning>"}


# ---------------------------------------------------------------- the benchmarks' own files


@pytest.mark.parametrize(
    "task, row",
    [
        ("gsm8k", lambda doc: doc),
        (
            "math500",
            lambda doc: {"question": doc["problem"], "reasoning": doc["solution"], "answer": doc["answer"]},
        ),
        (
            "humaneval",
            lambda doc: {"question": doc["prompt"], "solution": doc["canonical_solution"], "test": ""},
        ),
        ("mbpp", lambda doc: {"question": doc["prompt"], "solution": doc["code"], "test": doc["test_list"]}),
    ],
)
def test_a_training_prompt_is_the_evaluation_prompt(shared, monkeypatch, write, task, row):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    loaded = load_task(f"lift_{task}")
    docs = list(loaded.eval_docs)[:20]
    records = load(write([row(doc) for doc in docs])).records
    assert [record.user for record in records] == [loaded.doc_to_text(doc) for doc in docs]
    assert {record.prefix for record in records} == {loaded.config.gen_prefix}


def test_all_of_gsm8k_is_answered_rightly(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    data = load("gsm8k")
    rows = benchmarks.load("gsm8k_train")
    assert len(data.records) == len(rows) == 7473
    for record, row in zip(data.records, rows, strict=True):
        assert record.user == f"{GSM8K}\n\n{row['question']}"
        assert extract(record.prefix + record.response) == float(target(row)), record.origin
        assert "<<" not in record.response and "####" not in record.response
    assert data.records[16].origin == "gsm8k_train.jsonl:17"
    (summary,) = data.manifest()["sources"]
    assert summary["read"] == summary["kept"] == 7473 and summary["origin"]["hub"] == "openai/gsm8k"
    assert len(set(stable_ids(data.records))) == 7473


def test_an_altered_gsm8k_file_is_refused(shared, monkeypatch, tmp_path):
    shutil.copy(shared / "data" / "gsm8k_train.jsonl", tmp_path)
    file = tmp_path / "gsm8k_train.jsonl"
    file.chmod(0o644)
    file.write_text(file.read_text().replace("Natalia", "Natalie", 1))
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    with pytest.raises(LiftError, match="not the published file: its sha256 is"):
        load("gsm8k")


# ---------------------------------------------------------------- marked tokens


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_spans_count_in_the_response_or_in_the_reasoning(write, name):
    chat = {"prompt": "Hello", "response": " Hi there", "priority_spans": [[1, 3], [4, 9]]}
    record = only(load(write([chat], name)))
    assert [record.response[a:b] for a, b in record.spans] == ["Hi", "there"]
    worked = LOCAL | {"reasoning": "  Six sevens. ", "priority_spans": [[0, 1], [2, 5], [6, 14]]}
    record = only(load(write([worked], name)))
    assert [record.response[a:b] for a, b in record.spans] == ["Six", "sevens."]
    unmarked = only(load(write([LOCAL], name)))
    assert unmarked.spans is None
    assert content_hash([record]) != content_hash([unmarked]) and stable_ids([record]) == stable_ids(
        [unmarked]
    )


@pytest.mark.parametrize(
    "spans", ["1-2", [[0, 99]], [[2, 2]], [[3, 1]], [[0]], [["a", "b"]], [[-1, 2]], [5], [[0, True]]]
)
def test_spans_that_are_none(write, spans):
    with pytest.raises(LiftError, match=r"train.jsonl:1: 'priority_spans' "):
        load(write([{"prompt": "Hello", "response": "Hi.", "priority_spans": spans}]))
