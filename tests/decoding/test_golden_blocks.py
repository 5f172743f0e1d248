"""Block diffusion against transcripts of the published decoders (../shared/golden/README.md, second half)."""

import json

import pytest

from lift_harness.decoding import DecodingConfig, Request, run
from lift_harness.models.families import family_of

MASK = 500
# Transcripts by folder and algorithm.
TRANSCRIPTS = {
    ("llada2-tiny", "llada2_generate"): 61,
    ("llada2-tiny", "llada21_generate"): 52,
    ("sdar-tiny", "sdar_eval"): 66,
    ("sdar-tiny", "sdar_sequential"): 24,
    ("fastdllm-v2-tiny", "v2_generate"): 28,
    ("fastdllm-v2-tiny", "v2_batch_sample"): 48,
    ("a2d-qwen3-tiny", "dllm_bd3lm"): 31,
    ("a2d-qwen3-tiny", "dllm_mdlm"): 28,
}
V2_BLOCK = 32


@pytest.fixture(scope="module")
def golden(shared):
    """golden(folder): what the transcripts say, and model(block_size), its weights with blocks so long."""

    def folder_of(name):
        folder, models = shared / "golden" / name, {}
        family = family_of(json.loads((folder / "config.json").read_text()))

        def model(block_size):
            if block_size not in models:
                config = family.config_class.from_pretrained(folder)
                config.block_size = block_size
                models[block_size] = family.from_pretrained(folder, config=config).eval()
            return models[block_size]

        return json.loads((folder / "decode.json").read_text()), model

    return folder_of


