"""Decoding against a slow loop written from the papers, over a float64 model with kept keys and values."""

import itertools
import math

import pytest
import torch
from support.llada_reference import MASK, VOCAB, ReferenceLLaDA, random_prompts, softmax

from lift_harness.decoding import DecodingConfig, generate


def score(remasking, p, token):
    """LLaDA's confidence, and Dream's topk_margin and entropy (arXiv 2508.15487)."""
    if remasking == "low_confidence":
        return p[token]
    if remasking == "margin":
        first, second = sorted(p, reverse=True)[:2]
        return first - second
    return -entropy(p)


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def how_many(config, ranked, sure, uncertain, step):
    """(commits of a step, smallest gap that decided it); `ranked`: masked positions, the surest first."""
    if config.schedule == "fixed":  # LLaDA: get_num_transfer_tokens
        share = config.steps // config.blocks
        if step >= share - 1:  # the same as below, unless a first pass has committed one token only
            return len(ranked), math.inf
        return config.block_length // share + (step < config.block_length % share), math.inf
    if config.schedule == "dream":  # Dream: diffusion_generate
        t = torch.linspace(1, config.eps, config.steps + 1)
        s_over_t = t[step + 1] / t[step]
        left = torch.tensor(float(len(ranked)))
        return int(left * (1 - s_over_t)) if step < config.steps - 1 else len(ranked), math.inf
    if config.schedule == "entropy_bound":  # EB-Sampler: the largest set whose sum less its largest fits
        lost = []
        for k in range(1, len(ranked) + 1):
            taken = [uncertain[i] for i in ranked[:k]]
            lost.append(sum(taken) - max(taken) - config.entropy_bound)
        count = max(k for k in range(1, len(ranked) + 1) if k == 1 or lost[k - 1] <= 0)
        return count, min((abs(x) for x in lost[1:]), default=math.inf)
    if config.schedule == "threshold":  # Fast-dLLM
        bars = [config.threshold] * len(ranked)
    else:
        bars = [1 - config.factor / (r + 1) for r in range(1, len(ranked) + 1)]
    above = [sure[i] - bar for i, bar in zip(ranked, bars, strict=True)]
    return max(1, sum(x >= 0 for x in above)), min(abs(x) for x in above)


def published(model, prompt, config, shift=0):
    """LLaDA's `generate`, Fast-dLLM's parallel schedules and caches, EB-Sampler and Dream's grid, one row.

    Also returns the smallest gap that decided a token or a commit: below about 1e-4 another arithmetic
    may rightly differ, and the case tests nothing. With `shift` a position is predicted by the one before;
    under a cache the block's first pass then commits the block's first token and nothing else (Fast-dLLM's
    Dream code).
    """
    x = [*prompt, *[MASK] * config.gen_length]
    found, passes, gap = {}, 0, math.inf
    for begin in range(len(prompt), len(x), config.block_length):
        end = begin + config.block_length
        kept = ({}, {})  # keys and values of the conditional and the unconditional half
        again = {
            "none": range(len(x)),
            "auto": range(len(x)),  # of a bidirectional model
            "prefix": range(begin, len(x)),
            "dual": range(begin, end),
        }
        columns = range(len(x))
        for step in itertools.count():
            masked = [i for i in range(begin, end) if x[i] == MASK]
            if not masked:
                break
            leads = shift and config.cache in ("prefix", "dual") and step == 0
            if leads:
                masked = masked[:1]
            elif config.schedule in ("fixed", "dream") and how_many(config, masked, {}, {}, step)[0] == 0:
                continue  # the published code takes a pass for nothing
            logits = model(x, columns, kept[0])
            if config.cfg_scale:
                without = model([MASK] * len(prompt) + x[len(prompt) :], columns, kept[1])
                logits = without + (config.cfg_scale + 1) * (logits - without)
            logits[:, list(config.suppress_tokens)] = -math.inf
            token, sure, uncertain = {}, {}, {}
            for i in masked:
                row = logits[columns.index(i - shift)]
                allowed = [j for j in range(VOCAB) if j != MASK]
                first, second = sorted(allowed, key=lambda j: -row[j])[:2]
                gap = min(gap, row[first] - row[second])
                p = softmax(row)
                token[i], sure[i], uncertain[i] = first, score(config.remasking, p, first), entropy(p)
            ranked = sorted(masked, key=lambda i: -sure[i])
            count, decided_by = how_many(config, ranked, sure, uncertain, step)
            count, decided_by = (1, math.inf) if leads else (count, decided_by)
            gap = min(gap, decided_by)
            if count < len(ranked):
                gap = min(gap, sure[ranked[count - 1]] - sure[ranked[count]])
            for i in ranked[:count]:
                x[i], found[i] = token[i], (passes, sure[i])
            passes, columns = passes + 1, again[config.cache]
    assert MASK not in x and x[: len(prompt)] == prompt
    steps, confidences = zip(*(found[i] for i in range(len(prompt), len(x))), strict=True)
    return x[len(prompt) :], list(steps), confidences, passes, gap


