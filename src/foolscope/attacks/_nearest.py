"""The nearest fooling iterate of every row, kept in one place."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from foolscope.attacks._best import take_rows

NEARER = 1 - 1e-6  # what is nearer by less is a tie, which rounding would decide


class Nearest(NamedTuple):
    """The nearest fooling iterate of each row so far.

    Attributes:
        x: `(r, ...)`; the image itself where none was offered yet.
        size: `(r,)`, of its perturbation; infinite where none was offered yet.
    """

    x: Tensor
    size: Tensor

    @classmethod
    def of(cls, origin: Tensor) -> Nearest:
        """Nothing found yet around these images."""
        return cls(origin.clone(), origin.new_full((len(origin),), torch.inf))

    def take(self, x: Tensor, size: Tensor, fooled: Tensor) -> Tensor:
        """Takes over, in place, the rows of `x` that fool and are nearer; which they were, `(r,)`."""
        better = fooled & (size < self.size * NEARER)
        take_rows(self.x, x, better)
        take_rows(self.size, size, better)
        return better
