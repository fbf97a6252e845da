"""The images of a training run: read once where memory allows, and moved about at random where the user asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foolscope import rng
from foolscope.binding import bound_options, keyword_only
from foolscope.data.builtin import BUILTIN
from foolscope.errors import InputError
from foolscope.given import Data
from foolscope.training.draws import Ints, derived, shuffled

if TYPE_CHECKING:
    from foolscope.data import DataSet

IN_MEMORY = 4 * 2**30  # bytes of float32 images that are read once; more are read batch by batch
BLOCK = 2048  # images read at a time


def to_learn_from(data: Data) -> Data:
    """A DATA text as training reads it: a built-in name without a split means its split `train`; anything else stays as it is.

    Example:
        >>> to_learn_from("mnist"), to_learn_from("mnist:test"), to_learn_from("images.npz")
        ('mnist:train', 'mnist:test', 'images.npz')
    """
    built_in = BUILTIN.get(data) if isinstance(data, str) else None
    return f"{data}:train" if built_in is not None and "train" in built_in.splits else data


def held(data: DataSet, progress: Callable[[str, int, int], None]) -> DataSet:
    """The same data set, its images in memory if they take no more than `IN_MEMORY` bytes."""
    n = len(data)
    if 4 * n * int(np.prod(data.shape)) > IN_MEMORY:
        return data
    images = torch.empty((n, *data.shape))
    for first in range(0, n, BLOCK):
        places = np.arange(first, min(first + BLOCK, n))
        images[first : first + len(places)] = data.read(places)
        progress("read", first + len(places), n)
    return replace(data, read=lambda positions: images[torch.from_numpy(positions)])


def subset(data: DataSet, positions: Ints) -> DataSet:
    """The images at these positions, as a data set."""
    return replace(data, labels=data.labels[positions], read=lambda places: data.read(positions[places]))


def split(data: DataSet, share: float) -> tuple[Ints, Ints]:
    """Positions to train on and positions to validate on, the latter a share drawn at random: the same for every seed, rising.

    Raises:
        InputError: a share that leaves nothing on one side.
    """
    n, places = len(data), np.arange(len(data))
    count = round(share * n) if 0 < share < 1 else 0
    if not 0 < count < n:
        raise InputError("--validation", "a share that leaves images on both sides, or none", share)
    order = shuffled(derived(0, "validation"), places)
    return np.sort(order[count:]), np.sort(order[:count])


def flip(images: Tensor, u: Tensor) -> Tensor:
    """Mirrors half of the images, left to right; `u` `(b, 1)` decides."""
    return torch.where(u[:, :1, None, None] < 0.5, images.flip(3), images)


def crop(images: Tensor, u: Tensor, *, pad: int = 4) -> Tensor:
    """Shifts each image by up to `pad` pixels either way, zeros coming in; `u` `(b, 2)` decides."""
    if pad < 0:
        raise InputError("crop:pad", "a whole number of at least 0", pad)
    b, _, height, width = images.shape
    offset = (u * (2 * pad + 1)).long()
    ys = offset[:, :1] + torch.arange(height, device=images.device)
    xs = offset[:, 1:2] + torch.arange(width, device=images.device)
    at = torch.arange(b, device=images.device)[:, None, None]
    return F.pad(images, (pad,) * 4)[at, :, ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {"flip": flip, "crop": crop}


@dataclass(frozen=True)
class Augmentation:
    """Augmentations in their order: call it with images, their indices and a seed."""

    parts: tuple[Callable[[Tensor, Tensor], Tensor], ...]

    def __call__(self, images: Tensor, index: Tensor, seed: int) -> Tensor:
        """The images, changed."""
        for number, part in enumerate(self.parts):
            images = part(images, rng.uniform(seed, index, number, (2,), images.dtype))
        return images


def bind_augmentation(text: str) -> Augmentation:
    """`none`, or augmentations joined by +: `crop:pad=4+flip`.

    Raises:
        InputError: an unknown name or key.

    Example:
        >>> len(bind_augmentation("crop:pad=2+flip").parts)
        2
    """
    parts = []
    for item in filter(None, text.split("+") if text != "none" else ()):
        name, _, rest = item.strip().partition(":")
        if name not in AUGMENTATIONS:
            raise InputError("--augment", "none, or augmentations joined by +", name, AUGMENTATIONS)
        options = bound_options(name, keyword_only(AUGMENTATIONS[name]), rest, {})
        parts.append(_partly(AUGMENTATIONS[name], options))
    return Augmentation(tuple(parts))


def _partly(function: Callable[..., Tensor], options: dict[str, int]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda images, u: function(images, u, **options)
