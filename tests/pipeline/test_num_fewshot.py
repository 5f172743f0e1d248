"""`eval.num_fewshot` of a recipe: worked examples at evaluation, none in training."""

import json

import pytest

from lift_harness.errors import LiftError
from lift_harness.lm import evaluation as lm_evaluation
from lift_harness.pipeline.data import recipe_data
from lift_harness.pipeline.evaluation import check_evaluation, evaluate_checkpoint, evaluation_key
from lift_harness.pipeline.recipe import load_recipe

SMALL = ["eval.tasks=[countdown_mini]", "eval.limit=1", "eval.samples=0", "data.0.n=4", "data.1.n=4"]


def recipe(**evaluation):
    return load_recipe("quickstart", [*SMALL, *(f"eval.{key}={value}" for key, value in evaluation.items())])


def test_a_checkpoint_is_asked_with_examples(monkeypatch, tmp_path):
    monkeypatch.setattr(lm_evaluation, "environment", lambda: {})
    asked = recipe(num_fewshot=1)
    check_evaluation(asked, asked.eval)
    evaluate_checkpoint(asked, asked.eval, None, tmp_path, lambda *_: None)
    (file,) = tmp_path.rglob("results_*.json")
    assert json.loads(file.read_text())["n-shot"] == {"lift_countdown_mini": 1}
    (log,) = tmp_path.rglob("samples_*.jsonl")
    prompt = json.loads(log.read_text().splitlines()[0])["arguments"]["gen_args_0"]["arg_0"]
    assert prompt.count("Target:") == 2


def test_an_evaluation_with_examples_is_another_and_training_is_the_same():
    zero, five = recipe(), recipe(num_fewshot=5)
    keys = [evaluation_key(one, one.eval, "weights") for one in (zero, five)]
    assert keys[0] != keys[1]
    hashes = [recipe_data(one)[2].sha256 for one in (zero, five)]
    assert hashes[0] == hashes[1]


def test_tasks_that_have_none_are_refused_before_training(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    asked = recipe(num_fewshot=5, tasks="[math500]")
    with pytest.raises(
        LiftError, match="lift_math500: num_fewshot=5: there are no training questions for it"
    ):
        check_evaluation(asked, asked.eval)
    with pytest.raises(LiftError, match="num_fewshot"):
        recipe(num_fewshot=-1)
