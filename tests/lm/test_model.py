"""`lift_dlm` as lm-eval sees it. The answers come from lift-tiny, the model inside the package."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lm_eval
import pytest
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from lift_harness.errors import LiftError
from lift_harness.lm.model import LiftDLM
from lift_harness.models.chat import encode_examples
from lift_harness.models.checkpoint import BUILT_IN
from lift_harness.tasks import prompts
from lift_harness.tasks.protocol import load_task


@pytest.fixture(scope="module", autouse=True)
def no_machine_report():
    """lm-eval lists the installed packages after every evaluation, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
        yield


@pytest.fixture(scope="module")
def lm():
    return LiftDLM(pretrained="lift-tiny", batch_size=4)


def evaluate(lm, limit=4, repeats=1, task="lift_sudoku_mini", **kwargs):
    return lm_eval.simple_evaluate(
        model=lm,
        tasks=[load_task(task, repeats=repeats)],
        task_manager=TaskManager(include_defaults=False),
        limit=limit,
        bootstrap_iters=2,
        **kwargs,
    )


def answers(results, task="lift_sudoku_mini"):
    return [sample["resps"][0] for sample in results["samples"][task]]


def request(context, doc_id=0, repeats=1, task="other", **kwargs):
    return Instance("generate_until", {}, (context, kwargs), 0, metadata=(task, doc_id, repeats))


def test_the_evaluation_prompt_is_the_training_prompt(lm):
    sample = evaluate(lm, limit=1)["samples"]["lift_sudoku_mini"][0]
    context = sample["arguments"][0][0]
    user = prompts.user_turn(prompts.INSTRUCTIONS["sudoku"], prompts.sudoku_question(sample["doc"]["Puzzle"]))
    turns = [{"role": "user", "content": user}]
    (trained_on,) = encode_examples(lm.tokenizer, [turns], [prompts.GEN_PREFIX], ["x"])
    assert list(lm.resolve([request(context)])[0].prompt) == trained_on.prompt
    assert context.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n<reasoning>")


def test_lm_evals_own_chat_template_flag_gives_the_same_prompt(lm):
    ours, theirs = evaluate(lm, limit=2), evaluate(lm, limit=2, apply_chat_template=True)
    key = "lift_sudoku_mini"
    assert [s["arguments"] for s in ours["samples"][key]] == [s["arguments"] for s in theirs["samples"][key]]


def test_without_chat_template_the_prompt_is_plain_text():
    plain = LiftDLM(pretrained="lift-tiny", chat_template=False)
    context = evaluate(plain, limit=1)["samples"]["lift_sudoku_mini"][0]["arguments"][0][0]
    assert context.startswith(prompts.INSTRUCTIONS["sudoku"]) and context.endswith("\n<reasoning>")


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_answers_do_not_depend_on_the_batch_size(lm, temperature):
    found = []
    for size in (1, 3, 16):
        lm.batch_size = size
        found.append(answers(evaluate(lm, gen_kwargs={"temperature": temperature})))
    lm.batch_size = 4
    assert found[0] == found[1] == found[2]


def test_samples_are_distinct_and_reproducible_one_by_one(lm):
    four = answers(evaluate(lm, limit=2, repeats=4, gen_kwargs={"temperature": 1.0}))
    two = answers(evaluate(lm, limit=2, repeats=2, gen_kwargs={"temperature": 1.0}))
    other_seed = answers(evaluate(lm, limit=2, repeats=4, gen_kwargs={"temperature": 1.0, "seed": 7}))
    assert [texts[:2] for texts in four] == two
    assert any(len(set(texts)) > 1 for texts in four)
    assert other_seed != four


def test_pass_at_k_over_repeats_has_standard_errors(lm):
    row = evaluate(lm, limit=3, repeats=4, gen_kwargs={"temperature": 1.0})["results"]["lift_sudoku_mini"]
    for name in ("pass@1", "pass@2", "pass@4", "avg@4", "acc", "solved"):
        assert 0 <= row[f"{name},none"] <= 1
        assert isinstance(row[f"{name}_stderr,none"], float)


