"""Block diffusion against transcripts of the published decoders (../shared/golden/README.md, second half)."""

import json
from collections import Counter

import pytest

from lift_harness.decoding import DecodingConfig, Request, run
from lift_harness.models import load_model

# Transcripts by folder and algorithm.
TRANSCRIPTS = {
    "llada2-tiny": {"llada2_generate": 61, "llada21_generate": 52},
    "sdar-tiny": {"sdar_eval": 66, "sdar_sequential": 24},
    "fastdllm-v2-tiny": {"v2_generate": 28, "v2_batch_sample": 48},
    "a2d-qwen3-tiny": {"dllm_bd3lm": 31, "dllm_mdlm": 28},
}
CASES = [(folder, algo) for folder, algos in TRANSCRIPTS.items() for algo in algos]


@pytest.fixture(scope="module")
def golden(shared):
    """golden(folder): its decode.json, and a function that loads its model with blocks of some length."""
    loaded = {}

    def of(folder):
        if folder not in loaded:
            loaded[folder] = json.loads((shared / "golden" / folder / "decode.json").read_text())
        return loaded[folder]

    def model(folder, block_size):
        if (folder, block_size) not in loaded:
            ids = dict(mask_token_id=500, eos_token_id=501, pad_token_id=501)
            path = str(shared / "golden" / folder)
            loaded[folder, block_size] = load_weights(path, block_size)
        return loaded[folder, block_size]

    return of, model


def load_weights(path, block_size):
    """The weights alone: these folders have no tokenizer."""
    from pathlib import Path

    from lift_harness.models.families import family_of

    family = family_of(json.loads((Path(path) / "config.json").read_text()))
    config = family.config_class.from_pretrained(path)
    config.block_size = block_size
    return family.from_pretrained(path, config=config).eval()


def per_block(gen_length, block_length, steps):
    """Our `steps`, of all blocks, from the steps of a block."""
    return -(-gen_length // block_length) * steps


def settings_of(transcript):
    """Decoding settings, and what of the model they need, from a transcript's own words."""
    t, algo = transcript, transcript["algo"]
    length = t.get("gen_length") or t["max_new_tokens"]
    block = t.get("block_length") or t.get("block_size") or 32
    values = dict(gen_length=length, block_length=block, grid="sequence")
    if algo == "llada2_generate":
        steps = per_block(length, block, min(t["steps"], length // t["minimal_topk"]))
        return values | dict(schedule="llada2", threshold=t["threshold"], steps=steps, early_stop=True)
    if algo == "llada21_generate":
        names = ("threshold", "editing_threshold", "num_to_transfer", "max_post_steps")
        own = {name: t[name] for name in names}
        return values | own | dict(schedule="llada21", early_stop=t["eos_early_stop"])
    if algo.startswith("sdar"):
        steps = per_block(length, block, t["denoising_steps"])
        schedule = {None: "sdar_sequential", 1.0: "sdar_static"}.get(t["threshold"], "sdar_dynamic")
        own = dict(threshold=t["threshold"]) if schedule == "sdar_dynamic" else {}
        return values | own | dict(schedule=schedule, steps=steps)
    if algo.startswith("v2"):
        own = dict(threshold=t["threshold"], sub_block_length=t["small_block_size"])
        cache = "sub_blocks" if t["use_block_cache"] else "blocks"
        return values | own | dict(schedule="fastdllm_v2", cache=cache)
    schedule = algo.removeprefix("dllm_")
    blocks = -(-length // block)
    own = dict(schedule=schedule, steps=blocks * -(-t["steps"] // blocks), cfg_scale=t["cfg_scale"])
    return values | own | dict(grid="answer")


@pytest.mark.parametrize("folder, algo", CASES)
def test_debug(golden, folder, algo):
    of, load = golden
    stored = of(folder)
    bad = Counter()
    notes = []
    transcripts = [t for t in stored["single"] if t["algo"] == algo]
    for n, t in enumerate(transcripts):
        values = settings_of(t)
        model = load(folder, None if algo == "dllm_mdlm" else values["block_length"])
        prompt = stored["prompts"][t["prompt"]]
        eos = t.get("stop_ids") or t.get("stop_token") or t.get("eos_id") or 501
        if algo.startswith("sdar") and not t["stop_ids"]:
            eos = None
        if algo.startswith("v2") and not t["stop_token"]:
            eos = None
        try:
            out = run(model, [Request(tuple(prompt), DecodingConfig(**values))], mask_id=500, eos_id=eos)[0]
        except Exception as e:
            bad["error"] += 1
            notes.append((n, repr(e)[:300]))
            raise
            continue
        final = t.get("canvas") or t["final_ids"]
        end = len(prompt) + len(out.ids)
        if prompt + out.ids != final[:end]:
            bad["ids"] += 1
            notes.append((n, "ids", {k: v for k, v in t.items() if not isinstance(v, list)}))
        nfe = t.get("nfe_denoise") or t["nfe"]
        if "nfe_prefix" in t: nfe -= t["nfe_prefix"]
        if t.get("cfg_scale") and algo == "dllm_bd3lm": nfe //= 2
        order = [[len(prompt) + i for i, _, _ in step] for step in out.history()]
        theirs = [[p for p in step if p < end] for step in t["unmask_order"]]
        if t.get("edits"):
            theirs = [sorted(a + [e[0] for e in b if e[0] < end]) for a, b in zip(theirs, t["edits"])]
        if [o for o in order if o] != [o for o in theirs if o]:
            bad["order"] += 1
            notes.append((n, "order", {k: v for k, v in t.items() if not isinstance(v, list)}))
        if out.forward_passes != nfe:
            bad["nfe"] += 1
            notes.append((n, "nfe", out.forward_passes, nfe, {k: v for k, v in t.items() if not isinstance(v, list)}))
    if bad:
        print(len(transcripts), bad)
        for note in notes[:12]:
            print(note)
    assert not bad
