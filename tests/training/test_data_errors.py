"""Bad training data: errors of one line that name file, line and field."""

import gzip

import pytest
from pydantic import ValidationError
from support.training_rows import LOCAL, MESSAGES, ROWS, load

from lift_harness.errors import LiftError
from lift_harness.training.settings import DataSource

pytestmark = pytest.mark.usefixtures("no_data_dir")


# ---------------------------------------------------------------- errors name file, line and field


@pytest.mark.parametrize(
    "row, message",
    [
        (
            {"question": "q", "reasoning": "r"},
            "train.jsonl:2: 'answer' is missing; the fields are: question, reasoning",
        ),
        (
            LOCAL | {"answer": {"value": 3}},
            "train.jsonl:2: 'answer' must be text, not dict: \"{'value': 3}\"",
        ),
        (LOCAL | {"reasoning": True}, "train.jsonl:2: 'reasoning' must be text, not bool"),
        (LOCAL | {"question": [1]}, "train.jsonl:2: 'question' must be text, not list"),
        (LOCAL | {"question": "\ud800"}, "train.jsonl:2: 'question' is not valid Unicode"),
    ],
)
def test_a_bad_row_of_worked_data(write, row, message):
    with pytest.raises(LiftError, match="^.*" + message.replace("[", r"\[").replace("{", r"\{")):
        load(write([LOCAL, row]))


@pytest.mark.parametrize(
    "messages, message",
    [
        ("hello", "'messages' must be a list of messages, not str"),
        (["hello"], r"messages\[0\] must be an object with role and content, not str"),
        ([{"role": "user"}], r"messages\[0\]: 'content' is missing; the fields are: role"),
        (
            [{"role": "asistant", "content": ""}],
            r"messages\[0\]: unknown role 'asistant'; did you mean assistant",
        ),
        (
            [{"role": "user", "content": 3.0}, {"role": "user", "content": {}}],
            r"messages\[1\]: 'content' must be text",
        ),
        ([{"role": "user", "content": "hi"}], "no assistant's turn; the roles are: user"),
        (
            [{"role": "assistant", "content": "hi"}],
            "no user's turn before the response; the roles are: assistant",
        ),
        ([], "no assistant's turn; the roles are: none"),
    ],
)
def test_a_bad_conversation(write, messages, message):
    with pytest.raises(LiftError, match=f"train.jsonl:2: {message}"):
        load(write([{"messages": MESSAGES}, {"messages": messages}]))


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"prompt": "a", "response": "b"}\n\n{"prompt": \n', "train.jsonl:3: not JSON: Expecting value"),
        (
            b'{"prompt": "a", "response": "\xff"}\n',
            r"train.jsonl:1: not UTF-8 \(invalid start byte at byte 29\)",
        ),
        (b'["a"]\n', r"train.jsonl:1: a row is an object with fields, not \"\['a'\]\""),
        (b"\n \n", "train.jsonl: empty; give a file with at least one row"),
        (
            b'{"text": "a"}',
            "train.jsonl:1: no known format: the fields are: text; expected messages, prompt and",
        ),
        (b'{"question": "a", "answer": "b"}', "train.jsonl:1: 'answer' holds no '####' before the result"),
    ],
)
def test_bad_json_lines(tmp_path, content, message):
    (tmp_path / "train.jsonl").write_bytes(content)
    with pytest.raises(LiftError, match=f"^.*{message}"):
        load(tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.parquet", b"PAR1 not really", "a.parquet: not a readable parquet file: "),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"prompt": "a", "response": "b"}\n' * 99, mtime=0)[:-9],
            "a.jsonl.gz: cannot be read: ",
        ),
        ("a.jsonl.gz", b"plain", "a.jsonl.gz: cannot be read: Not a gzipped file"),
        ("a.json", b'[{"prompt": "a"},', "a.json: not JSON: "),
        ("a.json", b"[]", "a.json: empty; "),
        ("a.json", b"[" * 100_000, "a.json: lists and mappings in one another, more than 100 deep"),
        ("a.csv", b"prompt,response\n", "a.csv: training data is read from .jsonl, "),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LiftError) as error:
        load(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"source": "train.jsonl"}, "train.jsonl: no such file"),
        ({"source": "./nowhere"}, "./nowhere: no such file"),
        ({"source": "gsm9k"}, r"unknown data source 'gsm9k' .* did you mean gsm8k or s1k\?"),
        ({"source": "sudoku"}, "'sudoku' is generated without end; give n"),
        (
            {"source": "sudoku", "n": 1, "where": {"a": 1}},
            r"'sudoku' is generated, so it takes no where=\{'a': 1\}",
        ),
        ({"source": "s1k", "options": {"blanks": 3}}, "'s1k' is not generated, so it takes no options"),
    ],
)
def test_bad_sources(settings, message):
    with pytest.raises(LiftError, match=message):
        load(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"n": 21}, "20 of 20 rows are left, n=21; lower n"),
        ({"where": {"source": "c"}}, "0 of 20 rows are left .dropped: 20 by 'where'.; loosen its filters"),
        (
            {"where": {"sorce": "a"}},
            "train.jsonl:1: 'sorce' is missing; the fields are: prompt, response, source",
        ),
        ({"fields": {"promt": "prompt"}}, "fields: there is no part 'promt'; did you mean prompt"),
        ({"fields": {"prompt": "query", "response": "response"}}, "train.jsonl:1: 'query' is missing"),
        (
            {"fields": {"prompt": "prompt"}},
            "fields: prompt is no example; name messages, prompt and response, or",
        ),
        ({"split": "train"}, "train.jsonl: one file has neither config=None nor split='train'"),
        ({"revision": "v1"}, "train.jsonl' is a path, so it takes no revision='v1'"),
        (
            {"kind": "math"},
            r"kind=math: the response has neither </think> nor a \\boxed result; use kind: chat",
        ),
        ({"kind": "code"}, "kind=code: the response has neither </think> nor a ```python block"),
    ],
)
def test_settings_that_do_not_fit_a_file(write, settings, message):
    with pytest.raises(LiftError, match=message):
        load(write(ROWS), **settings)


def test_a_conversation_of_several_turns_is_no_mathematics(write):
    with pytest.raises(
        LiftError, match="kind=math needs one user turn and its answer; conversations are kind: chat"
    ):
        load(write([{"messages": MESSAGES}]), kind="math")


@pytest.mark.parametrize(
    "settings",
    [{"n": 0}, {"kind": "maths"}, {"min_tokens": 5, "max_tokens": 4}, {"sourc": "a"}, {"where": {"a": {}}}],
)
def test_bad_settings(settings):
    with pytest.raises(ValidationError):
        DataSource(source="s1k", **settings)