def test_several_samples_at_temperature_zero_are_refused(lm):
    with pytest.raises(LiftError, match="2 samples a problem at temperature 0"):
        evaluate(lm, limit=1, repeats=2)


def test_what_was_used_is_in_the_results(lm):
    config = evaluate(lm, limit=1, gen_kwargs={"steps": 8, "remasking": "margin"})["config"]
    used = config["decoding"]["lift_sudoku_mini"]
    assert (used["steps"], used["remasking"], used["gen_length"], used["temperature"]) == (
        8,
        "margin",
        40,
        0.0,
    )
    assert config["decoding_statistics"]["forward_passes"] >= 8


def test_stop_strings_and_token_limit_of_stock_tasks(lm):
    whole, cut, short = lm.generate_until(
        [request("1+1", until=[]), request("1+1", until=["1"]), request("1+1", until=[], max_gen_toks=3)],
        disable_tqdm=True,
    )
    assert "1" not in cut and whole.startswith(cut)
    assert len(lm.tokenizer(short)["input_ids"]) <= 3


def test_the_request_kwargs_are_left_alone(lm):
    kwargs = {"until": ["\n"], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}
    instance = Instance("generate_until", {}, ("1+1", kwargs), 0, metadata=("other", 0, 1))
    lm.generate_until([instance], disable_tqdm=True)
    assert kwargs == {"until": ["\n"], "max_gen_toks": 8, "do_sample": False, "temperature": 0.0}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"stepz": 4}, "unknown gen_kwarg 'stepz'; did you mean steps"),
        ({"gen_length": 30, "block_length": 32}, "gen_length=30 is not divisible by block_length=32"),
        (
            {"steps": 7, "gen_length": 64, "block_length": 32},
            "steps=7 is not divisible by the number of blocks",
        ),
        ({"schedule": "threshold"}, "needs threshold"),
    ],
)
def test_a_bad_gen_kwarg_is_one_line(lm, kwargs, message):
    with pytest.raises(LiftError, match=message) as error:
        lm.generate_until([request("1+1", **kwargs)], disable_tqdm=True)
    assert "\n" not in str(error.value)


def test_a_bad_model_arg_is_one_line():
    with pytest.raises(LiftError, match="unknown model arg 'gen_lenght'; did you mean gen_length"):
        LiftDLM(pretrained="lift-tiny", gen_lenght=3)


def test_a_prompt_longer_than_the_context_names_task_and_doc(lm):
    with pytest.raises(LiftError, match="some_task doc 7: the prompt has .* tokens"):
        lm.generate_until([request("7 " * 600, doc_id=7, task="some_task")], disable_tqdm=True)


