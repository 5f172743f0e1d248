"""Whole trainings of models with blocks and experts: adapters, the router, resuming, merging."""

import json
import math
import shutil
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.checkpoints import all_tensors
from support.families_reference import CONFIGS, Reference, random_tensors, shapes, write_family
from support.llada_reference import EOS, MASK, VOCAB, softmax
from support.objectives_reference import make_batch
from transformers import AutoModelForMaskedLM

from lift_harness.errors import LiftError
from lift_harness.models import families  # noqa: F401 (makes transformers know them)
from lift_harness.models.tiny import tiny_config
from lift_harness.pipeline.data import block_size_of
from lift_harness.pipeline.preview import AtTime, hidden_tokens
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.schema import NewModel
from lift_harness.training import LoraSettings, TrainSettings, get_objective, train
from lift_harness.training.data import Example
from lift_harness.training.objectives.base import joined

BLOCK = 4
TOKENIZER = SimpleNamespace(eos_token_id=EOS, mask_token_id=MASK)
SETTINGS = {
    "learning_rate": 1e-2,
    "batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_steps": 3,
    "logging_steps": 1,
    "save_steps": 1,
    "save_total_limit": None,
    "lora": None,
}


def example(i: int) -> Example:
    rng = np.random.default_rng(i)
    return Example(i, rng.integers(0, MASK, 3).tolist(), rng.integers(0, MASK, 6 + i % 4).tolist())


def shape_of(family):
    return {"vocab_size": VOCAB, "bd_size" if family == "fast-dllm" else "block_size": BLOCK}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """base(family): a random checkpoint."""
    root = tmp_path_factory.mktemp("bases")
    return lambda family: write_family(root / family, family, **shape_of(family))


def fit(base, output, objective, resume=False, validation=(), **values):
    settings = TrainSettings(**SETTINGS | values)
    model = AutoModelForMaskedLM.from_pretrained(base)
    texts, more = [example(i) for i in range(8)], {"resume": resume, "validation": validation}
    return train(model, TOKENIZER, texts, objective, settings, output, 3, **more)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("family", ["sdar", "llada2"])
@pytest.mark.parametrize(("name", "options"), [("lift", {}), ("vanilla", {"noise": "block"})])
def test_a_stopped_training_goes_on_bit_for_bit(base, tmp_path, family, name, options):
    """With dropout, whose draws are a part of what is restored."""
    values = {"lora": LoraSettings(r=2, alpha=4, dropout=0.3)}
    objective = get_objective(name, **options)
    whole, log = fit(base(family), tmp_path, objective, **values)
    for step in (2, 3):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    again, log_again = fit(base(family), tmp_path, objective, resume=True, **values)
    assert [line["loss"] for line in log_again] == [line["loss"] for line in log]
    expected, found = weights(whole), weights(again)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def nelbo_of_a_block(logits_of, before, block):
    """-E over orders of the sum of log p of each token of a block, given those before it in the order."""
    total, orders, known = 0.0, list(permutations(range(len(block)))), {}
    for order in orders:
        shown = [MASK] * len(block)
        for i in order:
            if (key := tuple(shown)) not in known:
                known[key] = logits_of([*before, *shown])
            total -= math.log(softmax(known[key][len(before) + i])[block[i]])
            shown[i] = block[i]
    return total / len(orders)


