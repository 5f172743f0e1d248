"""Decoding in blocks against plain loops, in numpy float64, without a cache, one request at a time.

Written from the descriptions of the published decoders in the project's golden data (LLaDA2.0 and 2.1, SDAR,
Fast-dLLM v2, dllm's BD3LM), so that they mean something where those data are not at hand.
"""

import itertools
import math

import pytest
import torch
from support.block_models import BLOCK, BlockReference, load_blocks, write_blocks
from support.families_reference import MASK, VOCAB
from support.llada_reference import random_prompts, softmax

from lift_harness.decoding import Request, run, settings_for

CLOSE = 1e-5  # decisions nearer than this may fall either way in float32


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """pair(family): (model, its float64 reference), made once."""
    root, made = tmp_path_factory.mktemp("blocks"), {}

    def of(family):
        if family not in made:
            folder = write_blocks(root / family, family)
            made[family] = load_blocks(folder), BlockReference(folder)
        return made[family]

    return of


def offers(reference, x, columns, shift):
    """Of each column of the row x: the most probable token (never the mask), and its probability."""
    logits = reference(x)
    found = {}
    for i in columns:
        p = softmax(logits[max(i - shift, 0)])
        token = max((j for j in range(VOCAB) if j != MASK), key=lambda j: p[j])
        found[i] = token, p[token]
    return found


def how_many(config, step, sure):
    """Of confidences sorted down: how many are committed, and how near that was to another number."""
    steps = config.steps // -(-config.gen_length // config.block_length)
    least = BLOCK // steps + (step < BLOCK % steps)
    if config.schedule in ("sdar_static", "sdar_sequential"):
        return min(least, len(sure)), math.inf
    least = {"llada21": config.num_to_transfer, "fastdllm_v2": 1}.get(config.schedule, least)
    above = sum(p > config.threshold for p in sure)
    return min(max(above, least), len(sure)), min(abs(p - config.threshold) for p in sure)


