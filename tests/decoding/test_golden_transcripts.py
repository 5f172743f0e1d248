"""Decoding against transcripts of the published decoders (../shared/golden/README.md)."""

import json

import pytest

from lift_harness.decoding import DecodingConfig, Request, run
from lift_harness.decoding.schedules import dream
from lift_harness.models.modeling_llada import LLaDAModelLM

MODELS = ["llada-tiny", "llada-tiny-gqa"]
TRANSCRIPTS = {
    "official": 21,
    "fastdllm_nocache": 12,
    "fastdllm_prefix": 45,
    "fastdllm_dual": 45,
    "dllm_fastdllm_nocache": 9,
    "dllm_fastdllm_prefix": 9,
    "dllm_fastdllm_dual": 9,
}
SETTINGS = ("gen_length", "block_length", "steps", "cfg_scale", "threshold", "factor")


@pytest.fixture(scope="module", params=MODELS)
def golden(request, shared):
    folder = shared / "golden" / request.param
    model = LLaDAModelLM.from_pretrained(folder).eval()
    return model, json.loads((folder / "decode.json").read_text())


def config_of(transcript, **changes) -> DecodingConfig:
    values = {name: transcript[name] for name in SETTINGS if transcript.get(name) is not None}
    schedule = next((name for name in ("threshold", "factor") if name in values), "fixed")
    last = transcript["algo"].split("_")[-1]
    cache = last if last in ("prefix", "dual") else "none"
    return DecodingConfig(**values, schedule=schedule, cache=cache, early_stop=False).replace(**changes)


def decode(golden, transcripts, batch_size=48, **changes):
    """(transcript, its prompt, our result) of each, the settings mixed in batches."""
    model, stored = golden
    prompts = [stored["prompts"][t["prompt"]] for t in transcripts]
    requests = [
        Request(tuple(prompt), config_of(t, **changes))
        for t, prompt in zip(transcripts, prompts, strict=True)
    ]
    outs = run(model, requests, mask_id=stored["mask_token_id"], batch_size=batch_size)
    return list(zip(transcripts, prompts, outs, strict=True))


def order(out, start):
    """Positions committed by each step, as in the transcripts."""
    return [[start + i for i, _, _ in step] for step in out.history()]


@pytest.mark.parametrize("algo", TRANSCRIPTS)
def test_ids_order_passes_and_confidences_equal_the_published_decoders(golden, algo):
    stored = golden[1]
    transcripts = [t for t in stored["single"] if t["algo"] == algo]
    assert len(transcripts) == TRANSCRIPTS[algo]
    # What the references do wrong (masks left in the output, passes for nothing) is not among these.
    assert not any(stored["mask_token_id"] in t["final_ids"] for t in transcripts)
    assert all(all(t["unmask_order"]) for t in transcripts)
    for transcript, prompt, out in decode(golden, transcripts):
        assert prompt + out.ids == transcript["final_ids"]
        assert order(out, len(prompt)) == transcript["unmask_order"]
        assert out.forward_passes == transcript["nfe"]
        confidences = [[sure for _, _, sure in step] for step in out.history()]
        for ours, theirs in zip(confidences, transcript.get("unmask_conf", confidences), strict=True):
            assert ours == pytest.approx(theirs, abs=2e-5)


def test_the_transcripts_with_confidences_are_all_but_those_of_dllm(golden):
    without = {t["algo"] for t in golden[1]["single"] if "unmask_conf" not in t}
    assert without == {algo for algo in TRANSCRIPTS if algo.startswith("dllm")}


def test_a_padded_batch_equals_the_official_padded_batch(golden):
    stored = golden[1]
    assert len(stored["batched_leftpad"]) == 3
    for batch in stored["batched_leftpad"]:
        rows = [batch | {"prompt": name} for name in batch["rows"]]
        length, padded = batch["gen_length"], len(batch["input_ids"][0])
        decoded = decode(golden, rows)
        assert [out.ids for _, _, out in decoded] == [ids[-length:] for ids in batch["final_ids"]]
        for n, (_, _, out) in enumerate(decoded):
            theirs = batch["unmask_order"][n]
            assert order(out, padded) == theirs
            assert out.forward_passes == batch["nfe"]


@pytest.mark.parametrize("speculate, prompts", [(2, ["p16"]), (4, ["p5"])])
def test_speculation_gives_the_published_ids_and_order_in_fewer_passes(golden, speculate, prompts):
    official = [t for t in golden[1]["single"] if t["algo"] == "official" and not t["cfg_scale"]]
    transcripts = [t for t in official if t["prompt"] in prompts]
    assert len(transcripts) == 6 * len(prompts)
    decoded = decode(golden, transcripts, speculate=speculate)
    for transcript, prompt, out in decoded:
        assert prompt + out.ids == transcript["final_ids"]
        assert order(out, len(prompt)) == transcript["unmask_order"]
        assert transcript["nfe"] / speculate <= out.forward_passes <= transcript["nfe"]
        confidences = [sure for step in out.history() for _, _, sure in step]
        assert confidences == pytest.approx(sum(transcript["unmask_conf"], []), abs=2e-5)
    assert sum(out.forward_passes for _, _, out in decoded) < sum(t["nfe"] for t in transcripts)


def test_the_dream_schedule_commits_as_many_a_step_as_dreams_own_code(shared):
    stored = json.loads((shared / "golden" / "dream-tiny" / "decode.json").read_text())
    transcripts = [t for t in stored["single"] if t["algo"] == "diffusion_generate" and t["alg"] != "origin"]
    assert len(transcripts) >= 18
    for transcript in transcripts:
        masks, steps = transcript["max_new_tokens"], transcript["steps"]
        config = DecodingConfig(
            gen_length=masks, block_length=masks, steps=steps, schedule="dream", eps=transcript["eps"]
        )
        left, counts = masks, []
        for step in range(steps):
            counts.append(dream(config, masks, left, step))
            left -= counts[-1]
        assert counts == [len(step) for step in transcript["unmask_order"]]
