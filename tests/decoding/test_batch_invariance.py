"""What must not change a result: the batch, its order and size, other requests, shared passes, retries.

The model is in float64, where no decision is so near a tie that the shape of a batch could turn it.
"""

from collections import Counter

import pytest
import torch
from support.llada_reference import MASK, random_prompts
from support.watched import Watched

from lift_harness.decoding import DecodingConfig, Request, generate, run
from lift_harness.errors import LiftError

CACHES = ["none", "prefix", "dual"]
SCHEDULES = {
    "fixed": dict(steps=4),
    "threshold": dict(schedule="threshold", threshold=0.3),
    "factor": dict(schedule="factor", factor=2.5),
    "entropy_bound": dict(schedule="entropy_bound", entropy_bound=2.0),
    "dream": dict(schedule="dream", steps=4, block_length=8),
}
TEN = dict(gen_length=8, block_length=4, steps=4)
STOPS = [0, 12, 24, 36, 48]


@pytest.fixture(scope="module")
def model(llada):
    return llada("gqa").double()


def plain(outs):
    return [(out.ids, out.step, out.forward_passes) for out in outs]


def decode(model, requests, **how):
    return run(model, requests, mask_id=MASK, eos_id=STOPS, **how)


def alone(model, requests):
    """Each by itself: (results, counts of each)."""
    counts = [Counter() for _ in requests]
    outs = [
        decode(model, [request], counts=count)[0] for request, count in zip(requests, counts, strict=True)
    ]
    return outs, counts


# ---- batches


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("cache", CACHES)
def test_fifty_prompts_decode_alike_in_any_batch_and_order(model, cache, schedule, temperature):
    prompts = random_prompts(range(1, 51))
    values = dict(gen_length=8, block_length=4, cache=cache, temperature=temperature) | SCHEDULES[schedule]

    def results(order, batch_size):
        outs = generate(
            model,
            [prompts[i] for i in order],
            DecodingConfig(**values),
            mask_id=MASK,
            eos_id=STOPS,
            requests=[10 + i for i in order],
            samples=[i % 2 for i in order],
            batch_size=batch_size,
        )
        return dict(zip(order, plain(outs), strict=True))

    one_by_one = results(range(50), 1)
    lengths = Counter(len(ids) for ids, _, _ in one_by_one.values())
    assert sum(lengths.values()) == 50 and set(lengths) == ({8} if schedule == "dream" else {4, 8})
    assert results(range(50), 3) == one_by_one
    assert results([*range(1, 50, 2), *range(48, -1, -2)], 16) == one_by_one


# ---- different requests in one call


