"""Candidates, confidences, schedules and keyed noise, each against its definition."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.llada_reference import MASK, VOCAB, softmax

from lift_harness.decoding import DecodingConfig, Request, run
from lift_harness.decoding.sampling import choose, draw, filtered, most_probable, nucleus
from lift_harness.decoding.schedules import dream, entropy_bound, factor, fixed, highest, threshold
from lift_harness.keyed_random import keyed_bits, keyed_uniform

NO_QUOTA = torch.zeros(1, dtype=torch.int64)

light = settings(max_examples=100, deadline=None, derandomize=True)
CHI_SQUARE_999 = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52}  # 99.9 % by degrees of freedom


def keys(n, **columns):
    """(request, sample, position, step) columns; the position counts up unless given."""
    values = {"request": 0, "sample": 0, "position": torch.arange(n), "step": 0} | columns
    return [torch.as_tensor(value).expand(n) for value in values.values()]


def random_logits(rows, seed=0, scale=3.0):
    return scale * torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed))


def assert_follows(drawn, probabilities):
    """Chi-square test of tokens [n] against a distribution; what has probability 0 never occurs."""
    counts, p = np.bincount(drawn, minlength=len(probabilities)), np.asarray(probabilities)
    possible = p > 0
    assert counts[~possible].sum() == 0
    expected = len(drawn) * p[possible]
    chi_square = ((counts[possible] - expected) ** 2 / expected).sum()
    assert chi_square < CHI_SQUARE_999[possible.sum() - 1]


# ---- candidates


def candidates(logits, config, keys):
    return draw(filtered(logits, config), config, keys)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("column", ["request", "sample", "position", "step"])
def test_sampling_follows_the_softmax_at_the_temperature(temperature, column):
    n, logits = 20_000, torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5, -math.inf, -0.5])
    columns = {"position": 0, column: torch.arange(n)}
    config = DecodingConfig(temperature=temperature)
    drawn = candidates(logits.expand(n, -1), config, keys(n, **columns))
    assert_follows(drawn, softmax(logits.double().numpy() / temperature))


@pytest.mark.parametrize(
    "values, kept", [(dict(top_k=3), 3), (dict(top_p=0.8), 4), (dict(top_k=4, top_p=0.8), 3)]
)
def test_top_k_and_top_p_draw_from_what_they_keep_renormalised(values, kept):
    """At T = 2, top_p cuts the distribution at the temperature, and what top_k left of it."""
    n, temperature = 20_000, 2.0
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5, -1.5])
    p = softmax(logits.double().numpy() / temperature)
    p[np.argsort(-p)[kept:]] = 0
    drawn = candidates(logits.expand(n, -1), DecodingConfig(temperature=temperature, **values), keys(n))
    assert_follows(drawn, p / p.sum())


@light
@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=12),
    k=st.integers(0, 14),
    p=st.floats(0.01, 1),
)
def test_what_top_k_and_top_p_keep_is_what_brute_force_keeps(logits, k, p):
    row = torch.tensor([logits])
    kept = most_probable(row, k)[0] > -math.inf
    bar = sorted(logits, reverse=True)[k - 1] if 0 < k < len(logits) else -math.inf
    assert kept.tolist() == [value >= bar for value in logits]

    probability = softmax(np.array(logits))
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    for size in range(1, len(logits) + 1):
        total = sum(probability[i] for i in ranked[:size])
        assume(abs(total - p) > 1e-5 or p == 1)
        if total >= p:
            break
    cut = nucleus(row, p)[0]
    if p < 1:
        assert [i for i in range(len(logits)) if cut[i] > -math.inf] == sorted(ranked[:size])
    else:
        assert torch.equal(cut, row[0])
    assert all(cut[i] in (row[0, i], -math.inf) for i in range(len(logits)))


@pytest.mark.parametrize(
    "values", [dict(), dict(temperature=0.7), dict(temperature=3.0, top_k=1), dict(top_p=0.3)]
)
def test_the_mask_is_never_chosen_and_the_surest_other_token_takes_its_place(values):
    logits = random_logits(50)
    logits[:, MASK] = 30.0
    for dtype in (torch.float32, torch.bfloat16):
        chosen = choose(logits.to(dtype), DecodingConfig(**values), MASK, keys(50)).token
        assert MASK not in chosen
        if values.get("temperature", 0) == 0 or "top_k" in values:
            others = logits.to(dtype).float()
            others[:, MASK] = -math.inf
            assert torch.equal(others.gather(1, chosen[:, None])[:, 0], others.amax(-1))


# ---- confidences


def confidences(row, token):
    p = softmax(row)
    first, second = np.sort(p)[:-3:-1]
    entropy = -sum(x * math.log(x) for x in p if x > 0)
    return {"low_confidence": p[token], "margin": first - second, "entropy": -entropy}


@pytest.mark.parametrize("suppressed", [(), (3, 17, 40)])
@pytest.mark.parametrize("scale", [0.01, 3.0, 60.0])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("remasking", ["low_confidence", "margin", "entropy"])
def test_confidences_are_those_of_the_formulas_in_float64(remasking, temperature, scale, suppressed):
    """Over all tokens but the suppressed, the mask among them, at temperature 1 whatever the candidate's."""
    config = DecodingConfig(remasking=remasking, temperature=temperature, suppress_tokens=suppressed)
    logits = random_logits(40, scale=scale)
    rows = logits.double().numpy()
    rows[:, list(suppressed)] = -math.inf
    choice = choose(logits.clone(), config, MASK, keys(40))
    assert choice.confidence.dtype == torch.float32 and choice.entropy is None
    assert not set(choice.token.tolist()) & {MASK, *suppressed}
    for row, token, sure in zip(rows, choice.token, choice.confidence, strict=True):
        assert sure.item() == pytest.approx(confidences(row, token)[remasking], abs=1e-5)


