"""A killed evaluation goes on where it was, and never with another checkpoint's or sample's responses."""

import shutil

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from lift_harness.decoding import Generation
from lift_harness.errors import LiftError
from lift_harness.lm.model import LiftDLM
from lift_harness.lm.response_cache import ResponseCache, response_key
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

    def killed(done, total):
        if done == 3:
            raise KeyboardInterrupt

    lm.on_progress = killed
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
