"""Models with blocks: what must not change a result, how much is computed, and what is refused.

The model is in float64, where no decision is so near a tie that the shape of a batch could turn it.
"""

from collections import Counter

import pytest
import torch
from support.block_models import BLOCK, load_blocks, write_blocks
from support.families_reference import MASK
from support.llada_reference import random_prompts
from support.watched import Watched

from lift_harness.decoding import DecodingConfig, Request, generate, run, settings_for
from lift_harness.decoding.resolve import published
from lift_harness.errors import LiftError

STOPS = [0, 12, 24, 36, 48]
SCHEDULES = {
    "llada2": dict(schedule="llada2", threshold=0.4),
    "llada21": dict(schedule="llada21", threshold=0.4, editing_threshold=0.3, max_post_steps=2),
    "sdar_static": dict(schedule="sdar_static", steps=12),
    "sdar_sequential": dict(schedule="sdar_sequential", steps=9),
    "sdar_dynamic": dict(schedule="sdar_dynamic", threshold=0.4, steps=12),
    "fastdllm_v2": dict(schedule="fastdllm_v2", threshold=0.4, sub_block_length=4),
    "sub_blocks": dict(schedule="fastdllm_v2", threshold=0.4, sub_block_length=4, cache="sub_blocks"),
    "bd3lm": dict(schedule="bd3lm", grid="answer", steps=9),
    "guided": dict(schedule="bd3lm", grid="answer", steps=9, cfg_scale=0.7),
    "fixed": dict(schedule="fixed", grid="sequence", steps=12),
    "entropy_bound": dict(schedule="entropy_bound", grid="sequence", entropy_bound=2.0),
}

PAIRS = [("sdar", name) for name in SCHEDULES]
PAIRS += [("fast-dllm", name) for name in SCHEDULES if name != "llada21"]  # which it refuses


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """models(family), in float64, made once."""
    root, made = tmp_path_factory.mktemp("blocks"), {}

    def of(family):
        if family not in made:
            made[family] = load_blocks(write_blocks(root / family, family)).double()
        return made[family]

    return of


@pytest.fixture(params=["sdar", "fast-dllm"])
def model(models, request):
    return models(request.param)


def plain(outs):
    return [(out.ids, out.step, out.forward_passes, [one[:3] for one in out.replaced]) for out in outs]


def decode(model, requests, **how):
    return run(model, requests, mask_id=MASK, eos_id=STOPS, **how)


def alone(model, requests):
    return plain(decode(model, [request])[0] for request in requests)


def requests_of(model, lengths, samples=1, **values):
    config = settings_for(model, dict(gen_length=20), values)
    prompts = random_prompts(lengths)
    numbered = [(i, prompt, k) for k in range(samples) for i, prompt in enumerate(prompts)]
    return [Request(tuple(prompt), config, key=i, sample=k) for i, prompt, k in numbered]


# ---- batches


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("family, schedule", PAIRS)
def test_prompts_of_all_lengths_decode_alike_in_any_batch_and_order(models, family, schedule, temperature):
    model = models(family)
    requests = requests_of(model, range(1, 20), **SCHEDULES[schedule], temperature=temperature)
    expected = alone(model, requests)
    assert len({len(ids) for ids, *_ in expected}) >= 2  # some end early
    assert plain(decode(model, requests, batch_size=3)) == expected
    assert plain(decode(model, requests[::-1], batch_size=8)) == expected[::-1]


@pytest.mark.parametrize("family", ["llada2", "sdar", "fast-dllm", "a2d-qwen2"])
def test_the_cache_is_exact(models, family):
    model = models(family)
    for name, values in SCHEDULES.items():
        if name != "sub_blocks" and not (name == "llada21" and model.logit_shift):
            requests = requests_of(model, [1, 7, 8, 17], **values)
            without = requests_of(model, [1, 7, 8, 17], **values, cache="none")
            assert plain(decode(model, requests)) == plain(decode(model, without))


