"""The best iterate of every row, kept in one place."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Best(NamedTuple):
    """The best iterate of each row so far: a fooling one before any other, then the one of the largest loss.

    Attributes:
        x: `(r, ...)`.
        loss: `(r,)`; -inf where nothing was offered yet.
        fooled: `(r,)`.
    """

    x: Tensor
    loss: Tensor
    fooled: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Best:
        """A copy of `x`, which any offer beats."""
        return cls(x.clone(), x.new_full((len(x),), -torch.inf), torch.zeros(len(x), dtype=torch.bool, device=x.device))

    def update(self, places: Tensor, x: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Takes over, in place, the offers for the rows `places` that are better."""
        better = torch.where(fooled == self.fooled[places], loss > self.loss[places], fooled)
        place = places[better]
        self.x[place], self.loss[place], self.fooled[place] = x[better], loss[better], fooled[better]
