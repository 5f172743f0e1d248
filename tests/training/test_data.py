"""Training data: where rows come from; filters, draws, ids, hashes, splits."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.training_rows import LOCAL, ROWS, S1K, S1K_RESPONSE, load, only

from lift_harness.errors import LiftError
from lift_harness.tasks import data as benchmarks
from lift_harness.training.data import token_counter
from lift_harness.training.settings import DataSource
from lift_harness.training.sources import Record, content_hash, load_data, stable_ids, validation_split
from lift_harness.training.sources.published import PUBLISHED

pytestmark = pytest.mark.usefixtures("no_data_dir")


# ---------------------------------------------------------------- where rows come from


@pytest.mark.parametrize("source", ["s1k", "simplescaling/s1K", "S1K"])
def test_published_data_from_the_data_folder(write, monkeypatch, tmp_path, source):
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    with pytest.raises(
        LiftError, match=r"holds neither s1K.jsonl nor s1K.parquet nor a folder s1K for simple"
    ):
        load(source)
    write([S1K], "s1K.parquet")
    assert only(load(source)).response == S1K_RESPONSE
    (tmp_path / "s1K.parquet").unlink()
    write([S1K], "s1K/data/train-00000-of-00001.parquet")
    assert only(load(source)).origin.endswith("s1K/data/train-00000-of-00001.parquet:1")
    with pytest.raises(LiftError, match="revision='abc': with LIFT_DATA_DIR the data is the file's"):
        load(source, revision="abc")


def test_a_folder_as_the_hub_lays_it_out(write, tmp_path):
    for name, question in [("train-00001-of-2", "b"), ("train-00000-of-2", "a"), ("test-00000-of-1", "c")]:
        write([LOCAL | {"question": question}], f"set/math/{name}.parquet")
    write([LOCAL | {"question": "d"}], "set/code/train.jsonl")
    asked = lambda data: [record.user[-1] for record in data.records]  # noqa: E731
    assert asked(load(tmp_path / "set")) == ["d", "a", "b"]
    assert asked(load(tmp_path / "set", config="math")) == ["a", "b"]
    assert asked(load(tmp_path / "set", split="test")) == ["c"]
    for settings, message in [
        ({"split": "dev"}, "set: holds no data files of split 'dev'"),
        ({"config": "science"}, "science: no such folder, for config='science'"),
    ]:
        with pytest.raises(LiftError, match=message):
            load(tmp_path / "set", **settings)


class OnHub(list):
    """Rows as `datasets.load_dataset` gives them, with what it knows of their origin."""

    _fingerprint = "f1"

    class info:
        download_checksums = {f"hf://datasets/simplescaling/s1K@{'ab' * 20}/data/train.parquet": None}


def test_from_the_hub_at_the_pinned_revision(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "datasets.load_dataset", lambda *args, **options: asked.append((args, options)) or OnHub([S1K])
    )
    data = load("s1k")
    how = {"split": "train", "trust_remote_code": False}
    assert asked == [(("simplescaling/s1K", None), {**how, "revision": PUBLISHED["s1k"].revision})]
    assert only(data).origin == "simplescaling/s1K:1"
    origin = data.manifest()["sources"][0]["origin"]
    assert origin["revision"] == "ab" * 20 and origin["fingerprint"] == "f1"
    load("somebody/chats", config="all", split="train[:10]", revision="v2")
    assert asked[1] == (("somebody/chats", "all"), {**how, "split": "train[:10]", "revision": "v2"})


def test_without_the_hub(monkeypatch):
    with pytest.raises(
        LiftError, match=r"^divelab/LIFT-SFT-12K at its newest revision cannot be read .*LIFT-SFT"
    ) as error:
        load("lift-sft-12k")
    assert "\n" not in str(error.value)


def test_the_benchmarks_test_questions_are_not_trained_on():
    with pytest.raises(LiftError, match="is what lift_gsm8k evaluates on"):
        load("gsm8k", split="test")


def test_pinned_revisions_are_whole_commits():
    pinned = {name: known.revision for name, known in PUBLISHED.items() if known.revision}
    assert set(PUBLISHED) - set(pinned) == {"lift-sft-12k", "llama-nemotron", "dolci-think-rl"}
    assert all(len(commit) == 40 and int(commit, 16) for commit in pinned.values())
    assert pinned["gsm8k"] == benchmarks.SOURCES["gsm8k_train"].hub[3]


# ---------------------------------------------------------------- filters, draws
def test_filters_count_what_they_leave_out(write, tokenizer):
    rows = [*ROWS, {"prompt": "p", "response": " \n", "source": "a", "level": 0}]
    rows += [{"prompt": "", "response": "r", "source": "a", "level": 2}]
    source = DataSource(
        source=write(rows), where={"source": "a", "level": [0, 2, 4, 6, 8]}, max_chars=len("question 8") + 8
    )
    data = load_data([source], token_counter(tokenizer))
    assert [len(record.response) for record in data.records] == [1, 3, 5, 7]
    (summary,) = data.sources
    assert (summary.read, summary.kept) == (22, 4)
    assert dict(summary.dropped) == {"where": 15, "max_chars": 1, "empty": 2}


def test_filters_on_tokens_count_prompt_and_response(write, tokenizer):
    def length(row):
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}],
            tokenize=False,
        )
        return len(tokenizer(chat, add_special_tokens=False)["input_ids"])

    lengths = [length(row) for row in ROWS]
    low, high = sorted(lengths)[4], sorted(lengths)[12]
    source = DataSource(source=write(ROWS), min_tokens=low, max_tokens=high)
    data = load_data([source], token_counter(tokenizer))
    expected = [row["response"] for row, n in zip(ROWS, lengths, strict=True) if low <= n <= high]
    assert [record.response for record in data.records] == expected
    dropped = {"min_tokens": sum(n < low for n in lengths), "max_tokens": sum(n > high for n in lengths)}
    assert dict(data.sources[0].dropped) == {name: count for name, count in dropped.items() if count}
    with pytest.raises(LiftError, match="min_tokens and max_tokens need the model's tokenizer"):
        load_data([source])


def test_a_draw_keeps_the_order_and_does_not_depend_on_it(write):
    path = write(ROWS)
    drawn = [record.response for record in load(path, n=7, seed=3).records]
    assert len(drawn) == 7 and drawn == sorted(drawn, key=len)
    assert set(drawn) != {row["response"] for row in ROWS[:7]}
    again = [record.response for record in load(write(ROWS[::-1], "b.jsonl"), n=7, seed=3).records]
    assert again == drawn[::-1]
    assert drawn != [record.response for record in load(path, n=7, seed=4).records]
    assert load(path, n=7).sources[0].dropped == {"not drawn": 13}
    assert set(drawn) < {record.response for record in load(path, n=8, seed=3).records}
    assert len(load(path, n=20).records) == 20


def test_every_row_is_drawn_about_as_often(write):
    path = write(ROWS)
    times = dict.fromkeys((row["response"] for row in ROWS), 0)
    for seed in range(200):
        for record in load(path, n=5, seed=seed).records:
            times[record.response] += 1
    assert min(times.values()) > 25 and max(times.values()) < 80  # 50 each, standard deviation 6


# ---------------------------------------------------------------- ids, hash, split


texts = st.text(max_size=6)
records = st.builds(lambda user, response: Record((("user", user),), response), texts, texts)


@given(st.lists(records, max_size=12), st.randoms())
def test_ids_follow_the_content(rows, random):
    ids = stable_ids(rows)
    assert len(set(ids)) == len(ids) and all(0 <= i < 2**63 for i in ids)
    order = random.sample(range(len(rows)), len(rows))
    shuffled = stable_ids([rows[i] for i in order])
    found = lambda rows, ids: sorted(zip(map(repr, rows), ids, strict=True))  # noqa: E731
    assert found(rows, ids) == found([rows[i] for i in order], shuffled)


def test_ids_are_int64_and_tell_copies_apart():
    one = Record((("user", "a"),), "b", origin="x:1")
    copy, other = (
        Record((("user", "a"),), "b", origin="y:9"),
        Record((("user", "a"),), "b", prefix="<reasoning>"),
    )
    first, second, third = stable_ids([one, copy, other])
    assert len({first, second, third}) == 3
    assert stable_ids([copy]) == [first] and stable_ids([other]) == [third]


@given(st.lists(records, min_size=1, max_size=8), st.data())
def test_the_hash_is_that_of_the_content_in_order(rows, data):
    i = data.draw(st.integers(0, len(rows) - 1))
    changed = data.draw(records)
    other = [*rows[:i], changed, *rows[i + 1 :]]
    assert (content_hash(other) == content_hash(rows)) == (changed == rows[i])
    assert (content_hash(rows[::-1]) == content_hash(rows)) == (rows[::-1] == rows)
    assert content_hash([*rows, changed]) != content_hash(rows)


def test_a_text_does_not_run_into_the_next():
    assert content_hash([Record((("user", "ab"),), "c")]) != content_hash([Record((("user", "a"),), "bc")])


many = st.lists(records, min_size=30, max_size=60, unique_by=lambda record: record.messages)


@hypothesis_settings(max_examples=40)
@given(many, st.randoms(), st.integers(0, 3))
def test_a_split_survives_reordering_and_new_rows(rows, random, seed):
    try:
        train, validation = validation_split(rows, 0.4, seed)
    except LiftError:  # all on one side: one in a million
        return
    assert len(train) + len(validation) == len(rows)
    assert [row for row in rows if row in validation] == validation
    shuffled = random.sample(rows, len(rows))
    new = [Record((("user", f"a new question {i}"),), "") for i in range(5)]
    train_2, validation_2 = validation_split([*new, *shuffled], 0.4, seed)
    assert set(validation) <= set(validation_2) and set(train) <= set(train_2)


def test_shares_and_counts_of_a_split():
    rows = [Record((("user", str(i)),), "answer") for i in range(2000)]
    _, validation = validation_split(rows, 0.1)
    assert 150 < len(validation) < 250  # 200, standard deviation 13
    _, other = validation_split(rows, 0.1, seed=1)
    assert len(set(validation) & set(other)) < 60  # 20
    train, hundred = validation_split(rows, 100)
    assert len(hundred) == 100 and len(train) == 1900
    _, with_new = validation_split([*rows, *(Record((("user", f"new {i}"),), "") for i in range(100))], 100)
    assert len(set(with_new) & set(hundred)) > 80
    assert validation_split(rows, 0) == (rows, [])
    for share in (-1, 1.5, 2000, 1e-9):
        with pytest.raises(LiftError, match="validation="):
            validation_split(rows, share)


def test_copies_of_a_question_are_on_one_side():
    rows = [Record((("user", str(i % 50)),), str(i)) for i in range(200)]
    for share in (0.3, 10):
        train, validation = validation_split(rows, share)
        assert not {row.user for row in train} & {row.user for row in validation}
    assert len(validation) == 40  # ten questions, four answers each
