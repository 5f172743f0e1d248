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
    """Those of d1's protocol; what lm-eval's words ask, and what breaks in parallel, is a token a step."""
    others = ("_plain", "_copy", "_reverse", "_sort", "_shuffle", "_latin")
    for name in (name for name in task_names() if not name.endswith(others)):
        spelled = decoding_settings(name)
        unset = {key: value for key, value in spelled.items() if key != "steps"}
        assert DecodingConfig(**spelled) == DecodingConfig(**unset), name


def test_a_block_that_was_asked_for_must_fit():
    with pytest.raises(LiftError, match="gen_length=16 is not divisible by block_length=32"):
        DecodingConfig(gen_length=16, block_length=32)
    with pytest.raises(LiftError, match="gen_length=100 is not divisible by block_length=32"):
        DecodingConfig(gen_length=100)


# ---- tokens_per_step


@given(st.data(), st.integers(1, 48), st.integers(1, 12))
def test_tokens_per_step_is_steps_for_any_length(data, block_length, blocks):
    each = data.draw(st.sampled_from([n for n in range(1, block_length + 1) if block_length % n == 0]))
    lengths = {"gen_length": block_length * blocks, "block_length": block_length}
    config = DecodingConfig(**lengths, tokens_per_step=each)
    assert config == DecodingConfig(**lengths, steps=block_length * blocks // each)
    assert config.recorded == DecodingConfig(**lengths, steps=config.steps).recorded
    longer = config.replace(gen_length=2 * block_length * blocks, block_length=block_length)
    assert (longer.steps, longer.tokens_per_step) == (2 * config.steps, each)
    (half,) = {
        config.replace(steps=blocks).steps,
        longer.replace(steps=2 * blocks).steps // 2,
    }  # takes it back
    assert half == blocks
    assert config.most_passes == config.steps


@given(st.integers(1, 40), st.integers(1, 80))
def test_what_does_not_divide_a_block_is_refused_with_what_does(block_length, each):
    if block_length % each == 0:
        return
    with pytest.raises(
        LiftError, match=f"tokens_per_step={each} does not divide block_length={block_length}"
    ) as e:
        DecodingConfig(gen_length=block_length, block_length=block_length, tokens_per_step=each)
    offered = int(str(e.value).rpartition(" ")[2])
    assert block_length % offered == each % offered == 0
    DecodingConfig(gen_length=block_length, block_length=block_length, tokens_per_step=offered)


def test_of_steps_and_tokens_per_step_the_stronger_source_counts():
    task = {"gen_length": 64, "steps": 32}
    of = DecodingConfig.of
    assert of(task, {"tokens_per_step": 4}).steps == 16
    assert of(task, {"tokens_per_step": 4}, {"gen_length": 128}).steps == 32
    assert of(task, {"tokens_per_step": 4}, {"steps": 8}).steps == 8
    assert of(task, {"tokens_per_step": 4}, {"tokens_per_step": None}).steps == 32
    for values in ({"steps": 32, "tokens_per_step": 2}, {"steps": 8, "tokens_per_step": 2}):
        with pytest.raises(LiftError, match=r"steps=\d+ and tokens_per_step=2 both say the pace; give one"):
            of(task, values)
    for value in (0, -1, 1.5, "2", True):
        with pytest.raises(LiftError, match="tokens_per_step=.* must be a whole number of at least 1"):
            of(task, {"tokens_per_step": value})


def test_tokens_per_step_is_a_setting_everywhere(lm, monkeypatch, capsys):
    settings = {"gen_length": 64, "tokens_per_step": 4, "early_stop": False}
    session = Session("tiny", *load_model("lift-tiny"))
    session.set({"gen_length": 64, "steps": 32, "early_stop": False})
    session.set({"tokens_per_step": 4})  # /set in a chat
    prompt = session.raw_prompt("1+1=?")
    passes = [session.answer(prompt).generation.forward_passes]
    instance = Instance("generate_until", {}, ("1+1=?", {"until": [], **settings}), 0, metadata=("x", 0, 1))
    lm.generate_until([instance], disable_tqdm=True)
    passes.append(lm.counts["forward_passes"])
    model_arg = LiftDLM(pretrained="lift-tiny", tokens_per_step=4)
    instance = Instance(
        "generate_until", {}, ("1+1=?", {"until": [], "gen_length": 64, "early_stop": False}), 0,
        metadata=("x", 0, 1),
    )  # fmt: skip
    model_arg.generate_until([instance], disable_tqdm=True)
    passes.append(model_arg.counts["forward_passes"])
    words = ["--gen_kwargs", "gen_length=64,tokens_per_step=4,early_stop=false", "--raw", "--json"]
    monkeypatch.setattr(sys, "argv", ["lift-harness", "generate", "1+1=?", *words])
    with pytest.raises(SystemExit):
        main()
    shown = json.loads(capsys.readouterr().out)
    assert [*passes, shown["forward_passes"]] == [16] * 4
    assert shown["settings"]["steps"] == 16 and "tokens_per_step" not in shown["settings"]
