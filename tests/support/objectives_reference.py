"""The training objectives for one row at a time: loops over tokens in float64, from the papers' formulas.

Of lift_harness only the noise is taken, which is what a row's loss is a function of.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from support.llada_reference import EOS, MASK, softmax

from lift_harness.keyed_random import TRAINING_MASK, keyed_bits
from lift_harness.training.objectives import Batch, NoiseKey

LIFT_LIKE = ("lift", "lift_a", "topk", "bottomk", "random2", "random3")
HARDEST, RANDOM, EASIEST = -1, 0, 1


@dataclass(frozen=True)
class AtTimes(NoiseKey):
    """Noise whose diffusion times are given."""

    times: tuple[float, ...] = ()

    def t(self, batch):
        return torch.tensor(self.times, dtype=torch.float64)


def make_batch(lengths, ids=None, pad_to=None, seed=0) -> Batch:
    """Rows of (prompt, response) lengths; text and priority are functions of the example id alone."""
    ids = list(range(len(lengths))) if ids is None else ids
    width = pad_to or max(map(sum, lengths))
    x0 = torch.full((len(lengths), width), EOS)
    response = torch.ones(len(lengths), width, dtype=torch.bool)
    priority = torch.zeros(len(lengths), width, dtype=torch.bool)
    padding = torch.ones(len(lengths), width, dtype=torch.bool)
    for row, ((prompt, answer), example) in enumerate(zip(lengths, ids, strict=True)):
        rng, n = np.random.default_rng([seed, example]), prompt + answer
        x0[row, :n] = torch.from_numpy(rng.integers(0, MASK, n))
        priority[row, :n] = torch.from_numpy(rng.random(n) < 0.4)  # also in the prompt: it must not count
        response[row, :prompt] = False
        padding[row, :n] = False
    return Batch(x0, response, torch.tensor(ids), MASK, priority, padding)


def rows_of(batch: Batch, rows) -> Batch:
    kinds = batch.priority[rows], batch.padding[rows]
    return Batch(batch.x0[rows], batch.response[rows], batch.example_id[rows], batch.mask_id, *kinds)


# ---- one row


@dataclass
class Row:
    """What one row's loss is a function of; `logits_of(ids)` is the model, `initial_of` the frozen one.

    `company`: the rows of its batch, which the released code's loss is a function of too.
    """

    logits_of: object
    initial_of: object
    x0: list
    response: list
    priority: list
    padding: list
    t: float
    rho_share: float
    regime_share: float
    mask_noise: list
    order_noise: list
    mean_t: float
    company: list = field(default_factory=list, repr=False)
    before: int = 0  # tokens of earlier blocks, where the row is a block
    block_size: int | None = None  # where it is several

    def shown(self, i, masked):
        """The places that are shown where the one at i is predicted; negative ones are before the row."""
        size = self.block_size or len(self.x0)
        own = [j for j in range(len(self.x0)) if j // size == i // size and j not in masked]
        return [*range(-self.before, i // size * size), *own]

    @property
    def places(self):
        return [i for i in range(len(self.x0)) if self.response[i]]

    @property
    def text_places(self):
        return [i for i in self.places if not self.padding[i]]

    @cached_property
    def released_b(self):
        """GIFT's b of the released code: the padding is shown."""
        return uncertainty(self.logits_of(self.hide(self.text_places)), self.text_places)

    def hide(self, places):
        return [MASK if i in places else self.x0[i] for i in range(len(self.x0))]

    def nll(self, inputs, places):
        logits = self.logits_of(inputs)
        return {i: -math.log(softmax(logits[i])[self.x0[i]]) for i in places}


@dataclass
class View:
    """The expected outcome: inputs, and for each supervised place its weight and -log p."""

    inputs: list
    weight: dict
    nll: dict
    t: float
    rho: float = 0.0
    regime: int | None = None

    @property
    def loss(self):
        return sum(self.weight[i] * self.nll[i] for i in self.weight)


def slow(name, options, row):
    """The views of one row by DESIGN section 7: one, or density's two."""
    if name in LIFT_LIKE:
        return [lift_like(name, options, row)]
    methods = {"vanilla": vanilla, "cart": cart, "dream": dream, "gift": gift, "density": density}
    return methods[name](options, row)


def vanilla(options, row):
    masked = [i for i in row.places if row.mask_noise[i] < row.t]
    return [view(row, masked, {i: 1 / row.t for i in masked}, row.t)]


def view(row, masked, weight, t):
    inputs = row.hide(masked)
    return View(inputs, weight, row.nll(inputs, masked), t)


def cart(options, row):
    p = options.get("p", 0.1)
    (found,) = vanilla(options, row)
    for i in found.weight:
        distances = [abs(i - j) for j in row.shown(i, found.nll)]
        found.weight[i] *= 0.5 * sum(p * (1 - p) ** (distance - 1) for distance in distances)
    return [found]


def dream(options, row):
    """CART's context in the place of 1/t, and not times it."""
    (found,) = cart({"p": options.get("p", 0.3)}, row)
    found.weight = {i: weight * row.t for i, weight in found.weight.items()}
    return [found]


