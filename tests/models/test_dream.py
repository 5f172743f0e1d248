"""Dream against the official implementation's logits and decoding transcripts."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lift_harness.decoding import DecodingConfig, Request, generate, run
from lift_harness.errors import LiftError
from lift_harness.models.configuration_dream import DreamConfig
from lift_harness.models.modeling_dream import DreamModel

MEASURE = {
    "maskgit_plus": "low_confidence",
    "entropy": "entropy",
    "topk_margin": "margin",
    "confidence_threshold": "low_confidence",
}


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "golden" / "dream-tiny"


@pytest.fixture(scope="module")
def model(folder):
    return DreamModel.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def stored(folder):
    return json.loads((folder / "decode.json").read_text())


@pytest.fixture
def tied(tmp_path):
    torch.manual_seed(0)
    shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    ids = dict(vocab_size=60, mask_token_id=58, eos_token_id=59, pad_token_id=59, bos_token_id=59)
    return DreamModel(DreamConfig(**shape, **ids, num_key_value_heads=2, tie_word_embeddings=True)).eval()


# ---- logits


@pytest.mark.parametrize("length", [7, 33, 64])
@torch.inference_mode()
def test_logits_are_the_official_ones(model, folder, length):
    golden = load_file(folder / "logits.safetensors")
    raw = model(golden[f"len{length}.input_ids"]).logits
    assert (raw - golden[f"len{length}.logits_raw"]).abs().max() < 5e-4


@torch.inference_mode()
def test_padded_logits_are_the_official_ones(model, folder):
    golden = load_file(folder / "logits.safetensors")
    mask = golden["leftpad.attention_mask"]
    raw = model(golden["leftpad.input_ids"], mask).logits
    assert (raw - golden["leftpad.logits_raw"])[mask.bool()].abs().max() < 5e-4


@torch.inference_mode()
def test_chosen_columns_are_those_of_the_whole(tied):
    ids = torch.randint(0, 58, (2, 9))
    whole, at = tied.hidden_states(ids), torch.tensor([[8, 1, 3], [0, 7, 7]])
    assert torch.allclose(tied.hidden_states(ids, at=at), whole.gather(1, at[:, :, None].expand(-1, -1, 32)))
    where = torch.rand(2, 9) < 0.5
    assert torch.allclose(tied(ids, logits_mask=where).logits, tied(ids).logits[where], atol=1e-6)


# ---- decoding


def config_of(transcript) -> DecodingConfig:
    remasking = MEASURE[transcript["alg"]]
    common = dict(steps=transcript["steps"], remasking=remasking, early_stop=False)
    if transcript["algo"] == "diffusion_generate":
        n = transcript["max_new_tokens"]
        return DecodingConfig(
            gen_length=n,
            block_length=n,
            schedule="dream",
            eps=transcript["eps"],
            top_k=transcript["top_k"] or 0,
            confidence_from="sampling",  # with top_k the reference renormalises before it scores
            **common,
        )
    if transcript["alg"] == "confidence_threshold":
        common |= dict(schedule="threshold", threshold=transcript["threshold"])
    else:
        common |= dict(schedule="dream")
    return DecodingConfig(
        gen_length=transcript.get("gen_length") or transcript["max_new_tokens"],
        block_length=transcript["block_length"],
        cache=transcript["algo"].split("_")[-1],
        **common,
    )


@pytest.mark.parametrize("algo", ["diffusion_generate", "fastdllm_block_prefix", "fastdllm_block_dual"])
def test_ids_and_order_equal_the_official_transcripts(model, stored, algo):
    transcripts = [t for t in stored["single"] if t["algo"] == algo and t["alg"] != "origin"]
    assert len(transcripts) >= 18
    requests = [Request(tuple(stored["prompts"][t["prompt"]]), config_of(t)) for t in transcripts]
    outs = run(model, requests, mask_id=stored["mask_token_id"], batch_size=18)
    for transcript, request, out in zip(transcripts, requests, outs, strict=True):
        first = len(request.ids)
        assert [*request.ids, *out.ids] == transcript["final_ids"]
        order = [[first + i for i, _, _ in step] for step in out.history()]
        assert order == [step for step in transcript["unmask_order"] if step]
        empty = sum(not step for step in transcript["unmask_order"])
        assert out.forward_passes == transcript["nfe"] - empty  # those that commit nothing are not made


def test_a_ragged_batch_equals_the_official_padded_batch(model, stored):
    for transcript in stored["batched_leftpad"]:
        n = transcript["max_new_tokens"]
        config = DecodingConfig(
            gen_length=n,
            block_length=n,
            steps=transcript["steps"],
            schedule="dream",
            remasking=MEASURE[transcript["alg"]],
            early_stop=False,
        )
        prompts = [stored["prompts"][name] for name in transcript["rows"]]
        outs = generate(model, prompts, config, mask_id=stored["mask_token_id"])
        assert [out.ids for out in outs] == [ids[-n:] for ids in transcript["final_ids"]]


# ---- files


def test_a_round_trip_keeps_every_bit_and_the_official_names(model, folder, tmp_path):
    model.save_pretrained(tmp_path)
    again, official = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert again.keys() == official.keys()
    assert all(torch.equal(again[name], official[name]) for name in official)
    config = json.loads((tmp_path / "config.json").read_text())
    theirs = json.loads((folder / "config.json").read_text())
    same = ["model_type", "hidden_size", "num_key_value_heads", "mask_token_id", "vocab_size", "eos_token_id"]
    assert {key: config[key] for key in same} == {key: theirs[key] for key in same}


def test_tied_weights_are_saved_once(tied, tmp_path):
    tied.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    ids = torch.randint(0, 58, (1, 5))
    again = DreamModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again(ids).logits, tied(ids).logits)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not supported for Dream .expected 'silu'"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling="),
        ({"use_sliding_window": True}, "use_sliding_window=True"),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3 do not divide"),
    ],
)
def test_a_configuration_that_means_something_else_is_refused(values, message):
    with pytest.raises(LiftError, match=message):
        DreamConfig(**values)
