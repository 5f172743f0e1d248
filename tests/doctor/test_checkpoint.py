"""`doctor` against numbers worked out by hand, and against every kind of damage."""

import json

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoints import DREAM, LLADA, llada_shapes, official_shapes, write_checkpoint, write_weights

from lift_harness.cli import main
from lift_harness.doctor.checkpoint import examine
from lift_harness.doctor.report import gib
from lift_harness.models.checkpoint import BUILT_IN

LLADA_8B = dict(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=32, mlp_hidden_size=12288)


@pytest.fixture
def folder(tokenizer, tmp_path):
    return write_checkpoint(tmp_path / "model", tokenizer, LLADA, shards=2)


def change(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def run(monkeypatch, capsys, *args):
    monkeypatch.setattr("sys.argv", ["lift-harness", "doctor", *map(str, args)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr()


def test_a_sound_checkpoint(folder, tokenizer):
    report = examine(str(folder), prompt_length=20, gen_length=12, memory=1)
    assert report.problems == [] and report.notes == []
    assert (report.model_type, report.model_class, report.logit_shift) == ("llada", "LLaDAModelLM", 0)
    count = sum(torch.Size(shape).numel() for shape in llada_shapes(LLADA).values())
    assert report.parameters == count and report.weights_bytes == report.file_bytes == 4 * count
    assert report.cache_bytes_per_token == 2 * 2 * 32 * 4  # keys and values, layers, width, float32
    assert report.cache_bytes_per_request == 32 * report.cache_bytes_per_token
    assert (report.context, report.embedding_rows, report.tokenizer_size) == (128, 404, 400)
    assert report.ids["mask"].id == tokenizer.mask_token_id and report.ids["mask"].token == "<|mdm_mask|>"
    assert report.ids["mask"].source == "config.json and tokenizer"
    assert report.ids["end of turn"].token == "<|eot_id|>"
    assert "<|start_header_id|>user<|end_header_id|>\n\n2+3=?<|eot_id|>" in report.chat_example
    assert report.largest_batch > report.largest_batch_with_cache > 1


def test_the_shape_of_llada_8b_needs_no_memory(folder, tmp_path):
    """16 GB of weights: only the headers are there. Numbers by hand."""
    for file in folder.glob("model*"):
        file.unlink()
    change(folder, **LLADA_8B, vocab_size=126464, embedding_size=126464, torch_dtype="bfloat16")
    change(folder, max_sequence_length=4096)
    config = json.loads((folder / "config.json").read_text())
    header, end = {}, 0
    for name, shape in llada_shapes(config).items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)  # a hole in the file: takes no disk
    report = examine(str(folder), prompt_length=512, gen_length=256, memory=80)
    assert report.problems == []
    assert report.parameters == 8_015_581_184
    assert report.weights_bytes == report.file_bytes == 16_031_162_368
    assert report.cache_bytes_per_token == 2 * 32 * 4096 * 2  # 512 KiB
    assert report.cache_bytes_per_request == 384 * 2**20
    # A column holds three of the feed-forward's states and five others in bf16; a block's logits come after.
    column, room = 2 * (3 * 12288 + 5 * 4096), 80 * 2**30 - 16_031_162_368
    assert report.largest_batch == room // (768 * column)
    assert report.largest_batch_with_cache == room // (768 * column + 769 * 2**19)
    small = examine(str(folder), memory=10)
    assert small.largest_batch == 0 and "does not fit" in small.notes[0] and small.problems == []


def test_grouped_queries_and_tied_weights(tokenizer, tmp_path):
    folder = write_checkpoint(
        tmp_path, tokenizer, DREAM, dtype=torch.bfloat16, tie_word_embeddings=True, bos_token_id=1
    )
    report = examine(str(folder))
    config = json.loads((folder / "config.json").read_text())
    assert report.problems == [] and report.logit_shift == 1
    assert report.parameters == sum(torch.Size(s).numel() for s in official_shapes(config).values())
    assert report.cache_bytes_per_token == 2 * 2 * 16 * 2  # 2 of 4 heads, bf16
    assert report.dtype == report.stored_dtype == "bfloat16"
    assert "the context holds 128" in report.notes[0]


# ---- problems


def damaged_shard(folder):
    file = folder / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def extra_tensor(folder):
    save_file({"stray": torch.zeros(2)}, folder / "model-00002-of-00002.safetensors")


def no_tokenizer(folder):
    for file in folder.glob("*token*"):
        file.unlink()


def unknown_end_of_turn(folder):
    for file in folder.glob("*.jinja"):
        file.write_text("{{ messages[0]['content'] }}<|im_end|>")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model-00001-of-00002.safetensors").unlink(), "shard"),
        (damaged_shard, "not a whole safetensors file"),
        (extra_tensor, "model-00002-of-00002.safetensors holds"),
        (lambda folder: change(folder, mlp_hidden_size=50), "config.json makes it [50, 32]"),
        (lambda folder: change(folder, model_type="gpt2"), "known: llada, Dream"),
        (lambda folder: change(folder, alibi=True), "alibi=True is not supported"),
        (lambda folder: change(folder, mask_token_id=9), "config.json has mask_token_id=9"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (no_tokenizer, "no tokenizer"),
        (unknown_end_of_turn, "ends turns with a token the tokenizer has not"),
    ],
)
def test_each_damage_is_one_line(damage, message, folder, monkeypatch, capsys):
    damage(folder)
    code, printed = run(monkeypatch, capsys, folder)
    assert code == 2
    assert message in printed.err and printed.err.startswith("problem: ")
    assert "Traceback" not in printed.err and len(printed.err.splitlines()) == 1


def test_several_problems_are_all_found(folder):
    change(folder, mask_token_id=9)
    damaged_shard(folder)
    assert len(examine(str(folder)).problems) == 2


def test_without_a_chat_template_there_is_a_note(folder):
    for file in folder.glob("*.jinja"):
        file.unlink()
    report = examine(str(folder), gen_length=8, prompt_length=8)
    assert report.problems == [] and report.chat_template is False
    assert report.notes == ["no chat template: tasks that are posed as a chat are refused"]


def test_an_adapter(folder, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    settings |= {"layers_to_transform": [1]}
    (adapter / "adapter_config.json").write_text(
        json.dumps(settings | {"base_model_name_or_path": "someone/other"})
    )
    name = "base_model.model.model.transformer.blocks.1.q_proj"
    tensors = {f"{name}.lora_A.weight": torch.zeros(2, 32), f"{name}.lora_B.weight": torch.zeros(32, 2)}
    save_file(tensors, adapter / "adapter_model.safetensors")
    report = examine(str(folder), peft=str(adapter), gen_length=8, prompt_length=8)
    assert report.problems == [] and report.adapter["parameters"] == 128 and report.adapter["r"] == 2
    assert "trained on someone/other" in report.notes[0]
    save_file({f"{name}.lora_A.weight": torch.zeros(2, 16)}, adapter / "adapter_model.safetensors")
    [problem] = examine(str(folder), peft=str(adapter)).problems
    assert "lora_A.weight has shape [2, 16], this model needs [2, 32]" in problem
    assert "no adapter in" in examine(str(folder), peft=str(tmp_path)).problems[0]


# ---- the command


def test_the_screen(folder, monkeypatch, capsys):
    code, printed = run(monkeypatch, capsys, folder, "--gen-length", 32, "--prompt-length", 32, "--memory", 2)
    assert code == 0 and "problem" not in printed.err
    assert len(printed.out.splitlines()) <= 24
    for part in ("LLaDAModelLM", "float32", "<|mdm_mask|>", "2+3=?", "KiB a token", "2.00 GiB --memory"):
        assert part in " ".join(printed.out.split())


def test_json(folder, monkeypatch, capsys):
    code, printed = run(monkeypatch, capsys, folder, "--json")
    found = json.loads(printed.out)
    assert code == 0 and found["sound"] and found["ids"]["mask"]["token"] == "<|mdm_mask|>"
    change(folder, mask_token_id=9)
    code, printed = run(monkeypatch, capsys, folder, "--json")
    assert code == 2 and not json.loads(printed.out)["sound"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_inside_the_package_is_sound(monkeypatch, capsys, name):
    assert run(monkeypatch, capsys, name)[0] == 0


def test_an_encoder(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])
    )
    config = BertConfig(vocab_size=13, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    config.update({"intermediate_size": 24, "max_position_embeddings": 32})
    BertForMaskedLM(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    report = examine(str(tmp_path), gen_length=8, prompt_length=8)
    assert report.problems == [] and report.cache_bytes_per_token is None
    assert report.ids["eos"].token == "[SEP]" and report.ids["eos"].source == "tokenizer's separator"


def test_the_weights_are_not_loaded(folder, monkeypatch):
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *a, **k: pytest.fail("loaded"))
    assert examine(str(folder), gen_length=8, prompt_length=8).problems == []


def test_write_weights_in_one_shard_is_what_doctor_sees(tokenizer, tmp_path):
    folder = write_checkpoint(tmp_path, tokenizer, LLADA)
    tensors = {"model.transformer.wte.weight": torch.zeros(404, 32)}
    write_weights(folder, tensors)
    assert "lacks 20 tensors" in examine(str(folder)).problems[0]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.0 MiB"),
        (2**20, "1.0 MiB"),
        (2**30, "1.00 GiB"),
        (3 * 2**29, "1.50 GiB"),
        (2**41, "2,048.00 GiB"),
    ],
)
def test_sizes_are_gib_or_mib(count, text):
    assert gib(count) == text
