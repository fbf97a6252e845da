"""What each image cost and how its latest gradient was, written down without a tensor operation a pass while the rows stay the same."""

from __future__ import annotations

import torch
from torch import Tensor

OK, ZERO, NOT_FINITE = 0, 1, 2  # what the latest gradient of an image was


class Tally:
    """Forwards, backwards and the state of the latest gradient, for each of `count` images.

    Passes over the same `rows` (the same tensor, which must not change) are counted in Python and booked when other rows come or somebody
    looks.
    """

    def __init__(self, count: int) -> None:
        self._forwards = torch.zeros(count, dtype=torch.int64)
        self._backwards = torch.zeros(count, dtype=torch.int64)
        self._state = torch.zeros(count, dtype=torch.int8)
        self._rows = torch.empty(0, dtype=torch.int64)
        self._pending = [0, 0]
        self._latest: Tensor | int | None = None

    def add(self, rows: Tensor, forwards: int = 0, backwards: int = 0) -> None:
        """Counts passes for these images."""
        self._turn_to(rows)
        self._pending[0] += forwards
        self._pending[1] += backwards

    def note(self, rows: Tensor, state: Tensor | int) -> None:
        """Remembers how the gradient of these images was, `(r,)` or the same for all."""
        self._turn_to(rows)
        self._latest = state

    @property
    def forwards(self) -> Tensor:
        """Forward passes, int64 `(count,)` on the CPU."""
        self._book()
        return self._forwards

    @property
    def backwards(self) -> Tensor:
        """Backward passes, int64 `(count,)` on the CPU."""
        self._book()
        return self._backwards

    @property
    def state(self) -> Tensor:
        """`OK`, `ZERO` or `NOT_FINITE`, int8 `(count,)` on the CPU."""
        self._book()
        return self._state

    def _turn_to(self, rows: Tensor) -> None:
        if rows is not self._rows:
            self._book()
            self._rows = rows

    def _book(self) -> None:
        rows, (forwards, backwards) = self._rows.cpu(), self._pending
        self._forwards.index_add_(0, rows, torch.full_like(rows, forwards))  # rows may repeat
        self._backwards.index_add_(0, rows, torch.full_like(rows, backwards))
        if isinstance(self._latest, Tensor):  # of several gradients of one image, the best counts
            self._state[rows] = NOT_FINITE
            self._state.scatter_reduce_(0, rows, self._latest.to("cpu", torch.int8), "amin")
        elif self._latest is not None:
            self._state[rows] = self._latest
        self._pending, self._latest = [0, 0], None


class SharedTally(Tally):
    """A tally of parts, several an image perhaps, that books what happens to them with the tally of the images.

    Args:
        whole: of the images.
        images: which of them each part belongs to, `(p,)`.
    """

    def __init__(self, whole: Tally, images: Tensor) -> None:
        super().__init__(0)
        self._whole, self._images = whole, images
        self._parts = self._theirs = images[:0]

    def add(self, rows: Tensor, forwards: int = 0, backwards: int = 0) -> None:
        """As `Tally.add`."""
        self._whole.add(self._of(rows), forwards, backwards)

    def note(self, rows: Tensor, state: Tensor | int) -> None:
        """As `Tally.note`."""
        self._whole.note(self._of(rows), state)

    @property
    def forwards(self) -> Tensor:
        """Forward passes of each part's image, int64 `(p,)` on the CPU."""
        return self._whole.forwards[self._images.cpu()]

    @property
    def backwards(self) -> Tensor:
        """Backward passes of each part's image, int64 `(p,)` on the CPU."""
        return self._whole.backwards[self._images.cpu()]

    @property
    def state(self) -> Tensor:
        """Of each part's image, as `Tally.state`."""
        return self._whole.state[self._images.cpu()]

    def _of(self, rows: Tensor) -> Tensor:
        if rows is not self._parts:  # the same tensor for the same rows, by which the whole tally tells them
            self._parts, self._theirs = rows, self._images[rows]
        return self._theirs
