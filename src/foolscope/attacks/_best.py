"""The best iterate of every row, kept in one place."""

from __future__ import annotations

import torch
from torch import Tensor

HELD = 2**23  # bytes of offers that wait to be copied, at most; one offer may be larger


class Kept:
    """Rows, each replaced whenever a better one is offered.

    Offers wait and are copied together: of the many that a row takes over one after the other, only the last costs a copy.

    Args:
        x: `(r, ...)`, what the rows are at first.
        hold: how many offers may wait beside the latest. They must not change while they do.
    """

    def __init__(self, x: Tensor, hold: int = 1) -> None:
        self._x, self._hold = x.clone(), hold
        self._waiting: list[tuple[Tensor | None, Tensor]] = []  # places, the rows offered there
        self._number = torch.full((len(x),), -1, device=x.device)  # which of them each row takes over; -1: none

    @property
    def x(self) -> Tensor:
        """The rows, `(r, ...)`."""
        if self._waiting:
            self._settle(len(self._waiting))
        return self._x

    def take(self, x: Tensor, better: Tensor, places: Tensor | None = None) -> None:
        """Takes over the rows `better` of an offer for the rows `places` (different ones; None: for all)."""
        number = len(self._waiting)
        self._waiting.append((places, x))
        if places is None:
            self._number = torch.where(better, number, self._number)
        else:
            self._number[places] = torch.where(better, number, self._number[places])
        if number >= self._hold:
            self._settle(number)

    def _settle(self, count: int) -> None:
        """Copies what rows take over from the first `count` offers that wait, and lets go of these."""
        for number, (places, x) in enumerate(self._waiting[:count]):
            self._copy(places, x, (self._number if places is None else self._number[places]) == number)
        self._waiting, self._number = self._waiting[count:], (self._number - count).clamp_min(-1)

    def _copy(self, places: Tensor | None, x: Tensor, which: Tensor) -> None:
        if x.device.type != "cpu":  # counting rows would wait for the device, and copying all costs it little
            view, here = (-1, *[1] * (x.ndim - 1)), slice(None) if places is None else places
            self._x[here] = torch.where(which.view(view), x, self._x[here])
            return
        rows = which.nonzero().squeeze(1)
        if len(rows):
            self._x[rows if places is None else places[rows]] = x[rows]


def room(x: Tensor) -> int:
    """How many offers of this shape may wait."""
    return max(1, HELD // max(1, x.numel() * x.element_size()))


class Best:
    """The best iterate of each row so far: a fooling one before any other, then the one of the largest loss.

    Args:
        x: `(r, ...)`, what `x` is before anything was offered; any offer beats it.
        hold: how many offers may wait to be copied; `Kept`.

    Attributes:
        loss: `(r,)`; -inf where nothing was offered yet.
        fooled: `(r,)`.
    """

    def __init__(self, x: Tensor, hold: int = 1) -> None:
        self._kept = Kept(x, hold)
        self.loss = x.new_full((len(x),), -torch.inf)
        self.fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    @property
    def x(self) -> Tensor:
        """The best iterates, `(r, ...)`."""
        return self._kept.x

    def take(self, places: Tensor, x: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Takes over what is better in an offer for the rows `places` (rising)."""
        every = len(places) == len(self.loss)
        best_loss, was_fooled = (self.loss, self.fooled) if every else (self.loss[places], self.fooled[places])
        better = torch.where(fooled == was_fooled, loss > best_loss, fooled)
        self._kept.take(x, better, None if every else places)
        best_loss, was_fooled = torch.where(better, loss, best_loss), fooled | was_fooled
        if every:
            self.loss, self.fooled = best_loss, was_fooled
        else:
            self.loss[places], self.fooled[places] = best_loss, was_fooled


def take_rows(kept: Tensor, offered: Tensor, better: Tensor) -> None:
    """Copies the rows `better` `(r,)` of `offered` into `kept`, in place.

    `lerp` is exact at weights 0 and 1 and five times as fast as `where` with a mask that is spread over a row (torch 2.13, CPU); where
    differences overflow or a loss is infinite it is not, so `(r,)` vectors take the plain way.
    """
    if kept.ndim == 1:
        torch.where(better, offered, kept, out=kept)
    else:
        kept.lerp_(offered, better.to(kept.dtype).view(-1, *[1] * (kept.ndim - 1)))
