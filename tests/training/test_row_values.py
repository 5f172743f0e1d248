"""Values that are no texts, and rows that are no examples: what becomes of them in every format."""

import json
import math

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from support.training_rows import KODCODE, LIFT_SFT, LOCAL, S1K, S1K_1_1, load, only

from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.pipeline.preview import data_summary
from lift_harness.training.data import TokenCounts
from lift_harness.training.sources.formats import find_layout, make_record

GSM8K = {"question": "6 x 7?", "answer": "Six sevens.\n#### 42"}
CODE = {"question": "Add.", "solution": "def add(): pass", "test": "assert add()"}
CHAT = {
    "messages": [{"role": "user", "content": "6 x 7?"}, {"role": "assistant", "content": "42"}],
    "system": "Be brief.",
}
SHAREGPT = {"conversations": [{"from": "human", "value": "6 x 7?"}, {"from": "gpt", "value": "42"}]}
PAIR = {"prompt": "6 x 7?", "response": "42"}
FORMATS = [S1K, S1K_1_1, LIFT_SFT, LOCAL, GSM8K, KODCODE, CODE, CHAT, SHAREGPT, PAIR]
NUMBERS = st.floats() | st.integers(-(2**70), 2**70)


def places(value, path=()):
    """The paths of all texts and numbers in a row, and of the lists that hold them."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in places(item, (*path, key))]
    if isinstance(value, list):
        return [path, *(place for i, item in enumerate(value) for place in places(item, (*path, i)))]
    return [path]


def changed(value, path, new):
    """A copy of a row with another value at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


def spoken(record):
    return " ".join([*(text for _, text in record.messages), record.prefix, record.response])


# ---------------------------------------------------------------- numbers


@given(st.data(), NUMBERS)
def test_no_field_of_any_format_lets_a_float_into_the_text(data, number):
    """At any place: a missing value is as null, a whole number has no point, others are refused."""
    row = data.draw(st.sampled_from(FORMATS))
    place = data.draw(st.sampled_from(places(row)))
    layout = find_layout(row, "rows:1", {}, None)

    def outcome(value):
        try:
            return make_record(changed(row, place, value), layout, "rows:1")
        except LiftError as error:
            assert str(error).startswith("rows:1: ") and "\n" not in str(error)
            return "refused"

    record = outcome(number)
    if isinstance(number, float) and math.isnan(number):
        assert record == outcome(None)
    elif isinstance(number, float) and number.is_integer() and abs(number) <= 2**53:
        assert record == outcome(int(number))
    elif isinstance(number, float):
        assert record in ("refused", None) or str(number) not in spoken(record)
    if record not in (None, "refused"):
        assert not {"nan", "inf", "-inf"} & set(spoken(record).replace("{", " ").replace("}", " ").split())


@pytest.mark.parametrize("name", ["train.jsonl", "train.json", "train.parquet"])
def test_a_column_with_a_missing_value_keeps_its_whole_numbers(write, name):
    rows = [LOCAL | {"answer": value} for value in (5.0, float("nan"), -42.0, 2.0**53)]
    data = load(write(rows, name))
    answers = [record.response.split("\n")[-2] for record in data.records]
    assert answers == [r"\boxed{5}", r"\boxed{-42}", r"\boxed{9007199254740992}"]
    assert data.sources[0].dropped == {"empty": 1}


def test_the_hubs_rows_are_read_alike():
    rows = list(Dataset.from_list([LOCAL | {"answer": value} for value in (5.0, float("nan"))]))
    layout = find_layout(rows[0], "hub:1", {}, None)
    first, second = (make_record(row, layout, "hub:1") for row in rows)
    assert r"\boxed{5}" in first.response and second is None


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 0.5, 0.1 + 0.2, 1e300])
def test_other_floats_are_refused_with_file_and_row(write, name, value):
    rows = [LOCAL | {"answer": 5.0}, LOCAL | {"answer": value}]
    with pytest.raises(LiftError) as error:
        load(write(rows, name))
    where = str(error.value).partition(name)[2]
    reason = f":2: 'answer' is the number {value!r}, which is not whole; give it as text"
    assert where == f"{reason}; to leave such rows out: bad_rows: drop"