TWO_A_STEP = dict(gen_length=16, block_length=8, steps=8)
THRESHOLD = dict(gen_length=24, block_length=12, schedule="threshold", threshold=0.5)
FACTOR = dict(gen_length=24, block_length=12, schedule="factor", factor=1.2)
ENTROPY_BOUND = dict(gen_length=24, block_length=12, schedule="entropy_bound", entropy_bound=1.5)
DREAM = dict(gen_length=18, block_length=18, steps=12, schedule="dream")
LOOPS = {
    "one a step": dict(gen_length=16, block_length=16, steps=16),
    "two a step": TWO_A_STEP,
    "remainders": dict(gen_length=21, block_length=7, steps=9),
    "more steps than tokens": dict(gen_length=8, block_length=4, steps=12),
    "all at once": dict(gen_length=12, block_length=4, steps=3),
    "guided": TWO_A_STEP | dict(cfg_scale=1.5),
    "margin": TWO_A_STEP | dict(remasking="margin"),
    "entropy": TWO_A_STEP | dict(remasking="entropy"),
    "without some tokens": TWO_A_STEP | dict(suppress_tokens=[*range(0, MASK, 2)]),
    "threshold": THRESHOLD,
    "threshold on margins": THRESHOLD | dict(threshold=0.3, remasking="margin"),
    "factor": FACTOR,
    "entropy bound": ENTROPY_BOUND,
    "entropy bound, least entropy first": ENTROPY_BOUND | dict(remasking="entropy"),
    "entropy bound 0": ENTROPY_BOUND | dict(entropy_bound=0.0, gen_length=12),
    "dream": DREAM,
    "dream, on margins, steps with nothing to do": DREAM | dict(remasking="margin", steps=25, eps=0.2),
    "prefix cache": TWO_A_STEP | dict(cache="prefix"),
    "prefix cache, three blocks, threshold": THRESHOLD | dict(cache="prefix", block_length=8),
    "prefix cache, entropy bound": ENTROPY_BOUND | dict(cache="prefix"),
    "prefix cache, guided": TWO_A_STEP | dict(cache="prefix", cfg_scale=0.7),
    "dual cache": TWO_A_STEP | dict(cache="dual"),
    "dual cache, three blocks, factor": FACTOR | dict(cache="dual", block_length=8),
    "dual cache, entropy bound": ENTROPY_BOUND | dict(cache="dual"),
    "dual cache, guided": TWO_A_STEP | dict(cache="dual", cfg_scale=0.7),
    "dual cache, dream": DREAM | dict(cache="dual"),
}


def compare(model, reference, config, prompts, **shift):
    """Decode and compare all prompts whose decisions are clear; how many these are."""
    outs, compared = generate(model, prompts, config, mask_id=MASK, batch_size=1), 0
    for prompt, out in zip(prompts, outs, strict=True):
        ids, steps, confidences, passes, gap = published(reference, prompt, config, **shift)
        if gap > 1e-4:
            assert (out.ids, out.step, out.forward_passes) == (ids, steps, passes)
            assert out.confidence == pytest.approx(confidences, abs=1e-4)
            compared += 1
    return compared


IN_BOTH_SHAPES = ["two a step", "guided", "threshold", "prefix cache", "dual cache"]


@pytest.mark.parametrize(
    "shape, name", [("gqa", name) for name in LOOPS] + [("mha", name) for name in IN_BOTH_SHAPES]
)
def test_equals_the_published_loop(llada, llada_folder, shape, name):
    config = DecodingConfig(**LOOPS[name], early_stop=False)
    reference = ReferenceLLaDA(llada_folder(shape))
    assert compare(llada(shape), reference, config, random_prompts([4, 11, 7, 5])) >= 2


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_is_an_approximation_that_shows(llada_folder, cache):
    """Otherwise the comparisons above would not tell a cache from none."""
    reference, prompt = ReferenceLLaDA(llada_folder("gqa")), random_prompts([11])[0]
    config = DecodingConfig(**TWO_A_STEP, cache=cache)
    cached, exact = (
        published(reference, prompt, config),
        published(reference, prompt, config.replace(cache="none")),
    )
    assert max(abs(a - b) for a, b in zip(cached[2], exact[2], strict=True)) > 0.01
    other = published(reference, prompt, config.replace(cache={"prefix": "dual", "dual": "prefix"}[cache]))
    assert max(abs(a - b) for a, b in zip(cached[2], other[2], strict=True)) > 0.01


class Shifted:
    """The model as one whose position i - 1 predicts the token at i (Dream)."""

    logit_shift = 1

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    def hidden_states(self, input_ids, attention_mask=None, position_ids=None, cache=None, at=None):
        at = (at + 1).clamp(max=input_ids.shape[1] - 1)  # only padding reaches beyond
        return self.model.hidden_states(input_ids, attention_mask, position_ids, cache, at)


@pytest.mark.parametrize(
    "name", ["two a step", "guided", "dream", "prefix cache", "dual cache", "dual cache, guided"]
)
def test_a_model_that_predicts_the_next_position_equals_the_published_loop(llada, llada_folder, name):
    config = DecodingConfig(**LOOPS[name], early_stop=False)
    reference, prompts = ReferenceLLaDA(llada_folder("gqa")), random_prompts([4, 11, 7, 5])

    def before(ids, columns, kept):
        """Row i holds what predicts position i + 1."""
        logits = reference(ids, columns, kept)
        return logits[[*range(1, len(logits)), 0]]

    assert compare(Shifted(llada("gqa")), before, config, prompts, shift=1) >= 2
