"""`lift-harness data annotate` and `data marks`, against a real HTTP server on this machine."""

import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from support.chat_server import ChatServer, completion, problem, quoting
from support.training_rows import load, write_rows

from lift_harness.cli import main
from lift_harness.errors import LiftError
from lift_harness.pipeline.preview import hidden_tokens
from lift_harness.training.data import Collator, tokenize
from lift_harness.training.objectives import Batch, NoiseKey, get_objective
from lift_harness.training.sources import content_hash

ROOT = Path(__file__).parents[2]
KEY = "sk-secret-0123456789"
CHAT = [{"prompt": f"q{i}", "response": f"so 2 + {i} = {i + 2} it is"} for i in range(8)]
GSM8K = {"question": "Two and 3?", "answer": "Sum: 2+3=<<2+3=5>>5 now\n#### 5", "level": 7}
S1K = {"question": "6 x 7?", "thinking_trajectories": [" Six sevens: 6 * 7. "], "attempt": "It is 42."}
CODE = {"question": "Count to n.", "solution": "def f(n):\n    while n > 3:\n        n -= 1\n    return n"}
CODE["test"] = "def test():\n    assert f(9) == 3"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIFT_DATA_DIR", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("lift_harness.training.annotation.asking.asyncio.sleep", no_sleep)
    return tmp_path


async def no_sleep(seconds):
    """The waits between tries are tested elsewhere."""


@pytest.fixture
def annotate(monkeypatch, capsys):
    """annotate(server, data, *options): (exit code, what was printed to both)."""

    def run(server, data, *options):
        model = [] if "--model" in options else ["--model", "judge"]
        argv = [
            "lift-harness",
            "data",
            "annotate",
            str(data),
            "--endpoint",
            server.endpoint,
            *model,
            *options,
        ]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        assert KEY not in out + err and "Traceback" not in err
        return stopped.value.code or 0, out + err

    return run


def mark(question, before):
    """The last sum of a question's own number."""
    number = re.findall(r"\d+", question)[-1]
    return quoting(f"2 + {number}")


def rows_of(file):
    return [json.loads(line) for line in open(file)]


# ---------------------------------------------------------------- what is written


