"""The noise that objectives are a function of: keyed by seed, epoch, example and position."""

import math

import numpy as np
import torch
from support.llada_reference import MASK
from support.objectives_reference import make_batch

from lift_harness.keyed_random import TRAINING_MASK
from lift_harness.training.objectives import Batch, NoiseKey
from lift_harness.training.objectives.base import EPS
from lift_harness.training.vocabulary import shifted


def test_noise_does_not_depend_on_row_company_or_padding():
    key = NoiseKey(5, 2)
    lengths = {10: (5, 12), 11: (3, 20), 12: (8, 9)}
    for other in ([11, 12, 10], [10], [12, 10]):
        for pad_to in (None, 40):
            batch = make_batch([lengths[i] for i in other], other, pad_to)
            for row, example in enumerate(other):
                alone = make_batch([lengths[example]], [example])
                assert key.t(batch)[row] == key.t(alone)[0]
                assert key.rho(batch)[row] == key.rho(alone)[0]
                assert key.regime(batch)[row] == key.regime(alone)[0]
                n = alone.x0.shape[1]
                there, here = alone.response[0], batch.response[row, :n]
                assert torch.equal(there, here)
                for noise in (key.select, lambda batch: key.per_token(TRAINING_MASK, batch)):
                    assert torch.equal(noise(batch)[row, :n][here], noise(alone)[0][there])
                rate = torch.full((len(other),), 0.6)
                assert torch.equal(key.mask_below(rate, batch)[row, :n], key.mask_below(rate[:1], alone)[0])


def test_masks_belong_to_the_response_and_not_to_the_prompt_before_it():
    key, rate = NoiseKey(5, 2), torch.tensor([0.5])
    short, long = make_batch([(1, 30)], [7]), make_batch([(9, 30)], [7])
    assert torch.equal(key.mask_below(rate, short)[0, 1:], key.mask_below(rate, long)[0, 9:])


def test_epochs_seeds_and_examples_have_different_noise():
    batch = make_batch([(2, 40)] * 3)
    draws = [NoiseKey(0, 0), NoiseKey(0, 1), NoiseKey(1, 0), NoiseKey(0, 2)]
    times = [t for key in draws for t in key.t(batch).tolist()]
    assert len(set(times)) == len(times)
    masks = [row for key in draws for row in key.mask_below(torch.full((3,), 0.5), batch)[:, 2:]]
    agreement = [(a == b).double().mean() for i, a in enumerate(masks) for b in masks[:i]]
    assert 0.45 < np.mean(agreement) < 0.55 and max(agreement) < 0.9


def test_time_is_uniform_and_the_mask_rate_is_the_time():
    n, length = 4000, 16
    x0 = torch.zeros(n, length, dtype=torch.long)
    batch = Batch(x0, torch.ones_like(x0, dtype=torch.bool), torch.arange(n), MASK)
    key = NoiseKey(0, 0)
    t, rho, regime = key.t(batch), key.rho(batch), key.regime(batch)
    grid = (torch.arange(n) + 0.5) / n
    for u in ((t - EPS) / (1 - EPS), rho, regime):
        assert (u.sort().values - grid).abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov, 99.9 %
    assert t.min() >= EPS and t.max() <= 1
    assert (torch.corrcoef(torch.stack((t, rho, regime))) - torch.eye(3)).abs().max() < 0.05
    masked = key.mask_below(t, batch)
    excess = (masked.double() - t[:, None]).sum(0) / (t * (1 - t)).sum().sqrt()
    assert excess.abs().max() < 4  # standard normal at each position
    assert abs((masked.double().sum(-1) - t * length).sum() / (t * (1 - t) * length).sum().sqrt()) < 4


def test_the_shift_of_a_model_is_seen_through_a_parallel_wrapper(llada):
    model = llada("mha")
    model.logit_shift = 1
    wrapper = torch.nn.Module()
    wrapper.module = model
    assert (shifted(model), shifted(wrapper)) == (1, 1)
