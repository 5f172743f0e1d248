"""Which setting wins: the default, then the task's file, model args, --gen_kwargs, whatever their values."""

import json

import lm_eval
import pytest
import yaml
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from lm_eval.utils import simple_parse_args_string

from lift_harness.cli import main
from lift_harness.decoding import DecodingConfig
from lift_harness.errors import LiftError
from lift_harness.lm import evaluation
from lift_harness.lm.model import LiftDLM
from lift_harness.lm.requests import configure
from lift_harness.models.without_weights import shape_of
from lift_harness.tasks.protocol import ProtocolTask

SUDOKU = "lift_sudoku_mini"
MODEL = shape_of("lift-tiny")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """lm-eval lists the installed packages after every evaluation, which takes seconds."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    monkeypatch.setattr(evaluation, "environment", lambda: {})


def evaluate(model_args="", gen_kwargs=None, task=SUDOKU, limit=2):
    """(what the results file says of the decoding, the answers)."""
    found = lm_eval.simple_evaluate(
        model="lift_dlm",
        model_args=f"pretrained=lift-tiny,{model_args}",
        tasks=[task],
        gen_kwargs=gen_kwargs,
        task_manager=TaskManager(include_defaults=False),
        limit=limit,
        bootstrap_iters=0,
    )
    return found["config"]["decoding"][task], [sample["resps"][0] for sample in found["samples"][task]]


# ---------------------------------------------------------------- through lm-eval


def test_a_temperature_of_zero_wins_against_a_model_arg():
    greedy = evaluate()
    sampled = evaluate("temperature=0.7", limit=8)
    asked = evaluate("temperature=0.7", "temperature=0")
    assert sampled[0]["temperature"] == 0.7
    assert sampled[1] != evaluate(limit=8)[1]
    assert asked == greedy and asked[0]["temperature"] == 0


def test_a_token_limit_equal_to_the_protocols_is_honoured():
    longer = "gen_length=80,block_length=40,early_stop=false"
    whole, answers = evaluate(longer)
    assert (whole["gen_length"], whole["max_gen_toks"]) == (80, 80)
    used, cut = evaluate(longer, "max_gen_toks=40")
    assert (used["gen_length"], used["max_gen_toks"]) == (80, 40)
    for (text,), (start,) in zip(answers, cut, strict=True):
        assert text.startswith(start) and len(text) > len(start)


def test_a_length_without_steps_brings_the_protocols_pace():
    used, _ = evaluate(gen_kwargs="gen_length=80")
    assert (used["gen_length"], used["block_length"], used["steps"]) == (80, 40, 40)
    used, _ = evaluate("steps=10")  # stronger than the task's length
    assert (used["gen_length"], used["steps"]) == (40, 10)
    used, _ = evaluate("steps=10", "gen_length=80")
    assert used["steps"] == 40


def test_the_word_none_is_a_word():
    used, _ = evaluate("cache=dual", "cache=none")
    assert (used["cache"], used["exact"]) == ("none", True)
    used, _ = evaluate("cache=none", {"cache": "prefix"})
    assert (used["cache"], used["exact"]) == ("prefix", False)
    used, _ = evaluate("schedule=threshold,threshold=0.9", "schedule=fixed,threshold=none")
    assert used["threshold"] is None


def test_the_last_evaluation_of_a_loaded_model_does_not_linger():
    lm = LiftDLM(pretrained="lift-tiny", temperature=0.7)
    scores = []
    for gen_kwargs in ({"temperature": 0}, {}, {"temperature": 0.0}):
        scores.append(evaluation.evaluate(lm, [SUDOKU], label="x", limit=2, gen_kwargs=gen_kwargs))
        assert lm.used[SUDOKU]["temperature"] == (0.7 if not gen_kwargs else 0)
    assert scores[0] == scores[2]


def test_lift_harness_eval_ranks_alike(monkeypatch, tmp_path):
    args = ["eval", "-m", "lift-tiny", "--tasks", "sudoku_mini", "--limit", "1", "--output", str(tmp_path)]
    args += ["--model_args", "temperature=0.7,cache=dual", "--gen_kwargs", "temperature=0,cache=none"]
    monkeypatch.setattr("sys.argv", ["lift-harness", *args])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    (file,) = tmp_path.rglob("results_*.json")
    results = json.loads(file.read_text())
    used = results["config"]["decoding"][SUDOKU]
    assert (used["temperature"], used["cache"]) == (0, "none")
    asked = {"until": [], "max_gen_toks": 40, "temperature": 0, "cache": None}
    assert results["configs"][SUDOKU]["generation_kwargs"] == asked


def test_what_a_user_puts_in_place_of_the_tasks_own_is_asked_for():
    group = {
        "group": "mine",
        "task": [{"task": SUDOKU, "generation_kwargs": {"until": [], "temperature": 0.5}}],
    }
    lm = LiftDLM(pretrained="lift-tiny", temperature=0.7)
    lm_eval.simple_evaluate(
        lm, tasks=[group], task_manager=TaskManager(include_defaults=False), limit=1, bootstrap_iters=0
    )
    assert (lm.used[SUDOKU]["temperature"], lm.used[SUDOKU]["gen_length"]) == (0.5, 40)


def test_a_task_that_was_not_bound_is_decoded_by_its_protocol_too():
    """Without the plugin a request holds what it holds for any model."""
    lm = LiftDLM(pretrained="lift-tiny", truncate="left", seed=3)
    kwargs = {"until": [], "max_gen_toks": 256}
    lm.resolve([Instance("generate_until", {}, ("1+1", kwargs), 0, metadata=("lift_gsm8k", 0, 1))])
    used = lm.used["lift_gsm8k"]
    assert (used["gen_length"], used["steps"], used["max_gen_toks"], used["seed"]) == (256, 128, 256, 3)


# ---------------------------------------------------------------- any task's kwargs


def test_another_tasks_own_kwargs_are_stronger_than_model_args():
    """lm-eval merges them with the user's before a model sees them."""
    stock = {"until": ["Q:"], "do_sample": False, "temperature": 0.0, "max_gen_toks": 32}
    config, until, limit = configure(stock, {"temperature": 0.7, "seed": 3}, MODEL)
    assert (config.temperature, config.seed, until, limit) == (0.0, 3, ("Q:",), 32)
    config, _, limit = configure({"until": [], "do_sample": False, "temperature": 0.5}, {}, MODEL)
    assert (config.temperature, limit) == (0.0, config.gen_length)
    assert configure({"max_new_tokens": 5}, {}, MODEL)[2] == 5
    assert configure({"max_gen_toks": 1000}, {}, MODEL)[2] == config.gen_length