def mixture():
    """36 requests, of all caches, with and without guidance, that differ in everything else too."""
    shapes = [(12, 4, 6), (8, 8, 4), (15, 5, 9), (6, 2, 3), (9, 9, 9), (16, 8, 2)]
    requests = []
    for i, ids in enumerate(random_prompts([1 + i * 5 % 23 for i in range(36)], seed=1)):
        gen_length, block_length, steps = shapes[i % 6]
        schedule = list(SCHEDULES)[i % 5]
        values = SCHEDULES[schedule] | dict(gen_length=gen_length, block_length=block_length, steps=steps)
        if schedule == "dream":
            values["block_length"] = gen_length
        config = DecodingConfig(
            **values,
            temperature=[0.0, 0.7][i % 2],
            cache=CACHES[i // 12],
            cfg_scale=[0.0, 0.0, 0.8][i // 4 % 3],
        )
        if config.schedule == "fixed" and config.cache == "none" and not config.cfg_scale:
            config = config.replace(speculate=[2, 4][i % 2])
        if i % 7 == 3:
            config = config.replace(top_p=0.8, top_k=20, suppress_tokens=(5, 6), seed=i)
        extra = [{}, {}, dict(max_tokens=7), dict(finished=lambda tokens: len(tokens) >= 5)][i // 3 % 4]
        if i % 6 == 4:
            ids, extra = [MASK if j % 3 else token for j, token in enumerate(ids * 2)], dict(infill=True)
        requests.append(Request(tuple(ids), config, key=i, sample=i % 3, **extra))
    return requests


@pytest.fixture(scope="module")
def mixed(model):
    requests = mixture()
    return requests, plain(alone(model, requests)[0])


@pytest.mark.parametrize(
    "way",
    [
        dict(batch_size=5),
        dict(batch_size=None),
        dict(batch_size=None, token_budget=150),
        dict(batch_size=7, token_budget=400),
        dict(batch_size=5, static=True),
        dict(batch_size=None, token_budget=600, static=True),
    ],
    ids=str,
)
def test_requests_with_different_settings_share_a_call_and_keep_their_results(model, mixed, way):
    requests, expected = mixed
    assert sum(request.infill for request in requests) >= 4
    assert max(request.config.speculate for request in requests) == 4
    assert plain(decode(model, requests, **way)) == expected


@pytest.mark.parametrize("cache", CACHES)
def test_blocks_of_different_lengths_share_a_batch(model, cache):
    """The smallest case: the longer canvas has the shorter block, and reaches its end beside the other."""
    short, long = random_prompts([3, 9])
    config = DecodingConfig(gen_length=8, block_length=8, steps=8, cache=cache, early_stop=False)
    requests = [
        Request(tuple(short), config),
        Request(tuple(long), config.replace(block_length=4, steps=4)),
    ]
    together, (expected, _) = decode(model, requests), alone(model, requests)
    assert plain(together) == plain(expected)
    for ours, theirs in zip(together, expected, strict=True):
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-6)


@pytest.mark.parametrize(
    "values", [{}, dict(cfg_scale=0.5), dict(cache="dual", cfg_scale=0.5), dict(speculate=4)], ids=str
)
def test_passes_stay_within_the_token_budget_and_use_it(model, values):
    config = DecodingConfig(gen_length=8, block_length=8, steps=8)
    prompts = random_prompts([14, 12, 12, 12, 12, 12, 12, 3])
    requests = [Request(tuple(prompts[0]), config)]
    requests += [Request(tuple(prompt), config.replace(**values)) for prompt in prompts[1:]]
    watched = Watched(model)
    decode(watched, requests, batch_size=None, token_budget=100)
    assert 80 <= max(rows * columns for rows, columns in watched.seen) <= 100


@pytest.mark.parametrize("cache, shapes", [("none", 1), ("prefix", 1 + 3), ("dual", 1 + 1)])
def test_static_passes_have_constant_shapes(model, cache, shapes):
    config = DecodingConfig(gen_length=12, block_length=4, steps=6, cache=cache)
    prompts = random_prompts([3, 30, 11, 7, 19])
    requests = [Request(tuple(prompt), config, key=i) for i, prompt in enumerate(prompts)]
    seen = {}
    for static in (False, True):
        watched = Watched(model)
        outs = decode(watched, requests, batch_size=2, static=static)
        assert plain(outs) == plain(alone(model, requests)[0])
        seen[static] = set(watched.seen)
    assert len(seen[True]) <= shapes < len(seen[False])


# ---- samples of one problem


@pytest.mark.parametrize("batch_size", [8, 3, 2, 1])
@pytest.mark.parametrize("cfg_scale", [0.0, 0.6])
@pytest.mark.parametrize("cache", CACHES)
def test_the_samples_of_a_problem_share_their_first_pass(model, cache, cfg_scale, batch_size):
    config = DecodingConfig(
        gen_length=8, block_length=4, steps=4, temperature=1.0, cache=cache, cfg_scale=cfg_scale
    )
    prompts = random_prompts([6, 9])
    requests = [Request(tuple(prompts[n]), config, key=n, sample=k) for k in range(4) for n in range(2)]
    expected, separate = alone(model, requests)
    assert len({tuple(out.ids) for out in expected}) >= 6
    counts = Counter()
    outs = decode(model, requests, batch_size=batch_size, counts=counts)
    assert plain(outs) == plain(expected)
    canvases_a_pass = 2 if cfg_scale else 1
    first_passes_saved = 2 * (4 - 1)
    all_canvases = sum(count["canvases"] for count in separate)
    assert all_canvases == canvases_a_pass * sum(out.forward_passes for out in expected)
    assert counts["canvases"] == all_canvases - canvases_a_pass * first_passes_saved
    assert counts["out_of_memory"] == 0 and counts["calls"] <= counts["canvases"] / canvases_a_pass


def test_samples_differ_and_each_can_be_made_alone(model):
    prompt = random_prompts([6])[0]
    config = DecodingConfig(gen_length=16, block_length=8, steps=8, temperature=1.0)

    def texts(samples, request=3, seed=0):
        requests = [request] * len(samples)
        prompts = [prompt] * len(samples)
        settings = config.replace(seed=seed)
        outs = generate(model, prompts, settings, mask_id=MASK, requests=requests, samples=samples)
        return [tuple(out.ids) for out in outs]

    four = texts([0, 1, 2, 3])
    assert len(set(four)) == 4
    assert [texts([n])[0] for n in range(4)] == four
    assert texts([0], request=4) != texts([0]) != texts([0], seed=1)


def test_at_temperature_zero_samples_and_seeds_are_equal(model):
    prompts = random_prompts([6]) * 3
    config = DecodingConfig(gen_length=16, block_length=8, steps=8)
    outs = generate(model, prompts, config, mask_id=MASK, samples=[0, 1, 2])
    other_seed = generate(model, prompts[:1], config.replace(seed=7), mask_id=MASK)
    assert len({tuple(out.ids) for out in [*outs, *other_seed]}) == 1


def test_random_remasking_is_a_keyed_order_that_is_not_the_confidence_order(model):
    prompts = random_prompts([5, 8])
    config = DecodingConfig(gen_length=12, block_length=12, steps=12, remasking="random")
    together = generate(model, prompts, config, mask_id=MASK)
    assert all(sorted(out.step) == list(range(12)) for out in together)
    assert together[0].step != together[1].step
    sure_first = generate(model, prompts, config.replace(remasking="low_confidence"), mask_id=MASK)
    assert all(a.step != b.step for a, b in zip(together, sure_first, strict=True))
    by_itself = generate(model, prompts[1:], config, mask_id=MASK, requests=[1])
    assert plain(by_itself) == plain(together[1:])


# ---- reports and retries


def test_on_done_reports_each_request_once_with_its_result(model):
    seen = {}

    def on_done(index, result):
        assert index not in seen
        seen[index] = result

    config, prompts = (
        DecodingConfig(gen_length=16, block_length=4, steps=8),
        random_prompts([3, 9, 9, 14, 30]),
    )
    outs = generate(model, prompts, config, mask_id=MASK, eos_id=[1, 2], batch_size=2, on_done=on_done)
    assert [seen[i] for i in range(len(prompts))] == outs


def test_no_prompts_give_no_results(model):
    assert generate(model, [], DecodingConfig(), mask_id=MASK) == []


def ten_requests(**values):
    return [
        Request(tuple(prompt), DecodingConfig(**TEN | values), key=i)
        for i, prompt in enumerate(random_prompts(range(1, 11), seed=3))
    ]


def at_most(rows, error=torch.OutOfMemoryError):
    """A check of a model's input that has memory for so many rows."""

    def before(input_ids):
        if len(input_ids) > rows:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")

    return before


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("cache", ["none", "dual"])
def test_without_memory_the_batch_is_halved_until_it_fits(model, cache, error):
    requests, done, counts = ten_requests(cache=cache, temperature=0.7), [], Counter()
    watched = Watched(model, at_most(2, error))
    outs = decode(
        watched,
        requests,
        batch_size=8,
        on_done=lambda index, result: done.append((index, plain([result]))),
        counts=counts,
    )
    assert plain(outs) == plain(alone(model, requests)[0])
    assert sorted(done) == [(i, plain([out])) for i, out in enumerate(outs)]
    assert counts["out_of_memory"] == 2  # 8, 4, 2
    assert max(rows for rows, _ in watched.seen) == 2


@pytest.mark.parametrize("batch_size", [None, 64])
def test_the_batch_that_is_halved_is_the_one_that_was_tried(model, batch_size):
    requests, counts = ten_requests(), Counter()
    outs = decode(Watched(model, at_most(5)), requests, batch_size=batch_size, counts=counts)
    assert plain(outs) == plain(alone(model, requests)[0])
    assert counts["out_of_memory"] == 1  # 10, 5


def test_memory_that_runs_out_midway_costs_only_what_was_unfinished(model):
    requests, done, calls = ten_requests(), [], Counter()

    def before(input_ids):
        calls["all"] += 1
        if calls["all"] == 6:  # the first rows are done by then
            calls["done before"] = len(done)
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 7 GiB.")

    counts = Counter()
    report = dict(on_done=lambda index, result: done.append(index), counts=counts)
    outs = decode(Watched(model, before), requests, batch_size=4, **report)
    assert plain(outs) == plain(alone(model, requests)[0])
    assert sorted(done) == list(range(10)) and 0 < calls["done before"] < 10
    assert counts["out_of_memory"] == 1


def test_one_request_without_memory_is_an_error_of_one_line(model):
    done = []
    with pytest.raises(LiftError, match="out of memory with one request of 18 tokens") as error:
        decode(Watched(model, at_most(0)), ten_requests(), on_done=lambda index, result: done.append(index))
    assert "\n" not in str(error.value) and not done


def test_another_failure_of_the_model_is_not_taken_for_want_of_memory(model):
    def before(input_ids):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="^shape mismatch$"):
        decode(Watched(model, before), ten_requests())
