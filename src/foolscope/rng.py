"""Random draws keyed by (seed, image index, draw number): a vectorised counter-based generator, no state and no loop over images.

The mixing function is SplitMix64's finaliser (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", §3), on int64
tensors whose multiplication wraps. A draw depends on its key alone: never on the batch, the device, the dtype or what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number, as are the next two
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = _shift(z, 30).bitwise_xor_(z).mul_(_FIRST)
    z = _shift(z, 27).bitwise_xor_(z).mul_(_SECOND)
    return _shift(z, 31).bitwise_xor_(z)


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
    word = torch.tensor([(seed + 2**63) % 2**64 - 2**63, draw], dtype=torch.int64, device=index.device)
    # One after the other: a symmetric mixture would give image 3 of seed 5 the draws of image 5 of seed 3.
    key = _mix(_mix(word[0] + _GOLDEN) + (index.to(torch.int64) + 1) * _GOLDEN)
    key = _mix(key + (word[1] + 1) * _GOLDEN)
    count = math.prod(shape)
    place = torch.arange(1, (count + 1) // 2 + 1, dtype=torch.int64, device=index.device) * _GOLDEN
    halves = _mix(key[:, None] + place).view(torch.int32)[:, :count]  # each word is good for two numbers
    kept = min(23, round(-math.log2(torch.finfo(dtype).eps)))
    bits = (halves >> (32 - kept)).bitwise_and_((1 << kept) - 1)
    return bits.to(dtype).add_(0.5).mul_(2.0**-kept).view(len(index), *shape)