def uncertainty(logits, places):
    """Of each place the square root of its entropy."""
    b = {}
    for i in places:
        q = softmax(logits[i])
        b[i] = math.sqrt(-sum(float(x) * math.log(x) for x in q if x > 0))
    return b


def measured(metric, logits, row):
    """b of each place by a metric."""
    if metric == "nll":
        return {i: -math.log(softmax(logits[i])[row.x0[i]]) for i in row.places}
    root = uncertainty(logits, row.places)
    return root if metric == "sqrt_entropy" else {i: b * b for i, b in root.items()}


def gift(options, row):
    if options.get("variant") == "release":
        return [gift_of_release(row)]
    asked = row.initial_of if options.get("reference") else row.logits_of
    b = measured(options.get("metric", "sqrt_entropy"), asked(row.hide(row.places)), row)
    mean = sum(b.values()) / max(1, len(b))
    if options.get("form") == "weighting":
        masked = [i for i in row.places if row.mask_noise[i] < row.t]
        return [view(row, masked, {i: b[i] / mean / row.t for i in masked}, row.t)]
    weight = {}
    for i in row.places:
        r = b[i] / mean
        rate = 1 - (1 - row.t) ** r
        if row.mask_noise[i] < rate:
            nelbo = r * max(1 - row.t, 1e-3) ** (r - 1)
            weight[i] = (nelbo if options.get("weight") == "nelbo" else 1) / rate
    return [view(row, list(weight), weight, row.t)]


def gift_of_release(row):
    """The released code: mean(b) and the divisor are those of the batch, its text without padding."""
    every = [b for one in row.company for b in one.released_b.values()]
    mean = sum(every) / max(1, len(every))
    masked = []
    for one in row.company:
        rate = {i: 1 - (1 - one.t) ** (b / mean) for i, b in one.released_b.items()}
        masked.append({i: rate[i] for i in rate if one.mask_noise[i] < rate[i]})
    response = sum(len(one.places) for one in row.company)  # what a loss is divided by elsewhere
    scale = response / max(1, sum(map(len, masked)))
    own = next(rates for one, rates in zip(row.company, masked, strict=True) if one is row)
    return view(row, list(own), {i: scale / rate for i, rate in own.items()}, row.t)


def density(options, row):
    rate = density_rates(options, row)
    masked = [i for i in row.places if row.mask_noise[i] < rate[i]]
    if not options.get("complementary", True):
        return [view(row, masked, {i: 1 / row.t for i in masked}, row.t)]
    rest = [i for i in row.places if i not in masked]
    return [
        view(row, masked, {i: 0.5 / row.t for i in masked}, row.t),
        view(row, rest, {i: 0.5 / max(1 - row.t, 1e-3) for i in rest}, 1 - row.t),
    ]


def density_rates(options, row):
    """Masking rates by search: the p at which as many are masked as t asks for."""
    first = [i for i in row.places if row.priority[i]]
    others = [i for i in row.places if not row.priority[i]]
    wanted = row.t * len(row.places)  # tokens, on average
    if options.get("hard"):
        of_first = min(wanted, len(first))
        share = {True: of_first / max(1, len(first)), False: (wanted - of_first) / max(1, len(others))}
        return {i: share[bool(row.priority[i])] for i in row.places}
    w = options.get("w", 2)
    low, high = 0.0, max(1.0, 1 / w)
    for _ in range(100):
        p = (low + high) / 2
        if len(first) * min(w * p, 1) + len(others) * min(p, 1) < wanted:
            low = p
        else:
            high = p
    return {i: min(w * p, 1) if row.priority[i] else min(p, 1) for i in row.places}


def lift_like(name, options, row):
    t, release = row.t, options.get("variant") == "release"
    rho = slow_rho("release" if release else options.get("rho", "uniform"), t, row.rho_share)
    masked = [i for i in row.places if row.mask_noise[i] < t + rho]
    regime = slow_regime(name, options, row)
    if release:
        k = round(len(masked) * max(t / (t + rho), 1e-3))
        k = min(max(k, 1), len(masked)) if regime == RANDOM else k
    else:
        k = min(max(math.floor(t * len(row.places)), 1), len(masked))
    hidden = row.hide(masked)
    seen = row.nll(hidden, masked)
    score = {HARDEST: lambda i: -seen[i], EASIEST: lambda i: seen[i], RANDOM: lambda i: row.order_noise[i]}
    kept = sorted(sorted(masked, key=score[regime])[:k])
    if name == "lift_a" and not (release and regime == RANDOM):  # there the code forgets its flag
        weight = 1 / t if release else 1 / (t + rho)
        return View(hidden, {i: weight for i in kept}, seen, t, rho, regime)
    shown = row.hide(kept)
    return View(shown, {i: 1 / t for i in kept}, row.nll(shown, kept), t, rho, regime)


