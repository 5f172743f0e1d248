"""Two tokens a step where nobody says `steps`: the same in Python, in lm-eval and on the command line."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from lift_harness.cli import main
from lift_harness.decoding import DecodingConfig, generate
from lift_harness.decoding.config import merge
from lift_harness.errors import LiftError
from lift_harness.interactive.session import Session
from lift_harness.lm.model import LiftDLM
from lift_harness.models import load_model
from lift_harness.tasks.catalog import decoding_settings, task_names

# (settings, block_length, steps): written by hand
PACES = [
    ({}, 32, 64),
    ({"gen_length": 256}, 32, 128),
    ({"gen_length": 64}, 32, 32),
    ({"gen_length": 32}, 32, 16),
    ({"gen_length": 16}, 16, 8),
    ({"gen_length": 7}, 7, 3),
    ({"gen_length": 1}, 1, 1),
    ({"gen_length": 6, "block_length": 3}, 3, 2),
    ({"gen_length": 4, "block_length": 1}, 1, 4),
    ({"gen_length": 64, "block_length": 64}, 64, 32),
    ({"gen_length": 64, "steps": 64}, 32, 64),
    ({"gen_length": 64, "steps": None}, 32, 32),
]


@pytest.fixture(scope="module")
def lm():
    return LiftDLM(pretrained="lift-tiny", batch_size=4)


@given(st.integers(1, 64), st.integers(1, 24))
def test_the_most_steps_that_are_valid_and_commit_two_tokens_each(block_length, blocks):
    config = DecodingConfig(gen_length=block_length * blocks, block_length=block_length)
    valid = range(blocks, config.gen_length + 1, blocks)
    assert config.steps == max((n for n in valid if 2 * n <= config.gen_length), default=blocks)


@given(st.integers(1, 32))
def test_a_text_shorter_than_a_block_is_one_block(gen_length):
    for config in (
        DecodingConfig(gen_length=gen_length),
        DecodingConfig().replace(gen_length=gen_length),
        DecodingConfig(gen_length=512).replace(gen_length=gen_length),
        Session("tiny", None, None, {"gen_length": gen_length}).config,
    ):
        assert (config.block_length, config.steps) == (gen_length, max(1, gen_length // 2))


@pytest.mark.parametrize(("settings", "block_length", "steps"), PACES, ids=lambda value: str(value))
def test_every_way_in_has_the_same_pace(settings, block_length, steps, lm):
    config = DecodingConfig(**settings)
    assert (config.block_length, config.steps) == (block_length, steps)
    assert DecodingConfig.of({"gen_length": 96, "steps": 3}, {"gen_length": 128} | settings) == config
    assert Session("tiny", None, None, settings).config == config.replace(cache="none")
    instance = Instance("generate_until", {}, ("1+1", {"until": [], **settings}), 0, metadata=("x", 0, 1))
    lm.generate_until([instance], disable_tqdm=True)
    used = lm.get_model_info()["decoding"]["x"]
    assert (used["gen_length"], used["block_length"], used["steps"]) == (
        config.gen_length,
        block_length,
        steps,
    )


@pytest.mark.parametrize("gen_length", [64, 16, 7])
def test_as_many_passes_in_python_in_lm_eval_and_on_the_command_line(gen_length, lm, monkeypatch, capsys):
    settings = {"gen_length": gen_length, "early_stop": False}
    model, tokenizer = load_model("lift-tiny")
    prompt = tokenizer("1+1=?")["input_ids"]
    (out,) = generate(model, [prompt], DecodingConfig(**settings), mask_id=tokenizer.mask_token_id)
    instance = Instance("generate_until", {}, ("1+1=?", {"until": [], **settings}), 0, metadata=("x", 0, 1))
    lm.generate_until([instance], disable_tqdm=True)
    words = ["--set", f"gen_length={gen_length}", "--set", "early_stop=false", "--raw", "--json"]
    monkeypatch.setattr(sys, "argv", ["lift-harness", "generate", "1+1=?", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ids"] == out.ids
    passes = (out.forward_passes, lm.counts["forward_passes"], shown["forward_passes"])
    assert passes == (gen_length // 2,) * 3
    assert shown["settings"]["steps"] == gen_length // 2


def test_a_stronger_gen_length_takes_back_the_steps_of_the_weaker():
    task = {"gen_length": 256, "block_length": 32, "steps": 64, "temperature": 0.1}
    of = DecodingConfig.of
    assert of(task).steps == 64
    assert of(task, {"temperature": 0.5}).steps == 64
    assert of(task, {"gen_length": 512}) == of({"gen_length": 512, "temperature": 0.1})
    assert of(task, {"gen_length": 512, "steps": 128}).steps == 128  # from the same source
    assert of(task, {"gen_length": 512}, {"steps": 128}).steps == 128  # from a stronger one
    assert of(task, {"steps": 32}, {"gen_length": 512}).steps == 256
    assert of(task, {"steps": None}).steps == 128
    assert merge(task, {"steps": 8}) == task | {"steps": 8}
    assert of(task, {"block_length": 64}).steps == 64


def test_a_copy_keeps_what_was_chosen_and_follows_where_nothing_was():
    chosen = DecodingConfig(gen_length=64, steps=64)
    assert chosen.replace(temperature=0.5).steps == 64
    assert chosen.replace(gen_length=128).steps == 64  # the protocol's pace
    assert DecodingConfig().replace(block_length=1).steps == 128
    assert DecodingConfig(gen_length=48, block_length=16).replace(gen_length=64).block_length == 16


def test_spelled_out_or_not_is_the_same_config():
    assert DecodingConfig() == DecodingConfig(gen_length=128, block_length=32, steps=64)
    spelled = DecodingConfig(gen_length=16, block_length=16, steps=8)
    assert vars(DecodingConfig(gen_length=16)) == vars(spelled)


def test_the_tasks_own_steps_are_the_protocols_pace():
    for name in task_names():
        spelled = decoding_settings(name)
        unset = {key: value for key, value in spelled.items() if key != "steps"}
        assert DecodingConfig(**spelled) == DecodingConfig(**unset), name


def test_a_block_that_was_asked_for_must_fit():
    with pytest.raises(LiftError, match="gen_length=16 is not divisible by block_length=32"):
        DecodingConfig(gen_length=16, block_length=32)
    with pytest.raises(LiftError, match="gen_length=100 is not divisible by block_length=32"):
        DecodingConfig(gen_length=100)