def test_the_entropy_bound_schedule_is_given_entropies_whatever_the_confidence():
    config = DecodingConfig(schedule="entropy_bound", entropy_bound=1.0, remasking="margin")
    logits = random_logits(20)
    choice = choose(logits.clone(), config, MASK, keys(20))
    for row, token, sure, entropy in zip(logits.double().numpy(), *choice, strict=True):
        expected = confidences(row, token)
        assert sure.item() == pytest.approx(expected["margin"], abs=2e-6)
        assert entropy.item() == pytest.approx(-expected["entropy"], abs=1e-5)


def test_random_confidences_are_uniform_and_unrelated_to_the_logits():
    config = DecodingConfig(remasking="random")
    logits, n = random_logits(1, scale=5.0), 4000
    sure = choose(logits.expand(n, -1).clone(), config, MASK, keys(n)).confidence
    counts = torch.histc(sure, bins=5, min=0, max=1).double()
    assert ((counts - n / 5) ** 2 / (n / 5)).sum() < CHI_SQUARE_999[4]
    other = choose(logits.expand(n, -1).clone(), config.replace(seed=1), MASK, keys(n)).confidence
    assert abs(torch.corrcoef(torch.stack((sure, other)))[0, 1]) < 0.06


class SameEverywhere:
    """A model that predicts one distribution, whatever it sees."""

    config = SimpleNamespace(vocab_size=3, max_position_embeddings=64)
    device, dtype, logit_shift, cache_shape = torch.device("cpu"), torch.float32, 0, None

    def __init__(self, probabilities):
        self.logits = torch.tensor([*probabilities, 1e-9]).log()

    def hidden_states(self, input_ids, attention_mask=None, position_ids=None, at=None):
        return torch.zeros(*at.shape, 1)

    def logits_at(self, hidden):
        return self.logits.expand(*hidden.shape[:-1], -1).clone()


