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
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def uniform(
    seed: int, index: Tensor, draw: int, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32
) -> Tensor:
    """Uniform numbers in (0, 1), symmetric about 1/2 and the same in every floating dtype of 24 bits or more.

    Args:
        seed: the run's seed, any 64-bit integer.
        index: the images' indices in the data set, int64 `(b,)`.
        draw: which draw of the image this is.
        shape: the shape of one image's draw.
        dtype: float32 or float64.

    Returns:
        `(b, *shape)` on `index`'s device, multiples of 2^-24 that are never 0 or 1.

    Example:
        >>> alone = uniform(0, torch.tensor([7]), 3, (2,))
        >>> together = uniform(0, torch.tensor([5, 7]), 3, (2,))
        >>> bool((alone[0] == together[1]).all())
        True
    """
    word = torch.tensor([seed, draw], dtype=torch.int64, device=index.device)
    key = _mix(_mix(word[0] + _GOLDEN) ^ _mix(index.to(torch.int64) + _GOLDEN))
    key = _mix(key + (word[1] + 1) * _GOLDEN)
    place = torch.arange(1, math.prod(shape) + 1, dtype=torch.int64, device=index.device) * _GOLDEN
    bits = _shift(_mix(key[:, None] + place), 41)
    return ((bits.to(dtype) + 0.5) * 2.0**-23).view(len(index), *shape)


def integers(seed: int, index: Tensor, draw: int, bound: int, shape: Sequence[int] = ()) -> Tensor:
    """Integers in [0, bound), int64 `(b, *shape)`; `bound` is far below 2^23, so the bias is below bound / 2^23."""
    return (uniform(seed, index, draw, shape, torch.float64) * bound).long()
