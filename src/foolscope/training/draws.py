"""Random draws of training: keyed by seed, epoch and image, so that a run that goes on draws what it would have drawn."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch

from foolscope import rng

Ints = npt.NDArray[np.int64]


def derived(seed: int, *places: int | str) -> int:
    """A seed of its own for each place in a run, 63 bits.

    Example:
        >>> derived(0, "epoch", 1) == derived(0, "epoch", 1) != derived(0, "epoch", 2)
        True
    """
    text = "/".join(map(str, (seed, *places)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def shuffled(seed: int, positions: Ints) -> Ints:
    """The positions in an order that depends on the seed alone: sorted by a draw of each."""
    keys = rng.uniform(seed, torch.from_numpy(positions), 0, (), torch.float64)
    order: Ints = torch.argsort(keys, stable=True).numpy()
    return positions[order]


def batches(positions: Ints, size: int) -> list[Ints]:
    """Pieces of `size`; a single image left over joins the batch before it, because batch-norm can't learn from one."""
    ends = list(range(size, len(positions), size))
    if ends and len(positions) - ends[-1] == 1:
        ends.pop()
    return np.split(positions, ends)
