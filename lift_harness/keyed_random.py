"""Random numbers that are a function of a key, not of a generator's state.

Training noise is keyed by (seed, epoch, example, position), decoding noise by (seed, request,
sample, position, step): the same key gives the same number in any batch, on any rank, after any
resume. The hash folds the parts of the key one by one into 64 bits with the finaliser of SplitMix64
(Steele, Lea and Flood 2014), in int64 tensor arithmetic that wraps, on whatever device the parts are.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Streams: the part of a key that says what its number is for, so that no two purposes share numbers. Never
# renumber: every seed would give other noise. In training and analysis it stands after the seed, in decoding
# and likelihood before it, so that equal numbers of the two kinds do not meet.
TRAINING_TIME = 0  # the diffusion time t of an example
TRAINING_MASK = 1  # whether a token is masked
TRAINING_RHO = 2  # how far LIFT looks ahead
TRAINING_SELECT = 3  # ranks masked tokens where LIFT keeps some at random
TRAINING_REGIME = 4  # which tokens are learnt, where t does not decide it
ANALYSIS_DRAW = 101  # which examples are analysed
DECODING_GUMBEL = 101  # sampling of a token
DECODING_ORDER = 102  # which positions are committed first, with remasking=random
DECODING_CANVAS = 103  # seeds the generator of a decoder that is not ours (DiffusionGemma's)
LIKELIHOOD_LEVEL = 201  # the first of the stratified noise levels
LIKELIHOOD_ORDER = 202  # which tokens are hidden at a level


def _as_int64(value: int) -> int:
    """The signed 64-bit integer with the same bits."""
    return (value + 2**63) % 2**64 - 2**63


_GAMMA, _M1, _M2 = map(_as_int64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift (torch's is arithmetic), in a tensor of its own."""
    return (x >> bits).bitwise_and_(2 ** (64 - bits) - 1)


def _mix_(x: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place: a bijection of 64-bit words that spreads every bit."""
    x.bitwise_xor_(_shift_right(x, 30)).mul_(_M1)
    x.bitwise_xor_(_shift_right(x, 27)).mul_(_M2)
    return x.bitwise_xor_(_shift_right(x, 31))


def keyed_bits(*key: int | Tensor, device: torch.device | str | None = None) -> Tensor:
    """64 random bits (int64) for each key; the parts, ints or int64 tensors, broadcast together."""
    if device is None:
        device = next((part.device for part in key if isinstance(part, Tensor)), torch.device("cpu"))
    # Whole numbers stay on the host until they meet a tensor: a copy of each would make it wait for a GPU.
    h = torch.zeros((), dtype=torch.int64)
    for part in key:
        word = part if isinstance(part, Tensor) else torch.tensor(_as_int64(part))
        h = _mix_((h ^ _mix_(word.to(torch.int64) + _GAMMA)).add_(_GAMMA))
    return h.to(device)


def keyed_uniform(*key: int | Tensor, device: torch.device | str | None = None) -> Tensor:
    """Uniform float64 in the open interval (0, 1), one for each key (52 random bits).

    A 53rd would round the largest number to 1.
    """
    return _shift_right(keyed_bits(*key, device=device), 12).double().add_(0.5).div_(2**52)