def test_rows_keep_what_they_have_and_get_spans(annotate, folder):
    data = write_rows(folder, CHAT)
    with ChatServer(lambda question, before: mark(question, before)) as server:
        code, said = annotate(server, data)
    assert code == 0 and "8 examples, 8 annotated by judge" in said
    assert "requests: 8 sent, 0 answered before" in said
    assert "tokens of this run: 800 of prompts, 80 of completions\n" in said
    written = rows_of("train-annotated.jsonl")
    assert [{key: row[key] for key in CHAT[0]} for row in written] == CHAT
    for row in written:
        ((start, end),) = row["priority_spans"]
        assert re.fullmatch(r"2 \+ \d", row["response"][start:end])
    assert sorted(os.listdir()) == ["train-annotated.jsonl", "train-annotated.jsonl.replies", "train.jsonl"]
    assert all(KEY.encode() not in file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize(
    "row, quotes, settings",
    [
        (CHAT[0], ["2 + 0", "it"], {}),
        (GSM8K, ["2+3", r"\boxed{5}"], {}),  # as it is trained on: without <<...>>, the result in a box
        (S1K, ["6 * 7", "42"], {}),
        (CODE, ["n > 3", "n -= 1"], {}),
        (S1K, ["6 * 7", "42"], {"format": "release", "instruction": "Think hard."}),
        (GSM8K, ["2+3", "#"], {"fields": {"prompt": "question", "response": "answer"}}),
    ],
)
def test_every_kind_of_row_trains_on_its_spans(annotate, folder, tokenizer, row, quotes, settings):
    """From the file to the tokens that the density objective masks more often."""
    data = write_rows(folder, [row])
    keys = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    with ChatServer(lambda question, before: quoting(*quotes)) as server:
        assert annotate(server, data, *keys)[0] == 0
    (plain,), (record,) = load(data, **settings).records, load("train-annotated.jsonl", **settings).records
    assert [record.response[start:end] for start, end in record.spans] == quotes
    assert (record.messages, record.prefix, record.response) == (plain.messages, plain.prefix, plain.response)
    assert content_hash([record]) != content_hash([plain])
    (example,), (unmarked,) = (tokenize([one], tokenizer, priority="auto") for one in (record, plain))
    assert (example.id, example.prompt, example.response) == (unmarked.id, unmarked.prompt, unmarked.response)
    chosen = [i for i, flag in zip(example.response, example.priority, strict=True) if flag]
    text = tokenizer.decode(chosen).replace(" ", "")
    assert 0 < len(chosen) < len(example.response)
    assert all(quote.replace(" ", "") in text for quote in quotes)


def test_a_density_step_is_that_of_the_spans(annotate, folder, tokenizer):
    """What is hidden more often is what the model marked, and not what the rules would have."""
    data = write_rows(folder, CHAT)
    with ChatServer(lambda question, before: quoting("so", "it")) as server:
        annotate(server, data)
    examples = tokenize(load("train-annotated.jsonl").records, tokenizer, priority="auto")
    inputs = Collator(tokenizer.eos_token_id)(examples)
    batch = Batch(
        *(inputs["input_ids"], inputs["labels"] != -100, inputs["example_id"], tokenizer.mask_token_id),
        priority=inputs["priority"],
    )
    density = get_objective("density", w=8, complementary=False)

    hidden = sum(hidden_tokens(density, batch, NoiseKey(0, epoch)).float() for epoch in range(60))
    marked, others = batch.priority, batch.response & ~batch.priority
    assert hidden[marked].mean() > 1.4 * hidden[others].mean()


def test_a_row_that_is_read_otherwise_is_refused(annotate, folder):
    data = write_rows(folder, [S1K])
    with ChatServer(lambda question, before: quoting("42")) as server:
        annotate(server, data)
    with pytest.raises(
        LiftError, match=r"train-annotated.jsonl:1: 'priority_spans' are those of another resp"
    ):
        load("train-annotated.jsonl", format="release", instruction="Think hard.")
    (row,) = rows_of("train-annotated.jsonl")
    write_rows(folder, [row | {"attempt": "It is 43."}], "edited.jsonl")
    with pytest.raises(LiftError, match="another response"):
        load("edited.jsonl")
    write_rows(folder, [row | {"priority_spans": [[0, 999]]}], "far.jsonl")
    with pytest.raises(LiftError, match=r"'priority_spans' has \[0, 999\]"):
        load("far.jsonl")


def test_filters_draws_and_limits_choose_the_rows(annotate, folder):
    data = write_rows(folder, [row | {"level": i % 2} for i, row in enumerate(CHAT)])
    with ChatServer(mark) as server:
        annotate(server, data, "--set", "where={level: 1}", "--limit", "2")
        assert [row["prompt"] for row in rows_of("train-annotated.jsonl")] == ["q1", "q3"]
        annotate(server, data, "--set", "n=3", "--output", "drawn.jsonl")
        drawn = {record.user for record in load(data, n=3).records}
    assert {row["prompt"] for row in rows_of("drawn.jsonl")} == drawn


def test_parquet_with_dates_becomes_json_lines(annotate, folder):
    rows = [row | {"day": datetime.date(2026, 1, 2), "lang": "é"} for row in CHAT]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "data.parquet")
    with ChatServer(mark) as server:
        assert annotate(server, "data.parquet")[0] == 0
    assert {(row["day"], row["lang"]) for row in rows_of("data-annotated.jsonl")} == {("2026-01-02", "é")}
    assert len(load("data-annotated.jsonl").records) == 8


