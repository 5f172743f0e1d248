"""Whatever is wrong is said before weights are loaded: the loader is never called."""

import io

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

import lift_harness.tasks
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.lm.before_loading import Unloaded, check_requests
from lift_harness.lm.evaluation import evaluate_model
from lift_harness.pipeline.plan import show_plan
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.train_eval import train_eval
from lift_harness.plugin import startup
from lift_harness.tasks.protocol import load_task

SUDOKU = "lift_sudoku_mini"
FOLDER = next(iter(lift_harness.tasks.__path__))
# what is wrong: model args, gen_kwargs, samples, the message
BAD = [
    ("", "temperature=0", 4, "4 samples a problem at temperature 0 would be identical"),
    ("", "steps=nope", None, "steps='nope' must be a whole number"),
    ("steps=nope", "", None, "steps='nope' must be a whole number"),
    ("stepz=4", "", None, "unknown model arg 'stepz'; did you mean steps"),
    ("", "stepz=4", None, "stepz"),
    ("", "gen_length=30,block_length=20", None, "gen_length=30 is not divisible by block_length=20"),
    ("", "gen_length=500,block_length=20", None, "more than the model's context of"),
    ("schedule=threshold", "", None, "schedule='threshold' needs threshold"),
    ("truncate=right", "", None, "truncate='right' must be left"),
    ("dtype=int8", "", None, "dtype='int8' has no fractions"),
    ("load_in_8bit=True,load_in_4bit=True", "", None, "exclude each other"),
    ("batch_size=none", "", None, "batch_size"),
    ("mask_token_id=999999", "", None, "mask_token_id"),
]


@pytest.fixture(autouse=True)
def _weights_are_not_loaded(monkeypatch):
    for module in ("lift_harness.lm.model", "lift_harness.models.loading", "lift_harness.models"):
        monkeypatch.setattr(f"{module}.load_model", lambda *_, **__: pytest.fail("the weights were loaded"))


def refused(call, message):
    with pytest.raises(LiftError) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("model_args", "gen_kwargs", "samples", "message"), BAD)
def test_eval_refuses_before_loading(model_args, gen_kwargs, samples, message):
    refused(
        lambda: evaluate_model(
            "lift-tiny",
            ["sudoku_mini"],
            model_args=model_args,
            gen_kwargs=gen_kwargs,
            batch_size="auto",
            samples=samples,
        ),
        message,
    )


# lm-eval has no option for samples
@pytest.mark.parametrize(
    ("model_args", "gen_kwargs", "message"), [(a, b, text) for a, b, n, text in BAD if n is None]
)
def test_lm_eval_refuses_before_loading(model_args, gen_kwargs, message):
    startup.install()
    refused(
        lambda: lm_eval.simple_evaluate(
            "lift_dlm",
            model_args=f"pretrained=lift-tiny,{model_args}",
            gen_kwargs=gen_kwargs,
            tasks=["lift_mini"],
            task_manager=TaskManager(include_path=FOLDER, include_defaults=False),
            limit=2,
        ),
        message,
    )


def test_worked_examples_count_in_lm_evals_own_call():
    startup.install()
    refused(
        lambda: lm_eval.simple_evaluate(
            "lift_dlm",
            model_args="pretrained=lift-tiny",
            tasks=["lift_sudoku_mini"],
            task_manager=TaskManager(include_path=FOLDER, include_defaults=False),
            num_fewshot=8,
            limit=2,
        ),
        "more than the model's context of",
    )


RECIPE = [
    ("eval.temperature=0.7 eval.gen_kwargs.steps=nope", "steps='nope' must be a whole number"),
    ("eval.gen_kwargs.gen_length=500 eval.gen_kwargs.block_length=20", "more than the model's context of"),
    ("eval.tasks=[lift_sudoku_mini@520]", "leaves no room for a prompt"),
    ("eval.model_args.steps=nope", "steps='nope' must be a whole number"),
    ("eval.model_args.stepz=4", "unknown model arg 'stepz'; did you mean steps"),
    ("eval.model_args.dtype=int8", "dtype='int8' has no fractions"),
    ("eval.model_args.truncate=right", "truncate='right' must be left"),
    ("eval.batch_size=many", "batch_size='many' must be auto"),
]


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(("overrides", "message"), RECIPE)
def test_a_recipe_is_refused_before_loading(tmp_path, overrides, message, dry):
    recipe = load_recipe("quickstart", overrides.split())
    quiet = Console(file=io.StringIO())
    if dry:
        refused(lambda: show_plan(recipe, tmp_path / "run", None, quiet), message)
    else:
        refused(lambda: train_eval(recipe, tmp_path / "run", console=quiet), message)
    assert not (tmp_path / "run").exists()


def test_only_the_longest_prompt_has_to_fit():
    task, model = load_task(SUDOKU), Unloaded({"pretrained": "lift-tiny"})
    check_requests([task], model)
    words = {"prompts": {SUDOKU: "x" * 4000}}
    refused(
        lambda: check_requests([load_task(SUDOKU, metadata=words)], model),
        "more than the model's context of",
    )
    cut = Unloaded({"pretrained": "lift-tiny", "truncate": "left"})
    check_requests([load_task(SUDOKU, metadata=words)], cut)


@pytest.mark.parametrize("name", ["pretrained", "peft", "batch_size", "response_cache"])
def test_a_recipe_sets_model_and_batch_size_elsewhere(name):
    refused(lambda: load_recipe("quickstart", [f"eval.model_args.{name}=x"]), "is set by the recipe")
