"""Random draws keyed by (seed, image index, draw number): a vectorised counter-based generator, no state and no loop over images.

The mixing function is SplitMix64's finaliser (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", §3), on 64-bit
words whose multiplication wraps. A draw depends on its key alone: never on the batch, the device, the dtype or what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(word: int) -> int:
    """The word modulo 2^64 as int64 has it."""
    return (word + 2**63) % 2**64 - 2**63


def _mixed(word: int) -> int:
    """`_mix` of one word."""
    z = word % 2**64
    z = (z ^ z >> 30) * _FIRST % 2**64
    z = (z ^ z >> 27) * _SECOND % 2**64
    return z ^ z >> 31


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser; spoils `z`."""
    # numpy has unsigned words: six tenths of the time of torch's signed ones on one thread (torch 2.13, numpy 2.4)
    if z.device.type == "cpu":
        words = z.numpy().view(np.uint64)
        for bits, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
            words ^= words >> bits
            if factor != 1:
                words *= np.uint64(factor)
        return z
    return _mix_signed(z)


def _mix_signed(z: Tensor) -> Tensor:
    z = _shift(z, 30).bitwise_xor_(z).mul_(_signed(_FIRST))
    z = _shift(z, 27).bitwise_xor_(z).mul_(_signed(_SECOND))
    return _shift(z, 31).bitwise_xor_(z)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def uniform(
    seed: int, index: Tensor, draw: int, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32
) -> Tensor:
    """Uniform numbers in (0, 1), symmetric about 1/2; the same in float32 and float64, with as many bits as they hold in less.

    Args:
        seed: the run's seed, any integer; what it leaves modulo 2^64 counts.
        index: the images' indices in the data set, int64 `(b,)`.
        draw: which draw of the image this is.
        shape: the shape of one image's draw.
        dtype: a floating one.

    Returns:
        `(b, *shape)` on `index`'s device, odd multiples of 2^-24 (float16: 2^-11, bfloat16: 2^-8), so never 0 or 1.

    Example:
        >>> alone = uniform(0, torch.tensor([7]), 3, (2,))
        >>> together = uniform(0, torch.tensor([5, 7]), 3, (2,))
        >>> bool((alone[0] == together[1]).all())
        True
    """
    # One after the other: a symmetric mixture would give image 3 of seed 5 the draws of image 5 of seed 3.
    golden = _signed(_GOLDEN)
    key = _mix(index.to(torch.int64) * golden + _signed(_mixed(int(seed) + _GOLDEN) + _GOLDEN))
    key = _mix(key + _signed((int(draw) + 1) * _GOLDEN))
    count = math.prod(shape)
    place = torch.arange(1, (count + 1) // 2 + 1, dtype=torch.int64, device=index.device) * golden
    words = torch.empty((len(index), len(place)), dtype=torch.int64, device=index.device)
    # each word is good for two numbers
    halves = _mix(torch.add(key[:, None], place, out=words)).view(torch.int32)[:, :count]
    kept = min(23, round(-math.log2(torch.finfo(dtype).eps)))
    bits = (halves >> (32 - kept)).bitwise_and_((1 << kept) - 1)
    return bits.to(dtype).add_(0.5).mul_(2.0**-kept).view(len(index), *shape)
