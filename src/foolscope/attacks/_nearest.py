"""The nearest fooling iterate of every row, kept in one place."""

from __future__ import annotations

import torch
from torch import Tensor

from foolscope.attacks._best import Kept

NEARER = 1 - 1e-6  # what is nearer by less is a tie, which rounding would decide


class Nearest:
    """The nearest fooling iterate of each row so far.

    Args:
        origin: `(r, ...)`, the images themselves: nothing is found yet.
        hold: how many offers may wait to be copied; `Kept`.

    Attributes:
        size: `(r,)`, of its perturbation; infinite where none was offered yet.
    """

    def __init__(self, origin: Tensor, hold: int = 1) -> None:
        self._kept = Kept(origin, hold)
        self.size = origin.new_full((len(origin),), torch.inf)

    @property
    def x(self) -> Tensor:
        """The iterates, `(r, ...)`; the image itself where none was offered yet."""
        return self._kept.x

    def take(self, x: Tensor, size: Tensor, fooled: Tensor, places: Tensor | None = None) -> Tensor:
        """Takes over what fools and is nearer in an offer for the rows `places` (None: for all); which of them that is."""
        least = self.size if places is None else self.size[places]
        better = fooled & (size < least * NEARER)
        self._kept.take(x, better, places)
        least = torch.where(better, size, least)
        if places is None:
            self.size = least
        else:
            self.size[places] = least
        return better