def test_a_second_model_fills_the_gaps(annotate, folder):
    data = write_rows(folder, CHAT)
    with ChatServer(lambda q, before: completion("no idea") if q == "q3" else mark(q, before)) as server:
        code, said = annotate(server, data)
        assert code == 0 and "not annotated, so that in training the rules hold: 1 with a malformed" in said
        assert f"{data}:4: the reply is no JSON: 'no idea'" in said
        assert rows_of("train-annotated.jsonl")[3]["priority_spans"] is None
        server.answer = mark
        code, said = annotate(server, "train-annotated.jsonl", "--model", "other", "--output", "full.jsonl")
    assert "1 annotated by other" in said and "as they came, with spans: 7" in said
    assert server.asked["q3"] == 2 and sum(server.asked.values()) == 9
    assert all(record.spans for record in load("full.jsonl").records)


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_goes_on(annotate, folder, how):
    """Ended in the middle; what was answered is not asked again, and no half file is left."""
    data = write_rows(folder, CHAT)
    released = threading.Event()

    def answer(question, before):
        return "hang" if len(server.asked) > 5 and not released.is_set() else mark(question, before)

    with ChatServer(answer) as server:
        words = ["-m", "lift_harness", "data", "annotate", data, "--endpoint", server.endpoint]
        words += ["--model", "judge", "--concurrency", "1", "--output", "out.jsonl"]
        process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
        for _ in range(600):
            if len(server.asked) > 5:
                break
            time.sleep(0.1)
        process.send_signal(how)
        said = process.communicate()[1]
        assert KEY not in said and not os.path.exists("out.jsonl")
        if how == signal.SIGINT:
            assert process.returncode == 130 and said.startswith("stopped: Ctrl-C; out.jsonl.replies keeps")
        else:
            assert process.returncode == -how
            with open("out.jsonl.replies", "a") as stream:
                stream.write('{"key": "12')  # killed while it wrote
        released.set()
        code, said = annotate(server, data, "--output", "out.jsonl")
    assert code == 0 and "requests: 3 sent, 5 answered before (out.jsonl.replies)" in said
    assert "tokens of the whole file: 800 of prompts" in said
    assert [server.asked[f"q{i}"] for i in range(8)] == [1, 1, 1, 1, 1, 2, 1, 1]
    assert len(rows_of("out.jsonl")) == 8 and not list(folder.glob("*.lock"))


def test_replies_may_be_kept_elsewhere(annotate, folder):
    data = write_rows(folder, CHAT)
    with ChatServer(mark) as server:
        annotate(server, data, "--limit", "2", "--output", "few.jsonl", "--cache", "kept")
        code, said = annotate(server, data, "--output", "all.jsonl", "--cache", "kept")
    assert "requests: 6 sent, 2 answered before (kept)" in said


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "answer, words",
    [
        (completion("I cannot"), "no example was annotated, nothing is written: 8 with a malformed reply ("),
        (quoting(), "8 with nothing marked (train.jsonl:1: 0 quotes, none in the answer)"),
        (completion(None, refusal="no"), "8 refused (train.jsonl:1: no)"),
        (problem(401, "who is it?"), "401 Unauthorized: who is it? (the key was that in OPENAI_API_KEY)"),
        (problem(404, "no model judge"), "404 Not Found: no model judge; check --endpoint"),
        (problem(500, "down"), "5 requests in a row got no answer, the last one: 500 Internal"),
        (
            (200, {"Content-Type": "text/html"}, "<html>Hello"),
            "no chat completion: <html>Hello; is --endpoint",
        ),
    ],
)
def test_a_server_of_no_use_is_one_line_and_leaves_no_file(annotate, folder, answer, words):
    write_rows(folder, CHAT)
    with ChatServer(lambda question, before: answer) as server:
        code, said = annotate(server, "train.jsonl", "--concurrency", "1")
    assert code == 2 and words in said and said.startswith("error: ") and said.count("\n") == 1
    assert not os.path.exists("train-annotated.jsonl")


