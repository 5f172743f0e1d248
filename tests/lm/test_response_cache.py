"""A killed evaluation goes on where it was, and never with another checkpoint's or sample's responses."""

import json
import os
import shutil
import sqlite3

import lm_eval
import pytest
from lm_eval.tasks import TaskManager
from support.forking import fork, outcome

from lift_harness.decoding import Generation
from lift_harness.errors import LiftError
from lift_harness.lm.model import LiftDLM
from lift_harness.lm.response_cache import ResponseCache, packed, response_key
from lift_harness.models.loading import BUILT_IN
from lift_harness.tasks.protocol import load_task


@pytest.fixture(autouse=True)
def no_machine_report(monkeypatch):
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def evaluate(lm, limit=4, repeats=1, **kwargs):
    results = lm_eval.simple_evaluate(
        model=lm,
        tasks=[load_task("lift_countdown_mini", repeats=repeats)],
        task_manager=TaskManager(include_defaults=False),
        limit=limit,
        bootstrap_iters=2,
        **kwargs,
    )
    texts = [sample["resps"][0] for sample in results["samples"]["lift_countdown_mini"]]
    return texts, results["config"]["decoding_statistics"]


def model(cache=None, **kwargs):
    return LiftDLM(pretrained="lift-tiny", batch_size=2, response_cache=cache and str(cache), **kwargs)


def test_a_killed_evaluation_keeps_what_was_done(tmp_path, monkeypatch):
    whole, _ = evaluate(model())
    lm = model(tmp_path / "responses.db")

    answered = []

    def killed(asked, out):
        answered.append(out)
        if len(answered) == 3:
            raise KeyboardInterrupt

    lm.on_response = killed
    with pytest.raises(KeyboardInterrupt):
        evaluate(lm)
    texts, counts = evaluate(model(tmp_path / "responses.db"))
    assert texts == whole
    assert (counts["from_cache"], counts["requests"]) == (3, 1)


def test_samples_are_kept_apart_and_more_can_be_added(tmp_path):
    file, sampling = tmp_path / "responses.db", {"temperature": 1.0}
    two, _ = evaluate(model(file), limit=2, repeats=2, gen_kwargs=sampling)
    four, counts = evaluate(model(file), limit=2, repeats=4, gen_kwargs=sampling)
    fresh, _ = evaluate(model(), limit=2, repeats=4, gen_kwargs=sampling)
    assert four == fresh
    assert [texts[:2] for texts in four] == two
    assert any(len(set(texts)) > 1 for texts in four)
    assert (counts["from_cache"], counts["requests"]) == (4, 4)


def test_lm_evals_use_cache_is_this_cache(tmp_path):
    path, sampling = str(tmp_path / "cache"), {"temperature": 1.0}
    first, _ = evaluate(model(), limit=2, repeats=3, gen_kwargs=sampling, use_cache=path)
    again, counts = evaluate(model(), limit=2, repeats=3, gen_kwargs=sampling, use_cache=path)
    assert again == first and any(len(set(texts)) > 1 for texts in first)
    assert counts["from_cache"] == 6 and counts.get("requests", 0) == 0
    assert (tmp_path / "cache_rank0.db").is_file()


@pytest.mark.parametrize(
    "other", [{"gen_kwargs": {"steps": 8}}, {"gen_kwargs": {"seed": 5, "temperature": 0.5}}]
)
def test_other_settings_are_decoded_anew(tmp_path, other):
    evaluate(model(tmp_path / "responses.db"), limit=1)
    _, counts = evaluate(model(tmp_path / "responses.db"), limit=1, **other)
    assert (counts["from_cache"], counts["requests"]) == (0, 1)


@pytest.mark.parametrize("same", [{"steps": 16}, {"gen_length": 32}, {"gen_length": 32, "block_length": 32}])
def test_settings_that_are_spelled_out_are_the_same_settings(tmp_path, same):
    evaluate(model(tmp_path / "responses.db"), limit=1)
    _, counts = evaluate(model(tmp_path / "responses.db"), limit=1, gen_kwargs=same)
    assert (counts["from_cache"], counts.get("requests", 0)) == (1, 0)


def test_the_content_of_the_checkpoint_decides_not_its_place(tmp_path):
    lm = model(tmp_path / "responses.db")
    evaluate(lm, limit=1)
    shutil.copytree(BUILT_IN["lift-tiny"], tmp_path / "copy")
    shutil.copytree(BUILT_IN["lift-tiny"], tmp_path / "other")
    lm.model.model.transformer["wte"].weight.data[0, 0] += 1
    lm.model.save_pretrained(tmp_path / "other")

    def from_cache(folder):
        one = LiftDLM(pretrained=str(folder), response_cache=str(tmp_path / "responses.db"))
        return evaluate(one, limit=1)[1]["from_cache"]

    assert from_cache(tmp_path / "copy") == 1
    assert from_cache(tmp_path / "other") == 0


def test_what_is_put_in_comes_out_after_reopening(tmp_path):
    out = Generation([1, 2], [0, 1], [0.25, 0.5], 2)
    key = response_key(prompt=(1, 2), sample=0)
    ResponseCache(tmp_path / "a" / "cache.db").put(key, out)
    again = ResponseCache(tmp_path / "a" / "cache.db")
    assert again.get(key) == out
    assert again.get(response_key(prompt=(1, 2), sample=1)) is None


def test_a_file_that_is_something_else_is_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, and long enough to be read as one" * 100)
    with pytest.raises(LiftError, match="response cache .*notes.txt") as error:
        ResponseCache(tmp_path / "notes.txt")
    assert "\n" not in str(error.value)
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