def settings(t, prompt, algo) -> DecodingConfig:
    """A transcript's settings, its own names and counts in ours."""
    length = t["gen_length"] if "gen_length" in t else t["max_new_tokens"]
    block = t.get("block_length") or t.get("block_size") or V2_BLOCK
    blocks = -(-length // block)
    options = ("threshold", "editing_threshold", "num_to_transfer", "max_post_steps", "cfg_scale")
    values = {name: t[name] for name in options if t.get(name) is not None}
    values |= dict(gen_length=length, block_length=block, grid="sequence")
    if algo == "llada2_generate":
        steps = min(t["steps"], length // t["minimal_topk"])
        return DecodingConfig(**values, schedule="llada2", steps=blocks * steps)
    if algo == "llada21_generate":
        return DecodingConfig(**values, schedule="llada21", early_stop=t["eos_early_stop"])
    if algo.startswith("sdar"):
        schedule = {None: "sdar_sequential", 1.0: "sdar_static"}.get(t["threshold"], "sdar_dynamic")
        if schedule == "sdar_static":
            del values["threshold"]
        return DecodingConfig(**values, schedule=schedule, steps=blocks * t["denoising_steps"])
    if algo.startswith("v2"):  # their blocks begin with the prompt's tail
        values |= dict(gen_length=length - len(prompt) % V2_BLOCK, sub_block_length=t["small_block_size"])
        cache = "sub_blocks" if t["use_block_cache"] else "blocks"
        return DecodingConfig(**values, schedule="fastdllm_v2", cache=cache)
    values |= dict(grid="answer", steps=blocks * -(-t["steps"] // blocks))
    schedule = algo.removeprefix("dllm_")
    return DecodingConfig(**values, schedule=schedule, early_stop=schedule == "bd3lm")


def stop_ids(stored, t, algo) -> tuple[int, ...]:
    """What ends the text."""
    if algo.startswith("sdar"):
        return tuple(t["stop_ids"])
    if algo.startswith("v2"):
        return () if t["stop_token"] is None else (t["stop_token"],)
    return (t.get("eos_id", stored["eos_id"]),)


def decode(golden, folder, algo, transcripts, batch_size=48, **changes):
    """(transcript, its prompt, our result) of each; those that can are decoded together."""
    stored, model = golden(folder)
    groups = {}
    for t in transcripts:
        prompt = stored["prompts"][t["prompt"]]
        config = settings(t, prompt, algo).replace(**changes)
        block_size = None if config.schedule == "mdlm" else config.block_length
        groups.setdefault((block_size, stop_ids(stored, t, algo)), []).append((t, prompt, config))
    decoded = []
    for (block_size, stops), group in groups.items():
        requests = [Request(tuple(prompt), config) for _, prompt, config in group]
        outs = run(model(block_size), requests, mask_id=MASK, eos_id=stops, batch_size=batch_size)
        decoded += [(t, prompt, out) for (t, prompt, _), out in zip(group, outs, strict=True)]
    return decoded


def passes(out, start):
    """(column, token, confidence) of what each pass committed, empty passes left out."""
    return [[(start + i, token, sure) for i, token, sure in step] for step in out.history() if step]


def published_passes(t, end):
    """The same from a transcript, left of column `end`; of fills the token is not told."""
    edits = t.get("edits") or [[]] * len(t["unmask_order"])
    theirs = []
    for order, sure, edited in zip(t["unmask_order"], t["unmask_conf"], edits, strict=True):
        commits = [(column, None, p) for column, p in zip(order, sure, strict=True)]
        commits += [(column, new, p) for column, _, new, p in edited]
        theirs.append(sorted(commit for commit in commits if commit[0] < end))
    return [step for step in theirs if step]


def agree(ours, theirs):
    """Whether two lists of passes are the same; a first token that a `commit` pass gave is not in theirs."""
    assert [[c for c, _, _ in step] for step in ours] == [[c for c, _, _ in step] for step in theirs]
    for mine, published in zip(sum(ours, []), sum(theirs, []), strict=True):
        assert published[1] in (None, mine[1])
        assert mine[2] == pytest.approx(published[2], abs=2e-5)


def number_of_passes(t, prompt) -> int:
    """Denoising passes of a transcript: those that only store keys and values are fused into ours."""
    if "passes" in t:  # Fast-dLLM v2: commits of the blocks but the last, and they are not fused
        kinds, tail = t["passes"], len(prompt) % V2_BLOCK
        return len(kinds) - (kinds[-1] == "commit") - (kinds[0] == "prefill" and tail > 0)
    halves = 2 if t.get("cfg_scale") and "nfe_prefix" in t else 1
    return (t.get("nfe_denoise") or t["nfe"] - t.get("nfe_prefix", 0)) // halves


def interrupted(t) -> bool:
    """Whether the published loop left in the middle of a block, as soon as the text was settled."""
    early = t["algo"] == "llada2_generate" and t["eos_early_stop"]
    return early or (t["algo"] == "v2_generate" and t["stop_token"] is not None)


@pytest.mark.parametrize("folder, algo", TRANSCRIPTS)
def test_ids_order_edits_passes_and_confidences_equal_the_published_decoders(golden, folder, algo):
    stored, _ = golden(folder)
    transcripts = [t for t in stored["single"] if t["algo"] == algo]
    assert len(transcripts) == TRANSCRIPTS[folder, algo]
    # Surprise of the README: an end-of-text in the prompt makes the answer empty.
    transcripts = [t for t in transcripts if "note" not in t]
    replaced = 0
    for t, prompt, out in decode(golden, folder, algo, transcripts):
        start, end = len(prompt), len(prompt) + len(out.ids)
        ours, theirs = passes(out, start), published_passes(t, end)
        if algo.startswith("v2"):
            ours = [step for step in ours if len(step) > 1 or step[0][0] % V2_BLOCK]
        text = list(out.ids)
        final = (t.get("canvas") or t["final_ids"])[start:end]
        stops = stop_ids(stored, t, algo)
        ended = next((i + 1 for i, token in enumerate(text) if token in stops), None)
        text, final = text[:ended], final[:ended]  # what is behind it may be masks or padding of theirs
        assert text == final
        if interrupted(t):
            agree(ours[: len(theirs)], theirs)
            assert out.forward_passes >= number_of_passes(t, prompt)
        else:
            agree(ours, theirs)
            assert out.forward_passes == number_of_passes(t, prompt)
        replaced += len(out.replaced)
    assert (replaced > 500) == (algo == "llada21_generate")


@pytest.mark.parametrize(
    "folder, algo", [key for key in TRANSCRIPTS if key[1] in ("llada2_generate", "sdar_eval", "v2_generate")]
)
def test_without_a_cache_the_tokens_are_the_same(golden, folder, algo):
    stored, _ = golden(folder)
    transcripts = [t for t in stored["single"] if t["algo"] == algo and "note" not in t][::5]
    cached, plain = (
        [
            (out.ids, out.step, out.forward_passes)
            for _, _, out in decode(golden, folder, algo, transcripts, **how)
        ]
        for how in ({}, dict(cache="none"))
    )
    assert cached == plain


@pytest.mark.parametrize("folder, number", [("llada2-tiny", 1), ("a2d-qwen3-tiny", 3)])
def test_batches_equal_the_published_batches(golden, folder, number):
    stored, model = golden(folder)
    assert len(stored["batched"]) == number
    for batch in stored["batched"]:
        algo = batch["algo"].replace("dllm_llada2_sampler", "llada2_generate")
        rows = [batch | {"prompt": name, "minimal_topk": 1} for name in batch["prompts"]]
        decoded = decode(golden, folder, algo, rows, early_stop=False)
        width = decoded[0][0].get("gen_length") or decoded[0][0]["max_new_tokens"]
        for (_, prompt, out), canvas in zip(
            decoded, batch.get("canvas") or batch["final_canvas"], strict=True
        ):
            row = [token for token in canvas if token != stored.get("pad_id")]  # padding on either side
            assert len(out.ids) == width and row[: len(prompt) + width] == prompt + out.ids