def test_every_step_draws_anew_for_the_positions_that_are_still_masked():
    """With m masked, a step commits the likely token unless all m draws are the other one."""
    block, n, rare = 3, 3000, 0.4
    config = DecodingConfig(gen_length=2 * block, block_length=block, steps=2 * block, temperature=1.0)
    requests = [
        Request((0,), config, key=key, sample=sample) for key in range(30) for sample in range(n // 30)
    ]
    outs = run(SameEverywhere([1 - rare, rare]), requests, mask_id=2, batch_size=1000)
    for step in range(2 * block):
        p = rare ** (block - step % block)
        assert_follows([out.ids[out.step.index(step)] for out in outs], [1 - p, p])
    pairs = Counter((out.ids[out.step.index(2)], out.ids[out.step.index(5)]) for out in outs)
    both = np.array([[pairs[a, b] for b in (0, 1)] for a in (0, 1)])
    expected = both.sum(1, keepdims=True) * both.sum(0) / n
    assert ((both - expected) ** 2 / expected).sum() < CHI_SQUARE_999[1]  # independent


# ---- schedules


@light
@given(masks=st.integers(1, 70), steps=st.integers(1, 80), blocks=st.integers(1, 3))
def test_the_fixed_schedule_gives_every_step_its_share_and_the_first_ones_the_rest(masks, steps, blocks):
    config = DecodingConfig(gen_length=64 * blocks, block_length=64, steps=steps * blocks)
    counts: list[int] = []
    for step in range(steps):
        counts.append(fixed(config, masks, masks - sum(counts), step))
    assert sum(counts) == masks
    assert counts == sorted(counts, reverse=True) and counts[0] - counts[-1] <= 1


@light
@given(masks=st.integers(1, 200), steps=st.integers(1, 220), eps=st.floats(1e-5, 0.5))
def test_the_dream_schedule_follows_its_time_grid_and_ends_with_the_rest(masks, steps, eps):
    config = DecodingConfig(gen_length=masks, block_length=masks, steps=steps, schedule="dream", eps=eps)
    times, left = np.linspace(1, eps, steps + 1), masks
    for step in range(steps):
        count = dream(config, masks, left, step)
        exact = left * (1 - times[step + 1] / times[step])
        if step == steps - 1:
            assert count == left
        else:  # where the exact number is whole, float32 decides
            assert 0 <= count <= left and math.floor(exact - 1e-3) <= count <= math.floor(exact + 1e-3)
        left -= count
    assert left == 0


sorted_confidences = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9).map(
    lambda values: sorted(values, reverse=True)
)


@light
@given(ranked=sorted_confidences, bar=st.floats(0, 1, width=32), f=st.floats(0.1, 4))
def test_threshold_and_factor_count_as_a_loop_does(ranked, bar, f):
    values = torch.tensor([[*ranked, -math.inf, -math.inf]])  # two positions that are not masked
    config = DecodingConfig(schedule="threshold", threshold=bar)
    assert threshold(config, values, values, NO_QUOTA).tolist() == [
        max(1, sum(value >= bar for value in ranked))
    ]
    bars = [1 - f / (rank + 1) for rank in range(1, len(ranked) + 1)]
    assume(all(abs(value - bar) > 1e-6 for value, bar in zip(ranked, bars, strict=True)))
    passed = 0
    for value, bar in zip(ranked, bars, strict=True):
        passed += value >= bar
    config = DecodingConfig(schedule="factor", factor=f)
    assert factor(config, values, values, NO_QUOTA).tolist() == [max(1, passed)]


@light
@given(
    rows=st.lists(st.lists(st.floats(0, 4, width=32), min_size=5, max_size=5), min_size=1, max_size=4),
    masked=st.integers(1, 5),
    bound=st.floats(0, 8, width=32),
)
def test_the_entropy_bound_takes_the_most_that_brute_force_finds(rows, masked, bound):
    config = DecodingConfig(schedule="entropy_bound", entropy_bound=bound)
    entropies = torch.tensor([row[:masked] + [math.inf] * (5 - masked) for row in rows])
    expected = []
    for row in rows:
        lost = [sum(row[:k]) - max(row[:k]) for k in range(1, masked + 1)]
        assume(all(abs(value - bound) > 1e-5 for value in lost[1:]))
        expected.append(max(k for k in range(1, masked + 1) if k == 1 or lost[k - 1] <= bound))
    assert entropy_bound(config, -entropies, entropies, NO_QUOTA).tolist() == expected