@pytest.mark.parametrize(
    "options, words",
    [
        (["nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["sudoku", "--set", "n=3"], "'sudoku' is generated: there are no rows to write spans beside"),
        (["train.jsonl", "--set", "max_tokens=9"], "no tokenizer is known here; use max_chars"),
        (["train.jsonl", "--set", "m=9"], "data source 'train.jsonl': unknown key 'm'"),
        (["train.jsonl", "--set", "m"], "--set 'm': write key=value, e.g. --set n=2000"),
        (["train.jsonl", "--request", "stream=true"], "--request stream=True: this is not to be set"),
        (["train.jsonl", "--request", "temperature"], "--request 'temperature': write key=value"),
        (["train.jsonl", "--key-variable", "NO_SUCH"], "--key-variable NO_SUCH: the environment has no such"),
        (["train.jsonl", "--output", "train.jsonl"], "--output train.jsonl: this is the data itself"),
        (["train.jsonl", "--output", "there.jsonl"], "there.jsonl: exists already; give another name, or"),
        (
            ["train.jsonl", "--output", "no/x.jsonl"],
            "no/x.jsonl: cannot be written: No such file or directory",
        ),
        (["train.jsonl", "--output", "x.parquet"], "it will hold JSON lines; name it .jsonl"),
        (["train.jsonl", "--model", ""], "--model is missing"),
        (["train.jsonl", "--output", "a.jsonl", "--cache", "a.jsonl"], "a.jsonl: this is the output"),
        (["train.jsonl", "--cache", "train.jsonl"], "train.jsonl:1: no reply of `data annotate`"),
    ],
)
def test_bad_options_are_one_line_and_ask_nothing(annotate, folder, options, words):
    write_rows(folder, CHAT)
    write_rows(folder, CHAT, "there.jsonl")
    before = sorted(os.listdir())
    with ChatServer(mark) as server:
        code, said = annotate(server, *options)
    assert code == 2 and words in said and said.count("\n") == 1
    assert not server.asked and sorted(os.listdir()) == before


def test_another_variable_with_the_key(annotate, folder, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-another-0123456789")
    write_rows(folder, CHAT)
    with ChatServer(mark) as server:
        annotate(server, "train.jsonl", "--key-variable", "MY_KEY")
    assert {headers["Authorization"] for headers, _ in server.requests} == {"Bearer sk-another-0123456789"}


# ---------------------------------------------------------------- looking


def typed(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["lift-harness", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    return capsys.readouterr().out


def test_what_would_be_asked(folder, monkeypatch, capsys):
    write_rows(folder, [CODE, S1K | {"solution": "42", "test": ""}], "two.jsonl")
    shown = typed(monkeypatch, capsys, "data", "annotate", "two.jsonl", "--show", "1")
    assert shown.startswith("--- two.jsonl:1\n[system]\n") and "In code mark" in shown
    assert "QUESTION\n" in shown and CODE["solution"] in shown and "S1K" not in shown
    assert sorted(os.listdir()) == ["two.jsonl"]


def test_marks_by_rule_and_of_the_data(annotate, folder, monkeypatch, capsys):
    row = {"question": "2 + 3?", "reasoning": "so 2 + 3 = 5 it is", "answer": "5"}
    data = write_rows(folder, [row])
    with ChatServer(lambda question, before: quoting("so", "it")) as server:
        annotate(server, data)
    shown = typed(monkeypatch, capsys, "data", "marks", "train-annotated.jsonl")
    rest = "</reasoning>\n<answer>\n{}\n</answer>\n"
    assert shown == (
        "--- train-annotated.jsonl:1\nby rule, 24% of its characters:\nso [[2]] [[+]] [[3]] [[=]] [[5]] it is"
        + rest.format(r"[[\boxed{5}]]")
        + "in the data, 7% of its characters:\n[[so]] 2 + 3 = 5 [[it]] is"
        + rest.format(r"\boxed{5}")
    )


def test_the_rules_mark_nothing_of_a_chat(folder, monkeypatch, capsys):
    data = write_rows(folder, CHAT)
    assert "[[" not in typed(monkeypatch, capsys, "data", "marks", data)


@pytest.mark.parametrize("kind", ["math", "code"])
def test_the_page_shows_what_the_rules_mark(kind, monkeypatch, capsys):
    page = (ROOT / "docs/training-data.md").read_text(encoding="utf-8")
    monkeypatch.chdir(ROOT / "docs/annotation")
    shown = typed(monkeypatch, capsys, "data", "marks", f"{kind}.jsonl", "--n", "10")
    assert shown.count("--- ") == 10 and f"````text\n{shown}````\n" in page