@pytest.mark.parametrize("family", ["sdar", "fast-dllm"])
def test_the_nelbo_is_that_of_the_blocks_one_after_the_other(base, tmp_path, family):
    """Of the formula, in nats a token; Fast-dLLM v2 predicts the token at i at i - 1."""
    validation, config = [example(20), example(21)], CONFIGS[family] | shape_of(family)
    values = {"validation": validation, "eval_steps": 1, "max_steps": 1, "learning_rate": 1e-12}
    _, log = fit(base(family), tmp_path, get_objective("lift"), **values)
    reference, early = Reference(config, random_tensors(config)), family == "fast-dllm"

    def logits_of(ids):
        logits = reference(ids, BLOCK)
        return np.concatenate((logits[:1], logits[:-1])) if early else logits

    total = 0.0
    for one in validation:
        ids, first = one.prompt + one.response, len(one.prompt)
        for start in range(first // BLOCK * BLOCK, len(ids), BLOCK):
            begin = max(start, first)
            total += nelbo_of_a_block(logits_of, ids[:begin], ids[begin : start + BLOCK])
    expected = total / sum(len(one.response) for one in validation)
    assert [line["eval_nelbo"] for line in log if "eval_nelbo" in line] == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize("noise", ["sequence", "block"])
def test_the_log_tells_what_lift_did_with_rows_or_blocks(base, tmp_path, noise):
    """With noise of blocks each has a regime: those of a prompt, and where nothing is masked, have none."""
    wanted, seen = get_objective("lift", noise=noise), []

    def objective(model, batch, key, num_items=None):
        found = wanted(model, batch, key, num_items)
        times = found.t[found.supervised.any(-1)].tolist()
        seen.append(["hardest" if t < 1 / 3 else "easiest" if t >= 2 / 3 else "random" for t in times])
        return found

    _, log = fit(base("sdar"), tmp_path, objective)
    assert [len(regimes) > SETTINGS["batch_size"] for regimes in seen] == [noise == "block"] * 3
    for regimes, line in zip(seen, log, strict=True):
        for name in ("hardest", "random", "easiest"):
            assert line[f"regime_{name}"] == pytest.approx(regimes.count(name) / len(regimes))


@pytest.mark.parametrize(
    ("family", "modules", "adapted"),
    [
        ("sdar", None, {"q_proj", "k_proj", "v_proj"}),
        ("llada2", None, {"query_key_value", "dense"}),
        ("llada2", ["query_key_value", "up_proj"], {"query_key_value", "up_proj"}),
    ],
)
def test_adapters_are_on_attention_unless_asked_and_merge_into_the_official_format(
    base, tmp_path, family, modules, adapted
):
    lora = LoraSettings(r=2, alpha=4, dropout=0.0, target_modules=modules)
    model, _ = fit(base(family), tmp_path, get_objective("vanilla"), lora=lora)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == adapted
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    config = AutoModelForMaskedLM.from_pretrained(base(family)).config.to_dict()
    stored = all_tensors(tmp_path / "merged")
    assert {name: tuple(t.shape) for name, t in stored.items()} == shapes(config)
    original = all_tensors(base(family))
    changed = {name for name, t in stored.items() if not torch.equal(t, original[name])}
    assert {name.split(".")[-2] for name in changed} <= adapted and changed


@pytest.mark.parametrize("router", ["trained", "frozen"])
@pytest.mark.parametrize("family", ["llada2", "sdar_moe"])
def test_a_router_is_trained_unless_it_is_to_be_frozen(base, tmp_path, family, router):
    model, _ = fit(base(family), tmp_path, get_objective("vanilla"), router=router)
    before, after = weights(AutoModelForMaskedLM.from_pretrained(base(family))), weights(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    routers = {name for name in before if name.endswith("mlp.gate.weight")}
    assert routers and changed >= {name for name in before if name.endswith("norm.weight")}
    assert (routers & changed) == (routers if router == "trained" else set())
    assert not any("expert_bias" in name for name in changed)  # a buffer: no gradient reaches a choice


def test_there_must_be_a_router_to_freeze(base, tmp_path):
    with pytest.raises(LiftError, match="training.router='frozen': the model has no experts"):
        fit(base("sdar"), tmp_path / "none", get_objective("vanilla"), router="frozen")
    assert not (tmp_path / "none").exists()


def test_examples_that_share_rows_train_to_the_same_weights(base, tmp_path):
    """Of one length, so that rows of their own have no padding: two in a row, and one in the next."""
    texts = [Example(i, one.prompt, one.response[:6]) for i, one in enumerate(map(example, range(8)))]
    found, passes = [], []
    for pack_to in (None, 20):
        settings = TrainSettings(**SETTINGS | {"batch_size": 3, "max_steps": 4, "pack_to": pack_to})
        model = AutoModelForMaskedLM.from_pretrained(base("sdar"))
        output = tmp_path / str(pack_to)
        trained, log = train(model, TOKENIZER, texts, get_objective("lift"), settings, output, 3)
        found.append((weights(trained), [line["loss"] for line in log]))
        passes.append(json.loads((output / "passes.json").read_text()))
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-4)
    for name, tensor in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    assert passes[1]["forward_passes"] < 0.8 * passes[0]["forward_passes"]


def test_rows_are_shared_by_models_with_blocks_only(base, tmp_path):
    settings = TrainSettings(**SETTINGS | {"pack_to": 20})
    model = AutoModelForMaskedLM.from_pretrained(base("sdar"))
    model.config.block_size = None
    with pytest.raises(LiftError, match="training.pack_to=20: the model has no blocks"):
        train(model, TOKENIZER, [example(0)], get_objective("vanilla"), settings, tmp_path / "run", 0)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValidationError, match="pack_to=20 and pad_to=30: packed rows have no padding"):
        TrainSettings(pack_to=20, pad_to=30)


@pytest.mark.parametrize("noise", ["sequence", "block"])
@pytest.mark.parametrize("name", ["vanilla", "lift"])
def test_the_preview_shows_what_is_hidden(base, name, noise):
    """With the model and without it: of a LIFT row at t = 0.5 the same, since no model is asked."""
    model = AutoModelForMaskedLM.from_pretrained(base("sdar"))
    batch = make_batch([(5, 9), (3, 8)])
    objective, key = get_objective(name, noise=noise), AtTime(0, 0, 0.5)
    found = objective(model, batch, key)
    hidden = hidden_tokens(objective, batch, key, model)
    assert torch.equal(hidden, joined(found.supervised, 14)) and hidden.any()
    assert torch.equal(hidden_tokens(objective, batch, key, block_size=model.block_size), hidden)


def test_a_new_model_has_blocks_where_a_recipe_asks(tokenizer):
    """Lift-tiny's numbers in SDAR's format; without blocks a recipe's key is what it was."""
    assert NewModel().shape == {"d_model": 128, "n_layers": 4, "mlp_hidden_size": 512}
    recipe = load_recipe("lift-tiny-block-base")
    assert block_size_of(recipe) == 8 and block_size_of(load_recipe("lift-tiny-base")) is None
    config = tiny_config(tokenizer, **recipe.model.shape)
    like = tiny_config(tokenizer)
    assert config.model_type == "sdar" and config.block_size == 8
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    ids = ("mask_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings", "rope_theta")
    assert all(getattr(config, key) == getattr(like, key) for key in (*sizes, *ids))