@pytest.mark.parametrize("value", ["many", 0, -3, [1]])
def test_a_token_limit_that_is_none_is_one_line(value):
    with pytest.raises(LiftError, match="max_gen_toks") as error:
        configure({"max_gen_toks": value}, {}, MODEL)
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- all four sources

VALUES = {
    "gen_length": ["32", "64", "96", "128"],
    "steps": ["24", "48"],  # 1, 2, 3, 4, 6 and 8 blocks divide them
    "block_length": ["16", "32"],
    "temperature": ["0", "0.0", "0.2", "1"],
    "top_k": ["0", "5"],
    "cache": ["none", "prefix", "dual"],
    "remasking": ["low_confidence", "margin"],
    "early_stop": ["true", "false"],
    "seed": ["0", "7"],
}
SOURCE = st.fixed_dictionaries({}, optional={name: st.sampled_from(texts) for name, texts in VALUES.items()})


def typed(name, text):
    """The value that a word stands for, read without lm-eval."""
    if name in ("cache", "remasking"):
        return text
    return text == "true" if name == "early_stop" else float(text)


def strongest(name, sources):
    """The value of a setting, and the rank of its source, 0 the weakest; (None, -1) if none has it."""
    ranked = [(typed(name, source[name]), rank) for rank, source in enumerate(sources) if name in source]
    return ranked[-1] if ranked else (None, -1)


def as_args(source):
    """As lm-eval reads it from a command line."""
    return simple_parse_args_string(",".join(f"{name}={text}" for name, text in source.items()))


def as_yaml(source):
    return {name: yaml.safe_load(text) for name, text in source.items()}


def task_with(decoding):
    """A task of ours with one problem."""
    rows = Dataset.from_list([{"Puzzle": "0" * 16, "Solution": "1" * 16}])
    config = {"task": "mine", "benchmark": "sudoku", "output_type": "generate_until", "test_split": "test"}
    config |= {"custom_dataset": lambda **_: {"test": rows}, "metadata": {"decoding": decoding}}
    return ProtocolTask(config)


@settings(max_examples=150, deadline=None)
@given(task=SOURCE, model=SOURCE, user=SOURCE, limit=st.none() | st.integers(1, 128))
def test_the_strongest_of_four_sources_wins(task, model, user, limit):
    mine = task_with(as_yaml(task))
    asked = as_args(user) | ({} if limit is None else {"max_gen_toks": limit})
    mine.set_config("generation_kwargs", asked, update=True)
    mine.bind(LiftDLM, False)
    request = mine.construct_requests({}, "prompt", metadata=("mine", 0, 1))
    config, _, tokens = configure(request.args[1], as_args(model), MODEL)

    sources = [task, model, user]
    expected = {name: strongest(name, sources)[0] for name in VALUES}
    if strongest("steps", sources)[1] < strongest("gen_length", sources)[1]:
        expected["steps"] = None  # they were for another length
    length = expected["gen_length"] or DecodingConfig().gen_length
    if expected["steps"] is None:
        expected["steps"] = length / 2
    for name, value in expected.items():
        assert getattr(config, name) == (
            getattr(DecodingConfig(cache="none"), name) if value is None else value
        ), name
    assert tokens == min(limit or length, length)