# ------------------------------------------------------------ damage


def rewrite(file, damage):
    """Change the rows of a cache: damage(key, value) is the new value."""
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT key, value FROM responses").fetchall()
        for key, value in rows:
            database.execute("UPDATE responses SET value = ? WHERE key = ?", (damage(key, value), key))
    database.close()


def changed(value, **fields):
    """A row with other fields under the old checksum."""
    checksum, _, data = value.partition(" ")
    return f"{checksum} {json.dumps({**json.loads(data), **fields})}"


DAMAGE = {
    "truncated": lambda key, value: value[: len(value) // 2],
    "no JSON": lambda key, value: value[:70] + "{" + value[71:],
    "a blob": lambda key, value: b"\x00\xff\xfe" * 9,
    "text that is no UTF-8": lambda key, value: memoryview(b"\xff" * 40),
    "a number": lambda key, value: 7,
    "nothing": lambda key, value: None,
    "empty": lambda key, value: "",
    "negative ids": lambda key, value: changed(value, ids=[-5] * 32),
    "texts for ids": lambda key, value: changed(value, ids=["a"]),
    "another length": lambda key, value: changed(value, step=[0]),
    "no checksum": lambda key, value: value.partition(" ")[2],
    "another response's": lambda key, value: packed("another key", Generation([1], [0], [0.5], 1)),
    "ids that the model lacks": lambda key, value: packed(key, Generation([10**6], [0], [0.5], 1)),
    "lists of other lengths": lambda key, value: packed(key, Generation([1, 2], [0], [0.5], 1)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_row_is_decoded_again_and_counted(tmp_path, caplog, kind):
    file = tmp_path / "responses.db"
    texts, _ = evaluate(model(file), limit=2)
    rewrite(file, DAMAGE[kind])
    again, counts = evaluate(model(file), limit=2)
    assert again == texts
    assert (counts["from_cache"], counts["requests"]) == (0, 2)
    assert "2 of 2 cached responses were damaged" in caplog.text and str(file) in caplog.text
    caplog.clear()
    _, counts = evaluate(model(file), limit=2)
    assert counts["from_cache"] == 2 and "damaged" not in caplog.text


def garbled(data):
    """The header is a database's, the pages are not."""
    return data[:100] + b"\x5a" * (len(data) - 100)


@pytest.mark.parametrize("damage", [garbled, lambda data: data[: len(data) // 2]], ids=["garbled", "cut"])
def test_a_damaged_database_is_moved_aside_and_begun_anew(tmp_path, caplog, damage):
    file, out = tmp_path / "responses.db", Generation([1] * 500, [0] * 500, [0.5] * 500, 1)
    cache = ResponseCache(file)
    for i in range(20):
        cache.put(response_key(sample=i), out)
    cache.close()
    damaged = damage(file.read_bytes())
    for name in ("responses.db.damaged", "responses.db.damaged-2"):
        file.write_bytes(damaged)
        cache = ResponseCache(file)
        assert cache.get(response_key(sample=0)) is None
        cache.put(response_key(sample=0), out)
        assert cache.get(response_key(sample=0)) == out
        cache.close()
        assert (tmp_path / name).read_bytes() == damaged and name in caplog.text


def opened_at_once(cache, n=3):
    """The exit codes of processes that open a cache at the same moment."""
    reading, writing = os.pipe()

    def open_it():
        os.read(reading, 1)
        ResponseCache(cache).close()
        return 0

    waiting = [fork(open_it) for _ in range(n)]
    os.write(writing, bytes(n))
    codes = [outcome(pid) for pid in waiting]
    os.close(reading)
    os.close(writing)
    return codes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_of_a_launch_open_one_cache(tmp_path):
    """Each a new one; without a lock one in thirty is refused as busy."""
    for number in range(40):
        assert opened_at_once(tmp_path / f"{number}.sqlite") == [0, 0, 0]
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_of_a_launch_move_one_damaged_cache_aside(tmp_path):
    for number in range(8):
        cache = tmp_path / str(number) / "cache.sqlite"
        ResponseCache(cache).close()
        cache.write_bytes(garbled(cache.read_bytes()))
        assert opened_at_once(cache) == [0, 0, 0]
        assert len(list(cache.parent.glob("*.damaged*"))) == 1


@pytest.mark.parametrize(
    "table", ["responses (key TEXT PRIMARY KEY)", "responses (prompt, answer)", "responses (key BLOB, v, w)"]
)
def test_a_table_of_another_shape_is_one_line_and_untouched(tmp_path, table):
    file = tmp_path / "theirs.db"
    with sqlite3.connect(file) as database:
        database.execute(f"CREATE TABLE {table}")
    database.close()
    with pytest.raises(LiftError, match="theirs.db' cannot be used .no such column"):
        ResponseCache(file)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.db"]


def test_a_file_that_cannot_be_written_is_refused_before_weights_are_loaded(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("lift_harness.lm.model.load_model", None)
    with pytest.raises(LiftError, match="response cache .*folder"):
        model(tmp_path / "folder")


def test_a_finished_evaluation_leaves_nothing_beside_its_cache(tmp_path):
    lm = model(tmp_path / "responses.db")
    evaluate(lm, limit=2)
    assert [path.name for path in tmp_path.iterdir()] == ["responses.db"]
    _, counts = evaluate(lm, limit=3)  # opened again
    assert (counts["from_cache"], counts["requests"]) == (2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["responses.db"]