@pytest.mark.parametrize(
    "row",
    [
        CHAT | {"messages": float("nan")},
        SHAREGPT | {"conversations": None},
        S1K | {"thinking_trajectories": float("nan"), "attempt": None},
        PAIR | {"response": float("nan")},
        GSM8K | {"answer": float("nan")},
    ],
)
def test_a_row_of_missing_values_is_empty(write, row):
    good = {key: value for key, value in [*CHAT.items(), *SHAREGPT.items()] if key in row} or None
    good = good or next(whole for whole in FORMATS if whole.keys() == row.keys())
    data = load(write([good, row]))
    assert len(data.records) == 1 and data.sources[0].dropped == {"empty": 1}


def test_missing_reasoning_and_spans_are_none(write):
    rows = [LOCAL, LOCAL | {"reasoning": float("nan"), "priority_spans": float("nan")}]
    assert load(write(rows)).records[1].response == "</reasoning>\n<answer>\n\\boxed{42}\n</answer>"
    row = KODCODE | {"conversations": float("nan"), "r1_solution": float("nan")}
    assert KODCODE["solution"] in only(load(write([row]))).response


def test_a_number_of_thousands_of_digits_is_one_line(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "response": ' + "1" * 5000 + "}\n")
    with pytest.raises(LiftError, match=r"train.jsonl:1: not JSON: Exceeds the limit") as error:
        load(tmp_path / "train.jsonl")
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_text_parts_are_joined_and_a_developer_is_the_system(write, name):
    parts = [{"type": "text", "text": "6 x 7?"}, {"type": "text", "text": "Be quick."}]
    messages = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "output_text", "text": "42"}]},
    ]
    record = only(load(write([{"messages": messages}], name)))
    assert record.messages == (("system", "Be brief."), ("user", "6 x 7?\nBe quick."))
    assert record.response == "42"


def test_parts_that_are_texts_themselves(write):
    turns = [{"from": "human", "value": ["6 x", {"text": "7?"}]}, {"from": "gpt", "value": ["42"]}]
    record = only(load(write([{"conversations": turns}])))
    assert (record.user, record.response) == ("6 x\n7?", "42")


BAD = {
    "unknown role 'tool'": [*CHAT["messages"], {"role": "tool", "content": "42"}, CHAT["messages"][1]],
    "messages[0].content[1] is a part of type 'image_url'; only texts can be trained on": [
        {"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": "x"}]},
        CHAT["messages"][1],
    ],
    "messages[0].content[0] must be a text or an object with a text, not int": [
        {"role": "user", "content": [3]},
        CHAT["messages"][1],
    ],
    "no assistant's turn; the roles are: user": CHAT["messages"][:1],
    "no user's turn before the response": CHAT["messages"][1:],
    "'messages' must be a list of messages, not str": "hello",
}


@pytest.mark.parametrize("reason", BAD)
def test_an_unusable_row_is_an_error_or_left_out_and_counted(write, reason):
    path = write([CHAT, {"messages": BAD[reason]}, {"text": "other columns"}, CHAT])
    with pytest.raises(LiftError) as error:
        load(path)
    assert reason in str(error.value) and "train.jsonl:2" in str(error.value)
    data = load(path, bad_rows="drop")
    assert [record.origin[-2:] for record in data.records] == [":1", ":4"]
    (summary,) = json.loads(json.dumps(data.manifest()))["sources"]
    assert summary["read"] == 4 and summary["dropped"] == {"bad rows": 2} and summary["kept"] == 2
    assert reason in summary["first_bad"]


def test_a_bad_first_row_does_not_decide_the_format(write):
    data = load(write([{"text": "no format"}, {"messages": []}, CHAT]), bad_rows="drop")
    assert len(data.records) == 1 and data.sources[0].dropped == {"bad rows": 2}


def test_the_preview_counts_bad_rows_and_shows_the_first(write):
    data = load(write([CHAT, {"messages": []}]), bad_rows="drop")
    console = Console(width=300)
    with console.capture() as captured:
        console.print(data_summary(data, TokenCounts()))
    text = captured.get()
    assert "1 bad rows" in text and "train.jsonl:2: no assistant's turn; the roles are: none" in text


def test_where_every_row_is_bad_the_first_one_is_shown(write):
    message = r"0 of 2 rows are left .dropped: 2 by 'bad rows'.; .*; the first bad row: .*train.jsonl:1: no"
    with pytest.raises(LiftError, match=message):
        load(write([{"messages": []}, {"messages": []}]), bad_rows="drop")


def test_generated_text_has_no_bad_rows():
    with pytest.raises(LiftError, match="'sudoku' is generated, so it takes no bad_rows='drop'"):
        load("sudoku", n=1, bad_rows="drop")
