"""What a checkpoint's data makes us compute comes to an end: templates, patterns, sizes, nesting, links."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import DREAM, LLADA, write_checkpoint

from lift_harness.doctor.checkpoint import examine
from lift_harness.errors import LiftError
from lift_harness.models import bounded, load_model
from lift_harness.models.chat import render_chat, render_chats
from lift_harness.models.checkpoint import BUILT_IN, member, read_json
from lift_harness.models.without_weights import tokenizer_of

USER = [{"role": "user", "content": " a <b>\n{{ 1 }} é \U0001f642 "}]
TALK = [{"role": "system", "content": "Be brief."}, *USER, {"role": "assistant", "content": " Yes. \n"}]


@pytest.fixture
def tokenizer():
    return tokenizer_of("lift-tiny")[0]


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(BUILT_IN["lift-tiny"], tmp_path / "model"))


@pytest.fixture
def impatient(monkeypatch):
    """Templates and patterns get half a second, and processes that are started for them."""
    for worker in (bounded.TEMPLATES, bounded.PATTERNS):
        worker.close()
        monkeypatch.setattr(worker, "command", [*worker.command[:2], "0.5", str(1 << 30)])
    yield
    for worker in (bounded.TEMPLATES, bounded.PATTERNS):
        worker.close()


def change(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def problem(folder, **options):
    """The one line with which a checkpoint is refused, by doctor as by loading."""
    with pytest.raises(LiftError) as error:
        load_model(str(folder), device="cpu", **options)
    assert "\n" not in str(error.value)
    assert str(error.value) in examine(str(folder), **options).problems
    return str(error.value)


# ---- chat templates

TEMPLATES = {
    "own": None,
    "spaces": "{% for m in messages %}\n  {{ m.role }}: {{ m['content'] | trim }}\n{% endfor %}\n",
    "json": "{{ messages | tojson(indent=1) }}{{ eos_token }}{{ bos_token is defined }}",
    "prompt": "{% for m in messages %}<{{ m.content }}>{% endfor %}{{ 'A:' if add_generation_prompt }}",
    "marked": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("add", [True, False])
def test_a_chat_is_rendered_as_transformers_renders_it(name, add, tokenizer):
    tokenizer.chat_template = TEMPLATES[name] or tokenizer.chat_template
    if name == "json" and not add:
        pytest.skip("JSON cannot be continued, which transformers says too")
    expected = [
        tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=add, continue_final_message=not add
        )
        for chat in (TALK, USER)
    ]
    assert render_chats(tokenizer, [TALK, USER], add) == expected
    assert [render_chat(tokenizer, chat, add) for chat in (TALK, USER)] == expected


ENDLESS = {
    "a loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a string": "{% set n = namespace(s='a') %}{% for a in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "an output": "{{ messages[0].content }}" + "{% for a in range(9000) %}{{ 'a' * 9000 }}{% endfor %}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_an_end_is_one_line(name, folder, impatient):
    (folder / "chat_template.jinja").write_text(ENDLESS[name])
    assert "the chat template " in problem(folder)
    assert render_chat(tokenizer_of("lift-tiny")[0], USER)  # by a new process


def test_a_template_that_loops_for_some_messages_only(tokenizer, impatient):
    loop = "{% if messages | length > 1 %}" + ENDLESS["a loop"] + "{% endif %}"
    tokenizer.chat_template = loop + tokenizer.chat_template
    assert render_chat(tokenizer, USER)
    with pytest.raises(LiftError, match="^the chat template does not come to an end within"):
        render_chat(tokenizer, TALK)


@pytest.mark.parametrize("template", [5, ["a"], [{"name": "default", "template": 5}]])
def test_a_template_that_is_no_text(template, folder):
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    change(folder / "tokenizer_config.json", chat_template=template)
    assert problem(folder)


def test_of_several_templates_the_default_is_taken(folder):
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    templates = [
        {"name": "default", "template": "{{ messages[0].content }}!"},
        {"name": "b", "template": "b"},
    ]
    change(folder / "tokenizer_config.json", chat_template=templates)
    tokenizer, _ = tokenizer_of(str(folder))
    assert render_chat(tokenizer, [{"role": "user", "content": "hi"}]) == "hi!"


# ---- adapters


@pytest.fixture
def base(tmp_path, tokenizer):
    return write_checkpoint(tmp_path / "base", tokenizer, LLADA, vocab_size=700, embedding_size=700)


@pytest.fixture
def adapter(base, tmp_path):
    from peft import LoraConfig, get_peft_model

    model, _ = load_model(str(base), device="cpu")
    settings = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])
    get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


STARS = "(.*)*" * 8 + "x"


@pytest.mark.parametrize(
    "changes",
    [{"target_modules": STARS}, {"rank_pattern": {STARS: 4}}, {"modules_to_save": [STARS]}],
    ids=["targets", "ranks", "saved"],
)
def test_a_pattern_without_an_end_is_one_line(changes, base, adapter, impatient):
    change(adapter / "adapter_config.json", **changes)
    message = problem(base, peft=str(adapter))
    assert "the comparison of its patterns ('(.*)*" in message and "does not come to an end" in message


def test_a_pattern_that_is_none(base, adapter):
    change(adapter / "adapter_config.json", target_modules="(q_proj")
    assert "'(q_proj' is no regular expression" in problem(base, peft=str(adapter))


def test_a_pattern_of_the_usual_kind(base, adapter):
    change(adapter / "adapter_config.json", target_modules=r".*\.(q_proj|v_proj)")
    load_model(str(base), peft=str(adapter), device="cpu")
    assert examine(str(base), peft=str(adapter)).problems == []


def test_an_adapter_without_half_of_its_tensors(base, adapter):
    file = adapter / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "lora_B" not in name}, file)
    assert "lacks 4 tensors, the first 'base_model.model.model." in problem(base, peft=str(adapter))


def test_modules_that_do_not_exist(base, adapter):
    change(adapter / "adapter_config.json", target_modules=["nothing"])
    assert "does not fit this model: Target modules {'nothing'} not found" in problem(base, peft=str(adapter))


@pytest.mark.parametrize(
    "changes", [{"r": 10**9}, {"r": 0}, {"r": -3}, {"r": "x"}, {"rank_pattern": {"q_proj": 9}}], ids=str
)
def test_ranks_that_are_not_those_of_the_file(changes, base, adapter):
    change(adapter / "adapter_config.json", **changes)
    assert "does not fit this model" in problem(base, peft=str(adapter))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_of_no_numbers(value, base, adapter):
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[1]
    tensors[name][0, 0] = value
    save_file(tensors, file)
    with pytest.raises(LiftError, match=f"{name} holds NaN or infinity"):
        load_model(str(base), peft=str(adapter), device="cpu")


def test_weights_that_an_adapter_takes_beyond_their_dtype(base, adapter):
    file = adapter / "adapter_model.safetensors"
    save_file({name: torch.full_like(tensor, 1e4) for name, tensor in load_file(file).items()}, file)
    with pytest.raises(LiftError, match="with .*q_proj.weight holds NaN or infinity at float16"):
        load_model(str(base), peft=str(adapter), device="cpu", dtype="float16")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("key", ["lora_alpha", "lora_dropout"])
def test_numbers_of_an_adapter_are_finite(key, text, base, adapter):
    file = adapter / "adapter_config.json"
    content = json.loads(file.read_text()) | {key: "HERE"}
    file.write_text(json.dumps(content).replace('"HERE"', text))
    assert "is not a finite number" in problem(base, peft=str(adapter))


# ---- config.json


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llada", {"n_layers": 10**6}, "n_layers=1e+06 is more than any model has (1,000)"),
        ("dream", {"num_hidden_layers": 10**6}, "num_hidden_layers=1e+06 is more than any model has"),
        ("dream", {"vocab_size": 10**30}, "vocab_size=1e+30 is more than any model has"),
        ("llada", {"n_layers": True}, "n_layers=True must be of type int"),
        ("llada", {"n_layers": 0}, "n_layers=0 must be at least 1"),
        ("llada", {"d_model": -32}, "d_model=-32 must be at least 1"),
        ("llada", {"rope_theta": 0}, "rope_theta=0 must be above 0"),
        ("dream", {"rope_theta": -1.5}, "rope_theta=-1.5 must be above 0"),
        ("llada", {"rope_theta": "x"}, "rope_theta='x' must be of type float"),
        ("llada", {"rope_theta": float("nan")}, "NaN is not a finite number"),
        ("dream", {"rope_theta": float("inf")}, "Infinity is not a finite number"),
        ("llada", {"rms_norm_eps": float("nan")}, "NaN is not a finite number"),
        ("dream", {"rms_norm_eps": -1e-5}, "rms_norm_eps=-1e-05 must be above 0"),
        ("llada", {"n_heads": 32}, "makes heads of an odd size"),
        ("dream", {"num_attention_heads": 32, "num_key_value_heads": 32}, "makes heads of an odd size"),
        ("llada", {"mask_token_id": [1.5]}, "mask_token_id=[1.5], which is no id"),
        ("dream", {"rope_parameters": {"rope_theta": -1.0}}, "rope_theta=-1.0 must be above 0"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_no_model_has(family, changes, message, tokenizer, tmp_path):
    sizes = {"vocab_size": 700} | ({"embedding_size": 700} if family == "llada" else {})
    base = write_checkpoint(tmp_path / "base", tokenizer, LLADA if family == "llada" else DREAM, **sizes)
    change(base / "config.json", **changes)
    begun = time.process_time()
    assert message in problem(base)
    assert time.process_time() - begun < 60  # it would be hours


@pytest.mark.parametrize(("text", "message"), [
    ("[" * 100_000, "nested more than 32 levels deep"),
    ('{"a":' * 40 + "1" + "}" * 40, "nested more than 32 levels deep"),
    ('{"a": 1' + " " * (1 << 26) + "}", "more than 64 MiB of JSON"),
    ('{"a": NaN}', "NaN is not a finite number"),
    ("[1]", "holds a list, not a JSON object"),
], ids=["list", "object", "size", "nan", "kind"])  # fmt: skip
def test_json_that_no_checkpoint_has(text, message, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(LiftError, match=message):
        read_json(tmp_path / "a.json")


def test_json_that_does_not_end():
    with pytest.raises(LiftError, match="more than 64 MiB of JSON"):
        read_json(Path("/dev/zero"))


# ---- other files


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""])
def test_an_index_names_files_of_its_folder_only(name, base):
    weights = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    (base / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(weights, name)})
    )
    save_file(weights, base.parent / "x.safetensors")
    message = problem(base)
    assert any(
        words in message for words in ("a path; only its own", "is no file", "leads out of its folder")
    )


FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors",
         "special_tokens_map.json"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_folder_is_not_followed(name, folder, tmp_path):
    file, elsewhere = folder / name, tmp_path / "elsewhere"
    elsewhere.write_bytes(file.read_bytes() if file.exists() else b"{}")
    file.unlink(missing_ok=True)
    file.symlink_to(elsewhere)
    assert f"leads out of its folder, to {elsewhere}" in problem(folder)


def test_links_into_the_hubs_cache_are_followed(folder, tmp_path):
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, file in enumerate(folder.iterdir()):
        shutil.copyfile(file, cache / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    (snapshot / "b.txt").symlink_to("config.json")
    model, tokenizer = load_model(str(snapshot), device="cpu")
    assert examine(str(snapshot)).problems == [] and tokenizer.chat_template
    assert member(snapshot, "b.txt").read_text() == (folder / "config.json").read_text()


def test_weights_beside_those_that_were_checked_are_not_read(folder):
    """transformers 5 takes such shards, and an adapter in the folder, in place of and beside the weights."""
    expected = load_file(folder / "model.safetensors")
    other = {name: tensor + 1 for name, tensor in expected.items()}
    save_file(other, folder / "shard-00000-model-00001-of-00001.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    model, _ = load_model(str(folder), device="cpu")
    found = model.state_dict()
    assert all(torch.equal(found[name], tensor.to(found[name].dtype)) for name, tensor in expected.items())


def test_the_folder_that_transformers_sees_is_gone_afterwards(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    load_model(str(folder), device="cpu")
    assert not list(tmp_path.glob("lift-harness-*"))
    assert threading.active_count() < 20