def loop(reference, prompt, config, shift):
    """(tokens, the columns that each pass committed, whether nothing was close) of one request."""
    x, passes, gap = list(prompt), [], math.inf
    end = len(prompt) + config.gen_length
    x += [MASK] * (-(-end // BLOCK) * BLOCK - len(prompt))
    for begin in range(len(prompt) // BLOCK * BLOCK, len(x), BLOCK):
        here = range(max(begin, len(prompt)), begin + BLOCK)
        if shift and here[0] == begin:  # the finished blocks alone give the first token
            x[begin] = offers(reference, x[:begin], [begin], shift)[begin][0]
            passes.append([begin])
        idle = 0
        for step in itertools.count():
            masked = [i for i in here if x[i] == MASK]
            if not masked:
                idle += 1
                if config.schedule != "llada21" or idle > config.max_post_steps:
                    break
            offer = offers(reference, x[: begin + BLOCK], here, shift)
            if config.sub_block_length and masked:
                sub_block = masked[0] // config.sub_block_length
                masked = [i for i in masked if i // config.sub_block_length == sub_block]
            ranked = sorted(masked, key=lambda i: -offer[i][1])
            count, near = how_many(config, step, [offer[i][1] for i in ranked]) if masked else (0, math.inf)
            if config.schedule == "sdar_sequential":
                ranked = masked
            elif count < len(ranked):
                near = min(near, offer[ranked[count - 1]][1] - offer[ranked[count]][1])
            gap = min(gap, near)
            edited = []
            if config.schedule == "llada21":
                filled = [i for i in here if x[i] != MASK and offer[i][0] != x[i]]
                edited = [i for i in filled if offer[i][1] > config.editing_threshold]
                gap = min([gap, *(abs(offer[i][1] - config.editing_threshold) for i in filled)])
            for i in (*ranked[:count], *edited):
                x[i] = offer[i][0]
            passes.append(sorted((*ranked[:count], *edited)))
            if not masked and not edited:
                break
    return x[len(prompt) : end], passes, gap > CLOSE


SETTINGS = {
    "llada2": [
        dict(schedule="llada2", threshold=0.3),
        dict(schedule="llada2", threshold=0.9, steps=9),
        dict(schedule="llada21", threshold=0.3, editing_threshold=0.2, max_post_steps=3),
        dict(schedule="llada21", threshold=0.9, editing_threshold=0.5, num_to_transfer=2, max_post_steps=0),
    ],
    "sdar": [
        dict(schedule="sdar_static", steps=12),
        dict(schedule="sdar_dynamic", threshold=0.3, steps=12),
        dict(schedule="sdar_sequential", steps=9),
    ],
    "fast-dllm": [
        dict(schedule="fastdllm_v2", threshold=0.3, sub_block_length=4),
        dict(schedule="fastdllm_v2", sub_block_length=2),
        dict(schedule="sdar_dynamic", threshold=0.3, steps=12),
    ],
}
CASES = [(family, values) for family, of_family in SETTINGS.items() for values in of_family]


@pytest.mark.parametrize("family, values", CASES, ids=str)
def test_equals_the_plain_loop_with_and_without_cache(pair, family, values):
    model, reference = pair(family)
    config = settings_for(model, dict(gen_length=20, early_stop=False), values)
    prompts = random_prompts([1, 8, 19])
    both = [config, config.replace(cache="none")]
    requests = [Request(tuple(prompt), config) for prompt in prompts for config in both]
    outs = iter(run(model, requests, mask_id=MASK, batch_size=3))
    clear = 0
    for prompt in prompts:
        tokens, passes, is_clear = loop(reference, prompt, config, model.logit_shift)
        clear += is_clear
        for out in (next(outs), next(outs)):
            if not is_clear:
                continue
            assert out.ids == tokens
            end = len(prompt) + config.gen_length
            ours = [[len(prompt) + i for i, _, _ in step] for step in out.history()]
            theirs = [[i for i in step if i < end] for step in passes]
            assert [step for step in ours if step] == [step for step in theirs if step]
            assert out.forward_passes == len(passes)
    assert clear >= 2


def test_blocks_counted_from_the_answer_are_the_plain_loop_on_a_prompt_padded_on_the_left(pair):
    """dllm's BD3LM: pads neither see nor are seen, positions skip them."""
    model, _ = pair("a2d-qwen2")
    config = settings_for(model, dict(gen_length=20, steps=12, early_stop=False))
    assert (config.schedule, config.grid, config.cache) == ("bd3lm", "answer", "blocks")
    for prompt in random_prompts([3, 8, 13]):
        x, passes, pads = torch.tensor([prompt]), [], -len(prompt) % BLOCK
        for first in range(0, 20, BLOCK):
            size = min(BLOCK, 20 - first)
            x = torch.cat((x, torch.full((1, size), MASK)), 1)
            block = (torch.arange(x.shape[1]) + pads) // BLOCK
            sees = (block[None] <= block[:, None])[None]
            for step in range(4):
                left = (x[0] == MASK).nonzero()[:, 0]
                count = round(float(len(left) * (1 - (3 - step) / (4 - step)))) if step < 3 else len(left)
                if not count:
                    continue
                with torch.inference_mode():
                    logits = model(x, attention_mask=sees).logits[0, left]
                logits_without_mask = logits.clone()
                logits_without_mask[:, MASK] = -math.inf
                token = logits_without_mask.argmax(-1)
                sure = logits.softmax(-1).gather(1, token[:, None])[:, 0]
                chosen = sure.topk(count).indices
                x[0, left[chosen]] = token[chosen]
                passes.append(sorted(left[chosen].tolist()))
        (out,) = run(model, [Request(tuple(prompt), config)], mask_id=MASK)
        assert out.ids == x[0, len(prompt) :].tolist()
        assert [[len(prompt) + i for i, _, _ in step] for step in out.history()] == passes
