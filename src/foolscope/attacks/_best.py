"""The best iterate of every row, kept in one place."""

from __future__ import annotations

import torch
from torch import Tensor


class Best:
    """The best iterate of each row so far: a fooling one before any other, then the one of the largest loss.

    An iterate is copied only once the next one fails to beat it, so that a row that improves at every step costs no copy at all.

    Args:
        x: `(r, ...)`, what `x` is before anything was offered; any offer beats it.

    Attributes:
        loss: `(r,)`; -inf where nothing was offered yet.
        fooled: `(r,)`.
    """

    def __init__(self, x: Tensor) -> None:
        self._x = x.clone()
        self.loss = x.new_full((len(x),), -torch.inf)
        self.fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._held: tuple[Tensor, Tensor, Tensor] | None = (
            None  # places, the iterates offered there, which of them are the best
        )

    @property
    def x(self) -> Tensor:
        """The best iterates, `(r, ...)`."""
        if self._held is not None:
            places, x, fresh = self._held
            self._copy(places, x, fresh)
            self._held = None
        return self._x

    def take(self, places: Tensor, x: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Takes over what is better in an offer for the rows `places` (rising); `x` must stay as it is until the next call or look."""
        every = len(places) == len(self.loss)
        best_loss, was_fooled = (self.loss, self.fooled) if every else (self.loss[places], self.fooled[places])
        better = torch.where(fooled == was_fooled, loss > best_loss, fooled)
        if self._held is not None:
            before, offered, fresh = self._held
            self._copy(before, offered, fresh & ~better if before is places else fresh)
        self._held = places, x, better
        best_loss, was_fooled = torch.where(better, loss, best_loss), fooled | was_fooled
        if every:
            self.loss, self.fooled = best_loss, was_fooled
        else:
            self.loss[places], self.fooled[places] = best_loss, was_fooled

    def _copy(self, places: Tensor, x: Tensor, which: Tensor) -> None:
        if x.device.type != "cpu":  # counting rows would wait for the device, and copying all costs it little
            self._x[places] = torch.where(which.view(-1, *[1] * (x.ndim - 1)), x, self._x[places])
            return
        rows = which.nonzero().squeeze(1)
        if len(rows):
            self._x[places[rows]] = x[rows]


def take_rows(kept: Tensor, offered: Tensor, better: Tensor) -> None:
    """Copies the rows `better` `(r,)` of `offered` into `kept`, in place.

    `lerp` is exact at weights 0 and 1 and five times as fast as `where` with a mask that is spread over a row (torch 2.13, CPU); where
    differences overflow or a loss is infinite it is not, so `(r,)` vectors take the plain way.
    """
    if kept.ndim == 1:
        torch.where(better, offered, kept, out=kept)
    else:
        kept.lerp_(offered, better.to(kept.dtype).view(-1, *[1] * (kept.ndim - 1)))