def mixture(model):
    """Requests that differ in everything."""
    requests = []
    for i, ids in enumerate(random_prompts([1 + i * 5 % 23 for i in range(33)], seed=1)):
        values = SCHEDULES[list(SCHEDULES)[i % 11]]
        if values["schedule"] == "llada21" and model.logit_shift:
            continue
        own = dict(gen_length=[20, 9, 24][i % 3], temperature=[0.0, 0.7][i % 2])
        if "steps" in values:
            own["steps"] = -(-own["gen_length"] // BLOCK) * 3
        if i % 5 == 3:
            own |= dict(top_p=0.8, top_k=20, suppress_tokens=(5, 6), seed=i)
        extra = [{}, dict(max_tokens=7), dict(finished=lambda tokens: len(tokens) >= 9)][i // 3 % 3]
        if i % 4 == 1 and "sub_block_length" not in values:
            ids, extra = [MASK if j % 3 else token for j, token in enumerate(ids * 2)], dict(infill=True)
        requests.append(Request(tuple(ids), settings_for(model, values, own), key=i, sample=i % 3, **extra))
    return requests


@pytest.mark.parametrize(
    "way",
    [
        dict(batch_size=5),
        dict(batch_size=None, token_budget=150),
        dict(batch_size=5, static=True),
        dict(batch_size=None, token_budget=600, static=True),
    ],
    ids=str,
)
def test_requests_with_different_settings_share_a_call_and_keep_their_results(model, way):
    requests = mixture(model)
    assert sum(request.infill for request in requests) >= 4
    assert plain(decode(model, requests, **way)) == alone(model, requests)


@pytest.mark.parametrize("batch_size", [6, 2])
@pytest.mark.parametrize("cache", ["auto", "none"])
def test_the_samples_of_a_problem_share_their_first_pass(model, cache, batch_size):
    requests = requests_of(model, [6, 19], samples=3, temperature=1.0, cache=cache)
    expected, counts = alone(model, requests), Counter()
    assert len({tuple(ids) for ids, *_ in expected}) >= 4
    assert plain(decode(model, requests, batch_size=batch_size, counts=counts)) == expected
    assert counts["canvases"] == sum(passes for _, _, passes, _ in expected) - 2 * 2


@pytest.mark.parametrize("grid", ["sequence", "answer"])
def test_masks_are_filled_where_that_is_asked_for_and_nowhere_else(model, grid):
    ids = [MASK if i % 3 == 0 else 10 + i for i in range(29)]
    own = dict(gen_length=24, schedule="sdar_static", steps=12, grid=grid, early_stop=False)
    config = settings_for(model, own)
    both = [config, config.replace(cache="none")]
    infills = decode(model, [Request(tuple(ids), one, infill=True) for one in both])
    assert plain(infills[:1]) == plain(infills[1:])
    for i, token in enumerate(infills[0].ids):
        assert (token == ids[i]) == (ids[i] != MASK) and (infills[0].step[i] < 0) == (ids[i] != MASK)
    # Behind such a prompt, whose last masks are in the answer's first block.
    answers = decode(model, [Request(tuple(ids), one) for one in both])
    assert plain(answers[:1]) == plain(answers[1:])
    assert len(answers[0].ids) == 24 and MASK not in answers[0].ids
    begins_a_block = grid == "answer" and model.logit_shift > 0  # whose first token then comes alone
    assert len(answers[0].history()[0]) == (1 if begins_a_block else 2)
    assert sorted(i for step in answers[0].history() for i, _, _ in step) == list(range(24))


def test_without_memory_the_batch_is_halved_until_it_fits(model):
    def before(input_ids):
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    requests, counts = requests_of(model, range(1, 9), temperature=0.7), Counter()
    assert plain(decode(Watched(model, before), requests, batch_size=8, counts=counts)) == alone(
        model, requests
    )
    assert counts["out_of_memory"] == 2


def test_the_result_so_far_has_masks_behind_the_present_block(model):
    (request,) = requests_of(model, [11], early_stop=False)
    seen = []
    (out,) = decode(model, [request], on_step=lambda _, so_far: seen.append(so_far))
    assert len(seen) == out.forward_passes and seen[-1].ids == out.ids
    assert seen[0].ids[5:] == [MASK] * 15 and len(out.ids) == 20


# ---- how much is computed


def test_a_pass_that_keeps_a_block_is_the_first_of_the_next_one(models):
    model = models("sdar")
    (request,) = requests_of(model, [19], early_stop=False, schedule="sdar_static", steps=12)
    watched, counts = Watched(model), Counter()
    (out,) = decode(watched, [request], counts=counts)
    assert counts["calls"] == out.forward_passes == 3 + 4 + 4  # 5, 8 and 8 masks, two a pass
    assert watched.seen == [(1, 24), *[(1, 8)] * 2, *([(1, 16), *[(1, 8)] * 3] * 2)]


def test_nothing_right_of_the_block_is_computed_and_prompts_share_passes(models):
    model = models("sdar")
    requests = requests_of(model, [3, 5, 17], early_stop=False, cache="none")
    watched = Watched(model)
    decode(watched, requests, batch_size=3)
    assert {columns for _, columns in watched.seen} == {24, 32, 40}
    watched = Watched(model)
    decode(watched, requests_of(model, [3, 5, 17], early_stop=False), batch_size=3)
    assert {columns for _, columns in watched.seen} == {BLOCK, 2 * BLOCK, 24}


def test_fast_dllm_v2_keeps_a_block_in_a_pass_of_its_own(models):
    model = models("fast-dllm")
    (request,) = requests_of(model, [16], early_stop=False, threshold=0.0, sub_block_length=BLOCK)
    watched = Watched(model)
    (out,) = decode(watched, [request])
    # The prompt, then each block and the one that keeps it, which gives the next one's first token.
    assert watched.seen == [(1, 16), (1, BLOCK), (1, BLOCK), (1, BLOCK), (1, BLOCK), (1, BLOCK)]
    assert out.step == [0, *[1] * 7, 2, *[3] * 7, 4, *[5] * 3]


def test_a_sub_block_that_is_begun_is_computed_alone(models):
    model = models("fast-dllm")
    values = dict(schedule="fastdllm_v2", sub_block_length=4, early_stop=False)
    seen = {}
    for cache in ("blocks", "sub_blocks"):
        watched = Watched(model)
        (out,) = decode(watched, requests_of(model, [16], **values, cache=cache))
        seen[cache] = Counter(columns for _, columns in watched.seen)
    assert seen["blocks"][4] == 0 and seen["sub_blocks"][4] > 4


# ---- settings


def test_a_model_states_how_its_authors_decode_it(models):
    expected = {
        "llada2": ("llada2", "sequence", 0.95, 24),
        "sdar": ("sdar_dynamic", "sequence", 0.85, 24),
        "fast-dllm": ("fastdllm_v2", "sequence", 1.0, 24),
        "a2d-qwen2": ("bd3lm", "answer", None, 24),
    }
    protocol = dict(gen_length=20, block_length=20, steps=10, temperature=0.2, cache="prefix")
    for family, (schedule, grid, threshold, steps) in expected.items():
        config = settings_for(models(family), task=protocol)
        assert (config.schedule, config.grid, config.threshold, config.steps) == (
            schedule,
            grid,
            threshold,
            steps,
        )
        assert (config.block_length, config.cache, config.exact) == (BLOCK, "blocks", True)
        assert (config.gen_length, config.temperature) == (20, 0.2)
        own = dict(schedule="sdar_static", steps=9, cache="none")
        asked = settings_for(models(family), own, task=protocol)
        assert (asked.schedule, asked.steps, asked.cache) == ("sdar_static", 9, "none")


def test_to_a_bidirectional_model_nothing_is_published(llada):
    assert published(llada()) == {}
    config = settings_for(llada(), dict(gen_length=64), task=dict(cache="prefix", steps=7))
    assert config == DecodingConfig(gen_length=64, cache="prefix")
    assert settings_for(llada()).cache == "none"


def test_what_is_recorded_of_a_bidirectional_model_is_what_it_was(llada):
    """Keys of response caches are made of it."""
    assert settings_for(llada(), dict(gen_length=64, schedule="factor", factor=1.0)).recorded == {
        **dict(gen_length=64, block_length=32, steps=32, temperature=0.0, top_p=1.0, top_k=0),
        **dict(remasking="low_confidence", confidence_from="model", schedule="factor", threshold=None),
        **dict(factor=1.0, entropy_bound=None, eps=1e-3, cache="none", cfg_scale=0.0, suppress_tokens=()),
        **dict(early_stop=True, speculate=1, seed=0),
    }


def refused(build, *names):
    with pytest.raises(LiftError) as error:
        build()
    assert all(name in str(error.value) for name in names), error.value
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    "values, names",
    [
        (dict(block_length=4), ["block_length=4", "block_size=8", "block_size=4"]),
        (dict(cache="prefix"), ["cache='prefix'", "bidirectional", "cache=auto"]),
        (dict(cache="dual"), ["cache='dual'", "bidirectional"]),
        (dict(schedule="fixed", speculate=2), ["speculate=2", "speculate=1"]),
        (dict(cache="sub_blocks", schedule="llada2"), ["cache='sub_blocks'", "schedule='llada2'"]),
        (dict(schedule="fastdllm_v2", sub_block_length=3), ["sub_block_length=3", "block_length=8"]),
        (dict(schedule="llada2", editing_threshold=0.9), ["editing_threshold=0.9", "schedule=llada21"]),
        (dict(schedule="llada21", max_post_steps=-1), ["max_post_steps=-1", "0 or more"]),
        (dict(schedule="llada21", num_to_transfer=0.5), ["num_to_transfer=0.5", "whole number"]),
        (dict(schedule="llada2", threshold=1.5), ["threshold=1.5", "[0, 1]"]),
        (dict(schedule="llada2", steps=10), ["steps=10", "multiple of 3"]),
        (dict(grid="prompt"), ["grid='prompt'", "sequence"]),
        (dict(schedule="llada2", remasking="entropy"), ["schedule='llada2'", "remasking='entropy'"]),
    ],
    ids=str,
)
def test_what_a_model_with_blocks_does_not_take_is_one_line(models, values, names):
    refused(lambda: settings_for(models("sdar"), dict(gen_length=20), values), *names)


def test_a_cache_of_blocks_is_refused_for_a_bidirectional_model(llada):
    refused(lambda: settings_for(llada(), dict(cache="blocks")), "cache='blocks'", "bidirectional")
    config = DecodingConfig(gen_length=8, cache="blocks")
    refused(lambda: generate(llada(), [[1, 2]], config, mask_id=MASK), "cache='blocks'", "LLaDAModelLM")


def test_edits_are_refused_where_a_token_is_predicted_before_its_place(models):
    shifted = models("fast-dllm")
    refused(lambda: settings_for(shifted, dict(schedule="llada21")), "schedule='llada21'", "one position")


def test_infill_in_sub_blocks_is_refused(models):
    config = settings_for(models("fast-dllm"), dict(gen_length=8))
    request = Request((1, MASK, 2), config, infill=True)
    refused(lambda: decode(models("fast-dllm"), [request]), "schedule='fastdllm_v2'", "infill")
