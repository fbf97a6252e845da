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

    def take(self, x: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Takes over, in place, what is better in an offer for every row."""
        better = torch.where(fooled == self.fooled, loss > self.loss, fooled)
        view = better.view(-1, *[1] * (x.ndim - 1))
        torch.where(view, x, self.x, out=self.x)
        torch.where(better, loss, self.loss, out=self.loss)
        self.fooled.logical_or_(fooled)

    def of_rows(self, rows: Tensor) -> Best:
        """A copy of these rows."""
        return Best(self.x[rows], self.loss[rows], self.fooled[rows])

    def put(self, places: Tensor, other: Best) -> None:
        """Writes `other`'s rows over the rows `places`."""
        self.x[places], self.loss[places], self.fooled[places] = other

    def update(self, places: Tensor, x: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Takes over, in place, what is better in an offer for the rows `places`."""
        mine = self.of_rows(places)
        mine.take(x, loss, fooled)
        self.put(places, mine)