@light
@given(
    rows=st.lists(
        st.tuples(st.lists(st.integers(0, 3), min_size=6, max_size=6), st.integers(0, 6)), min_size=1
    ),
)
def test_the_highest_are_taken_and_of_equal_ones_the_left(rows):
    confidence = torch.tensor([values for values, _ in rows], dtype=torch.float32)
    counts = torch.tensor([count for _, count in rows])
    taken = highest(confidence, counts)
    for (values, count), found in zip(rows, taken.tolist(), strict=True):
        best = sorted(range(6), key=lambda i: (-values[i], i))[:count]
        assert [i for i in range(6) if found[i]] == sorted(best)

    def count(ranked, order):
        assert torch.equal(ranked, confidence.gather(1, order))
        assert torch.equal(ranked, confidence.sort(-1, descending=True).values)
        return counts

    assert torch.equal(highest(confidence, count), taken)


# ---- keyed noise


def mix(x):
    """SplitMix64's output function in Python integers (Steele, Lea and Flood 2014, figure 17)."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


def slow_bits(*key):
    gamma, h = 0x9E3779B97F4A7C15, 0
    for part in key:
        h = mix(((h ^ mix((part + gamma) % 2**64)) + gamma) % 2**64)
    return h


def test_the_hash_is_that_of_splitmix64():
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # published: first output from seed 0
    for key in [(0,), (1, 2, 3), (-1, 2**62, 7), (2**63, 2**64 - 1), (0, 0, 0, 0, 0, 0)]:
        assert keyed_bits(*key).item() % 2**64 == slow_bits(*key)
        assert keyed_uniform(*key).item() == ((slow_bits(*key) >> 12) + 0.5) / 2**52


def test_keyed_numbers_are_those_of_earlier_releases():
    frozen = {
        (0,): 0.6524484863740322,
        (0, 0): 0.6561149711801132,
        (0, 1): 0.91970127789074,
        (1, 0): 0.4030143839506394,
        (42, 3, 1, 7): 0.7034882350791986,
    }
    assert {key: keyed_uniform(*key).item() for key in frozen} == frozen


def test_tensors_of_keys_broadcast_and_equal_single_keys():
    a, b = torch.arange(3)[:, None], torch.tensor([5, -7])
    table = keyed_uniform(9, a, 4, b)
    assert table.shape == (3, 2) and table.dtype == torch.float64
    assert table.tolist() == [[keyed_uniform(9, i, 4, j).item() for j in (5, -7)] for i in range(3)]


def test_keyed_numbers_are_uniform_and_neighbours_unrelated():
    i, j = torch.arange(200)[:, None], torch.arange(200)
    u = keyed_uniform(3, i, j)
    assert u.min() > 0 and u.max() < 1
    counts = torch.histc(u.float(), bins=20, min=0, max=1).double()
    assert ((counts - 2000) ** 2 / 2000).sum() < 43.8  # 99.9 % of 19 degrees of freedom
    for other in (u.roll(1, 0), u.roll(1, 1), keyed_uniform(4, i, j)):
        assert abs(torch.corrcoef(torch.stack((u.flatten(), other.flatten())))[0, 1]) < 0.02


# ---- of which distribution confidence is measured


@pytest.mark.parametrize("remasking", ["low_confidence", "margin", "entropy"])
def test_confidence_from_sampling_is_that_of_the_distribution_that_is_sampled(remasking):
    logits = torch.randn(40, 30, generator=torch.Generator().manual_seed(3))
    config = DecodingConfig(
        temperature=0.7, top_k=5, top_p=0.8, remasking=remasking, confidence_from="sampling"
    )
    choice = choose(logits.clone(), config, 7, keys(40))
    for row, token, sure in zip(logits.double().numpy(), choice.token, choice.confidence, strict=True):
        scaled = row / 0.7
        scaled[7] = -np.inf  # the mask
        kept = np.argsort(-scaled)[:5]
        p = softmax(scaled[kept])
        before = np.cumsum(p) - p
        p = p[before < 0.8] / p[before < 0.8].sum()
        expected = {
            "low_confidence": p[list(kept).index(int(token))],
            "margin": p[0] - (p[1] if len(p) > 1 else 0),
            "entropy": (p * np.log(p)).sum(),
        }[remasking]
        assert float(sure) == pytest.approx(expected, abs=1e-5)