def slow_rho(strategy, t, u):
    """rho of a strategy at t, from a uniform number."""
    if strategy == "uniform":
        return u * (1 - t)
    if strategy == "release":
        drawn = (t - 1e-3) / (1 - 1e-3)  # before the epsilon
        return 0.1 + u * (0.9 - drawn) if 1 - drawn > 0.1 else u * (1 - drawn)
    kind, k = strategy.split(":")
    low = min(float(k), 1 - t)
    return low if kind == "fixed" else low * (1 - u) + (1 - t) * u


def slow_regime(name, options, row):
    if name in ("topk", "bottomk"):
        return EASIEST if name == "topk" else HARDEST
    if name in ("random2", "random3"):
        H, at = int(name[-1]), row.regime_share
    else:
        H, at = options.get("H", 3), row.mean_t if options.get("variant") == "release" else row.t
    return HARDEST if at < 1 / H else EASIEST if at >= 1 - 1 / H else RANDOM


# ---- a batch


class Blocks:
    """Logits of a noised text by a model with blocks: of each block behind the clean ones before it.

    Args:
        reference: `reference(ids, block_size)`, the logits of one row.
        size: of a block.
    """

    def __init__(self, reference, size):
        self.reference, self.size, self.known = reference, size, {}

    def behind(self, clean, block):
        """Logits of a noised block after a clean text of whole blocks."""
        ids = (*clean, *block)
        if ids not in self.known:
            self.known[ids] = self.reference(ids, self.size)[len(clean) :]
        return self.known[ids]

    def of(self, clean):
        """The function of a noised copy of a clean text."""

        def logits_of(noised):
            starts = range(0, len(clean), self.size)
            found = [self.behind(clean[:start], noised[start : start + self.size]) for start in starts]
            return np.concatenate(found)

        return logits_of


def rows(batch, key, logits_of, initial_of=None):
    """The rows of a batch; the mean t is that of the rows with a response."""
    times, real = key.t(batch).tolist(), batch.response.any(-1).tolist()
    mean_t = sum(t for t, counts in zip(times, real, strict=True) if counts) / max(1, sum(real))
    noise = key.rho(batch), key.regime(batch), key.per_token(TRAINING_MASK, batch), key.select(batch)
    columns = (batch.x0, batch.response, batch.priority, batch.padding)
    company = []
    for *parts, t, rho, regime, mask, order in zip(*columns, times, *noise, strict=True):
        text = [part.tolist() for part in parts]
        drawn = [part.tolist() for part in (rho, regime, mask, order)]
        row = Row(logits_of, initial_of, *text, t, *drawn, mean_t, company)
        if isinstance(logits_of, Blocks):
            row.logits_of, row.block_size = logits_of.of(row.x0), logits_of.size
        company.append(row)
    return company


def rows_of_blocks(batch, key, blocks):
    """Each block of each row as a row of its own, with noise of its own: that of its key."""
    for b in range(len(batch.x0)):
        for number, start in enumerate(range(0, batch.x0.shape[1], blocks.size)):
            ids = batch.example_id[b : b + 1]
            part = (slice(b, b + 1), slice(start, start + blocks.size))
            texts = (batch.x0[part], batch.response[part])
            kinds = (batch.priority[part], batch.padding[part])
            one = Batch(*texts, keyed_bits(ids, number) if number else ids, MASK, *kinds)
            clean = batch.x0[b, :start].tolist()
            (row,) = rows(one, key, lambda noised, clean=clean: blocks.behind(clean, noised))
            row.before = start
            yield row


def assert_equals_slow(found, name, options, logits_of, batch, key, initial_of=None, rel=1e-6):
    """Inputs, supervised places, weights, times, regimes and the loss, row by row."""
    assert_rows_equal_slow(found, name, options, rows(batch, key, logits_of, initial_of), batch, rel)


def assert_rows_equal_slow(found, name, options, each, batch, rel=1e-6):
    """As `assert_equals_slow`, of rows; a block at the end of a text is narrower than the others."""
    each, total = list(each), 0.0
    B = len(each)
    for b, row in enumerate(each):
        expected = slow(name, options, row)
        assert len(found.inputs) == B * len(expected)
        for n, one in enumerate(expected):
            r = n * B + b
            width = len(one.inputs)
            assert found.inputs[r, :width].tolist() == one.inputs
            assert not found.supervised[r, width:].any()
            assert found.supervised[r].nonzero()[:, 0].tolist() == sorted(one.weight)
            weights = np.array([one.weight.get(i, 0.0) for i in range(len(one.inputs))])
            np.testing.assert_allclose(found.weight[r, :width].numpy(), weights, rtol=rel)
            np.testing.assert_allclose(found.t[r].item(), one.t, rtol=1e-12)
            np.testing.assert_allclose(found.rho[r].item(), one.rho, atol=1e-12)
            assert one.regime is None or found.regime[b].item() == one.regime
            total += one.loss
    assert (found.regime is None) == (name not in LIFT_LIKE)
    np.testing.assert_allclose(found.loss.item(), total / batch.response.sum().item(), rtol=1e-4)
