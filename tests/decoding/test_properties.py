"""What holds for every prompt and every setting (hypothesis)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.llada_reference import EOS, MASK, VOCAB

from lift_harness.decoding import DecodingConfig, Request, generate, run
from lift_harness.decoding.schedules import dream

light = settings(max_examples=30, deadline=None, derandomize=True)
SCHEDULES = {
    "fixed": {},
    "threshold": {"threshold": 0.4},
    "factor": {"factor": 1.0},
    "entropy_bound": {"entropy_bound": 0.8},
    "dream": {},
}


@st.composite
def configs(draw, schedules=tuple(SCHEDULES), **fixed):
    """Settings of every kind that go together; `fixed` ones as given."""
    schedule = draw(st.sampled_from(schedules))
    block_length = draw(st.sampled_from([1, 3, 4, 8]))
    blocks = 1 if schedule == "dream" else draw(st.integers(1, 3))
    measures = ["low_confidence", "margin"]
    if schedule not in ("threshold", "factor"):
        measures += ["entropy", "random"]
    values = dict(
        gen_length=block_length * blocks,
        block_length=block_length,
        steps=blocks * draw(st.integers(1, block_length + 2)),
        temperature=draw(st.sampled_from([0.0, 0.8])),
        top_p=draw(st.sampled_from([1.0, 0.7])),
        top_k=draw(st.sampled_from([0, 5])),
        remasking=draw(st.sampled_from(measures)),
        schedule=schedule,
        cache=draw(st.sampled_from(["none", "prefix", "dual"])),
        cfg_scale=draw(st.sampled_from([0.0, 0.0, 0.7])),
        suppress_tokens=draw(st.sampled_from([(), (), tuple(range(0, MASK, 2))])),
        seed=draw(st.integers(0, 5)),
        early_stop=False,
    )
    values |= SCHEDULES[schedule] | fixed
    if (schedule, values["cache"], values["cfg_scale"]) == ("fixed", "none", 0.0):
        values["speculate"] = draw(st.sampled_from([1, 2, 4]))
    return DecodingConfig(**values)


tokens = st.integers(0, MASK)  # masks too: in a prompt they are text like any other
some_prompts = st.lists(st.lists(tokens, min_size=1, max_size=9), min_size=1, max_size=3)
stop_sets = st.sets(st.integers(0, EOS), min_size=1, max_size=20)
canvases = st.lists(
    st.lists(tokens | st.just(MASK), min_size=1, max_size=24).filter(lambda ids: MASK in ids),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def model(llada):
    return llada("gqa").double()


def plain(outs):
    return [(out.ids, out.step, out.forward_passes) for out in outs]


# ---- every canvas is filled


@light
@given(config=configs(), prompts=some_prompts)
def test_every_position_is_committed_once_block_after_block(model, config, prompts):
    given_ = [list(prompt) for prompt in prompts]
    for out in generate(model, prompts, config, mask_id=MASK):
        assert len(out.ids) == len(out.step) == len(out.confidence) == config.gen_length
        assert all(0 <= token < VOCAB and token != MASK for token in out.ids)
        assert not set(out.ids) & set(config.suppress_tokens)
        assert all(math.isfinite(value) for value in out.confidence)
        assert set(out.step) == set(range(max(out.step) + 1))  # no step without a commit
        assert math.ceil((max(out.step) + 1) / config.speculate) <= out.forward_passes <= max(out.step) + 1
        if config.speculate == 1:
            assert out.forward_passes == max(out.step) + 1
        blocks = np.array(out.step).reshape(config.blocks, config.block_length)
        assert all(blocks[i].max() < blocks[i + 1].min() for i in range(config.blocks - 1))
    assert prompts == given_


@light
@given(config=configs(), prompts=some_prompts)
def test_history_lists_every_generated_position_once_in_the_order_of_steps(model, config, prompts):
    for out in generate(model, prompts, config, mask_id=MASK):
        listed = []
        for n, step in enumerate(out.history()):
            for i, token, sure in step:
                assert (n, token, sure) == (out.step[i], out.ids[i], out.confidence[i])
                listed.append(i)
        assert sorted(listed) == list(range(config.gen_length))


@light
@given(config=configs(cache="none", cfg_scale=0.0), prompts=some_prompts)
def test_the_model_always_sees_the_prompts_and_never_a_change_of_a_committed_token(model, config, prompts):
    canvases_seen = []

    class Watched:
        def __getattr__(self, name):
            return getattr(model, name)

        def hidden_states(self, input_ids, *args, **kwargs):
            canvases_seen.append(input_ids.tolist())
            return model.hidden_states(input_ids, *args, **kwargs)

    for prompt in prompts:
        canvases_seen.clear()
        (out,) = generate(Watched(), [prompt], config, mask_id=MASK)
        final = prompt + out.ids
        for canvas in sum(canvases_seen, []):
            assert canvas[: len(prompt)] == prompt
            drafts = config.speculate > 1  # a draft that did not come true may differ
            assert drafts or all(token in (MASK, end) for token, end in zip(canvas, final, strict=True))


@light
@given(config=configs(), canvases=canvases)
def test_infilling_keeps_what_is_given_and_fills_every_mask(model, config, canvases):
    for canvas, out in zip(
        canvases, generate(model, canvases, config, mask_id=MASK, infill=True), strict=True
    ):
        assert len(out.ids) == len(out.step) == len(out.confidence) == len(canvas)
        for token, found, step, sure in zip(canvas, out.ids, out.step, out.confidence, strict=True):
            if token == MASK:
                assert found != MASK and found not in config.suppress_tokens and step >= 0
            else:
                assert (found, step, sure) == (token, -1, 0)
        assert {step for step in out.step if step >= 0} == set(range(max(out.step) + 1))
        listed = [i for step in out.history() for i, _, _ in step]
        assert sorted(listed) == [i for i, token in enumerate(canvas) if token == MASK]
        # Blocks of `block_length` count from the first mask.
        first = canvas.index(MASK)
        of_block = [(i - first) // config.block_length for i in listed]
        assert of_block == sorted(of_block)


@light
@given(
    config=configs(), prompts=st.lists(st.lists(st.integers(0, MASK - 1), min_size=1), min_size=1, max_size=3)
)
def test_infilling_masks_after_a_prompt_is_generating(model, config, prompts):
    generated = generate(model, prompts, config, mask_id=MASK)
    by_hand = [prompt + [MASK] * config.gen_length for prompt in prompts]
    infilled = generate(model, by_hand, config, mask_id=MASK, infill=True)
    for prompt, ours, theirs in zip(prompts, generated, infilled, strict=True):
        assert theirs.ids == prompt + ours.ids
        assert theirs.step == [-1] * len(prompt) + ours.step
        assert theirs.forward_passes == ours.forward_passes


# ---- schedules


@light
@given(config=configs(["fixed"]), prompts=some_prompts)
def test_the_fixed_schedule_shares_the_block_out_with_the_remainder_first(model, config, prompts):
    n, s = config.block_length, config.steps // config.blocks
    share = [m for m in (n // s + (k < n % s) for k in range(s)) if m]
    for out in generate(model, prompts, config, mask_id=MASK):
        assert [len(step) for step in out.history()] == share * config.blocks


@light
@given(config=configs(["dream"]), prompts=some_prompts)
def test_the_dream_schedule_commits_its_grid_without_passes_for_nothing(model, config, prompts):
    left, counts = config.gen_length, []
    for step in range(config.steps):
        counts.append(dream(config, config.gen_length, left, step))
        left -= counts[-1]
    for out in generate(model, prompts, config, mask_id=MASK):
        assert [len(step) for step in out.history()] == [count for count in counts if count]
        assert out.forward_passes == len(out.history())


@light
@given(config=configs(["threshold", "factor"]), prompts=some_prompts)
def test_what_is_committed_together_passes_the_bar_of_its_rank(model, config, prompts):
    for out in generate(model, prompts, config, mask_id=MASK):
        for step in out.history():
            ranked = sorted((sure for _, _, sure in step), reverse=True)
            for rank, sure in enumerate(ranked, start=1):
                bar = 1 - config.factor / (rank + 1) if config.factor else config.threshold
                assert sure >= bar - 1e-6 or len(ranked) == 1


@light
@given(config=configs(["entropy_bound"], remasking="entropy"), prompts=some_prompts)
def test_the_entropies_committed_together_keep_within_the_bound(model, config, prompts):
    for out in generate(model, prompts, config, mask_id=MASK):
        for step in out.history():
            entropies = [-sure for _, _, sure in step]
            assert sum(entropies) - max(entropies) <= config.entropy_bound + 1e-5


@light
@given(
    config=configs(["fixed"], cache="none", cfg_scale=0.0), prompts=some_prompts, speculate=st.integers(2, 6)
)
def test_speculation_changes_nothing_but_the_number_of_passes(model, config, prompts, speculate):
    one_by_one = generate(model, prompts, config.replace(speculate=1), mask_id=MASK)
    for ours, theirs in zip(
        generate(model, prompts, config.replace(speculate=speculate), mask_id=MASK), one_by_one, strict=True
    ):
        assert (ours.ids, ours.step) == (theirs.ids, theirs.step)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-6)
        assert theirs.forward_passes / speculate <= ours.forward_passes <= theirs.forward_passes


# ---- ends


@light
@given(config=configs(), prompts=some_prompts, stops=stop_sets)
def test_early_stop_keeps_the_blocks_up_to_the_first_end_of_text(model, config, prompts, stops):
    stops = sorted(stops)
    whole = generate(model, prompts, config, mask_id=MASK, eos_id=stops)
    early = generate(model, prompts, config.replace(early_stop=True), mask_id=MASK, eos_id=stops)
    for full, out in zip(whole, early, strict=True):
        ends = [i for i, token in enumerate(full.ids) if token in stops]
        width = config.block_length
        length = (ends[0] // width + 1) * width if ends else config.gen_length
        assert_is_beginning(out, full, length)


def assert_is_beginning(out, full, length):
    assert out.ids == full.ids[:length]
    assert out.step == full.step[:length]
    assert out.confidence == pytest.approx(full.confidence[:length], abs=1e-6)
    assert out.forward_passes <= full.forward_passes
    if max(out.step) < max(full.step):
        assert out.forward_passes < full.forward_passes


@light
@given(config=configs(), prompts=some_prompts, max_tokens=st.integers(1, 30))
def test_max_tokens_gives_the_first_whole_blocks_that_hold_so_many(model, config, prompts, max_tokens):
    requests = [Request(tuple(prompt), config, key=i) for i, prompt in enumerate(prompts)]
    whole = run(model, requests, mask_id=MASK)
    limited = [
        Request(tuple(prompt), config, key=i, max_tokens=max_tokens) for i, prompt in enumerate(prompts)
    ]
    length = min(config.gen_length, math.ceil(max_tokens / config.block_length) * config.block_length)
    for full, out in zip(whole, run(model, limited, mask_id=MASK), strict=True):
        assert_is_beginning(out, full, length)


@light
@given(config=configs(), prompts=some_prompts, enough=st.integers(1, 30))
def test_a_finished_request_ends_at_the_block_in_which_it_finished(model, config, prompts, enough):
    calls = []

    def finished(found):
        calls.append(list(found))
        return len(found) >= enough

    whole = generate(model, prompts, config, mask_id=MASK)
    width = config.block_length
    for i, (prompt, full) in enumerate(zip(prompts, whole, strict=True)):
        calls.clear()
        (out,) = run(model, [Request(tuple(prompt), config, key=i, finished=finished)], mask_id=MASK)
        length = min(config.gen_length, math.ceil(enough / width) * width)
        assert_is_beginning(out, full, length)
        asked = [full.ids[:end] for end in range(width, length + 1, width)]
        assert calls == asked or calls == asked[:-1] and length == config.gen_length  # the last ends anyway