def lm_eval_command(*args):
    # "-c" and not the script's path: the same entry point, in this interpreter.
    code = "import sys; from lm_eval.__main__ import cli_evaluate; sys.exit(cli_evaluate())"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *args],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(sys.executable).parent,
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_stock_command_evaluates_what_is_inside_the_package(name):
    done = lm_eval_command(
        *("--model", "lift_dlm", "--model_args", f"pretrained={name}"),
        *("--tasks", "lift_sudoku_mini", "--limit", "2", "--batch_size", "auto"),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "lift_sudoku_mini" in done.stdout and "solved" in done.stdout


def test_the_stock_command_reports_bad_input_in_one_line():
    done = lm_eval_command(
        "--model", "lift_dlm", "--model_args", "pretrained=/no/such/model", "--tasks", "lift_sudoku_mini"
    )
    assert done.returncode == 2
    assert "error: no model folder '/no/such/model'" in done.stderr
    assert "Traceback" not in done.stderr


# ---- prompts that do not fit, stop strings, statistics


def test_truncate_left_keeps_the_end_of_the_prompt_and_is_counted():
    lm = LiftDLM(pretrained="lift-tiny", truncate="left", gen_length=32, steps=8)
    long, short = request("7 " * 600 + "end", doc_id=7), request("1+1", doc_id=8)
    asked = lm.resolve([long, short])
    context = lm.model.config.max_position_embeddings
    assert len(asked[0].prompt) == context - 32
    assert list(asked[0].prompt) == lm.tokenizer(long.args[0])["input_ids"][-(context - 32) :]
    assert (asked[0].truncated > 0, asked[1].truncated) == (True, 0)
    lm.generate_until([long, short], disable_tqdm=True)
    assert lm.get_model_info()["decoding_statistics"]["truncated_prompts"] == 1


def test_a_stop_string_ends_the_request_at_its_block():
    lm = LiftDLM(pretrained="lift-tiny", gen_length=64, block_length=8, steps=64)
    (whole,) = lm.generate_until([request("1+1", until=[])], disable_tqdm=True)
    passes = lm.counts["forward_passes"]
    stop = whole[2]
    (cut,) = lm.generate_until([request("1+1", until=[stop])], disable_tqdm=True)
    assert cut == whole.split(stop)[0]
    assert lm.counts["forward_passes"] < passes


def test_a_token_limit_saves_the_blocks_behind_it():
    lm = LiftDLM(pretrained="lift-tiny", gen_length=64, block_length=8, steps=64, early_stop=False)
    lm.generate_until([request("1+1", until=[], max_gen_toks=9)], disable_tqdm=True)
    assert lm.counts["forward_passes"] == 16


def test_statistics_say_what_it_took(lm):
    results = evaluate(lm, limit=3, gen_kwargs={"early_stop": False})
    config, found = results["config"], results["config"]["decoding_statistics"]
    assert (found["requests"], found["forward_passes"], found["decoded_tokens"]) == (3, 60, 120)
    answers = [line["resps"][0][0] for line in results["samples"]["lift_sudoku_mini"]]
    texts = [re.split(r"<\|(?:endoftext|eot_id)\|>", answer)[0] for answer in answers]
    tokens = sum(len(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    assert found["tokens"] == tokens < 120
    assert found["tokens_per_forward_pass"] == round(tokens / 60, 3)
    assert found["tasks"] == {
        "lift_sudoku_mini": {"requests": 3, "forward_passes": 60, "tokens": tokens},
    }
    assert found["calls"] == 20 and found["canvases"] == 60  # three requests shared each pass
    assert found["tokens_per_second"] == pytest.approx(found["tokens"] / found["seconds"], rel=0.01)
    assert config["decoding"]["lift_sudoku_mini"]["exact"] is True
    cached = evaluate(lm, limit=1, gen_kwargs={"cache": "dual"})["config"]
    assert cached["decoding"]["lift_sudoku_mini"]["exact"] is False


def test_tokens_are_counted_up_to_the_stop_string():
    lm = LiftDLM(pretrained="lift-tiny", gen_length=64, block_length=8, steps=64)
    (whole,) = lm.generate_until([request("1+1", until=[])], disable_tqdm=True)
    everything = lm.counts["tokens"]
    assert everything == len(lm.tokenizer(whole, add_special_tokens=False)["input_ids"])
    (cut,) = lm.generate_until([request("1+1", until=[whole[5:8]])], disable_tqdm=True)
    assert cut == whole.split(whole[5:8])[0]
    assert lm.counts["tokens"] == len(lm.tokenizer(cut, add_special_tokens=False)["input_ids"]) < everything


def test_auto_batch_size_gives_the_same_answers(lm):
    auto = LiftDLM(pretrained="lift-tiny", batch_size="auto:4", token_budget=500)
    assert answers(evaluate(auto, limit=6)) == answers(evaluate(lm, limit=6))
    assert auto.counts["calls"] < auto.counts["canvases"]


@pytest.mark.parametrize("size", ["0", "-1", "many", 0])
def test_a_bad_batch_size_is_one_line(size):
    with pytest.raises(LiftError, match="batch_size=.* must be auto or a whole number"):
        LiftDLM(pretrained="lift-tiny", batch_size=size)
