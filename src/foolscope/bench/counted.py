"""A network that counts what it is asked, image by image, remembers the nearest fooling point it was ever shown, and stops at a budget.

The same wrapper stands around the network for our attacks and for the peers', so that nobody counts for himself.

Which image a row belongs to is told, never guessed where it can be told: our attacks say it through the oracle (`Telling`), and most peers
send the whole batch in its order (`whole`). The few that drop images on the way keep the order of the rest, so their rows are matched by
the alignment of least squared distance among those that keep it (`rising`, or `repeated` where an image has several rows side by side),
which errs where nearest neighbours do only if a whole run of images is nearer shifted than in place.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from foolscope.losses import Loss
from foolscope.norms import NORMS
from foolscope.oracle import Answer, Oracle

WHOLE, RISING, REPEATED, TOLD = "whole", "rising", "repeated", "told"
SURE = 10.0  # the logit of the label in the answer to whoever has spent his budget


class BudgetSpent(BaseException):
    """Every image has had its passes. Not an `Exception`, so that no attack takes it for one of its own."""


class Counted(nn.Module):
    """`network`, counting.

    A forward counts 1 for each row, a backward 1 for each row of the logits it starts from. A row beyond the budget is answered as if the
    network were sure of the label, without a gradient, and counts no more. Points outside the box are moved into it first.

    Args:
        network: images to logits, frozen, in eval mode.
        inputs: `(n, ...)`, the clean images, in [0, 1].
        labels: `(n,)`.
        budget: forwards and backwards an image; None for no limit.
        rows: how rows are matched to images: `whole`, `rising`, `repeated` or `told`.

    Attributes:
        forwards, backwards: `(n,)`.
        nearest: by norm `(n,)`, the size of the smallest fooling perturbation seen within the budget; inf where none was.
        overhead: seconds spent here and not in the network.
    """

    def __init__(
        self, network: nn.Module, inputs: Tensor, labels: Tensor, *, budget: int | None = None, rows: str = WHOLE
    ) -> None:
        super().__init__()
        self.network, self.inputs, self.labels, self.budget, self.mode = network, inputs, labels, budget, rows
        self.forwards = torch.zeros(len(inputs), dtype=torch.int64)
        self.backwards = torch.zeros(len(inputs), dtype=torch.int64)
        self.nearest = {norm: torch.full((len(inputs),), torch.inf) for norm in NORMS}
        self.told: list[Tensor] = []
        self.overhead = 0.0

    @property
    def spent(self) -> Tensor:
        """Passes an image, `(n,)`."""
        return self.forwards + self.backwards

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(r, c)`; those of images beyond their budget are made up."""
        begun = time.perf_counter()
        if self.budget is not None and bool((self.spent >= self.budget).all()):
            raise BudgetSpent
        points = images.detach().clamp(0, 1)
        rows = self._rows(points)
        live = self._charge(self.forwards, rows)
        if bool((points != images.detach()).any()):
            images = images + (points - images.detach())  # the gradient passes as if nothing had been moved
            points = images.detach()
        self.overhead += time.perf_counter() - begun
        logits: Tensor = self.network(images)
        begun = time.perf_counter()
        self._look(points, logits.detach(), rows, live)
        if not bool(live.all()):
            sure = torch.zeros_like(logits).scatter_(1, self.labels[rows].unsqueeze(1), SURE)
            logits = torch.where(live.unsqueeze(1), logits, sure)
        if logits.requires_grad:

            def count(gradient: Tensor) -> Tensor | None:
                alive = self._charge(self.backwards, rows)
                return None if bool(alive.all()) else gradient * alive.unsqueeze(1)

            logits.register_hook(count)  # type: ignore[no-untyped-call]
        self.overhead += time.perf_counter() - begun
        return logits

    def _charge(self, passes: Tensor, rows: Tensor) -> Tensor:
        """Adds a pass for each row whose image has one left; which rows those are, `(r,)`."""
        if self.budget is None:
            passes.index_add_(0, rows, torch.ones_like(rows))
            return torch.ones_like(rows, dtype=torch.bool)
        left = (self.budget - self.spent)[rows]
        live = _rank(rows) < left
        passes.index_add_(0, rows, live.to(torch.int64))
        return live

    def _look(self, points: Tensor, logits: Tensor, rows: Tensor, live: Tensor) -> None:
        """Remembers the nearest fooling points."""
        fooled = live & (logits.argmax(1) != self.labels[rows]) & torch.isfinite(logits).all(1)
        if bool(fooled.any()):
            rows = rows[fooled]
            d = points[fooled] - self.inputs[rows]
            for norm, row in NORMS.items():
                self.nearest[norm].scatter_reduce_(0, rows, row.size(d).to(torch.float32), "amin")

    def _rows(self, points: Tensor) -> Tensor:
        if self.mode == TOLD:
            if not self.told:
                raise RuntimeError("an attack of ours asked the network past the oracle's own methods")
            return self.told.pop()
        if self.mode == WHOLE or (self.mode == RISING and len(points) == len(self.inputs)):
            if len(points) != len(self.inputs):
                raise RuntimeError(
                    f"{len(points)} rows for {len(self.inputs)} images: this attack does not keep the batch whole"
                )
            return torch.arange(len(points))
        return align(points, self.inputs, repeats=self.mode == REPEATED)


def _rank(rows: Tensor) -> Tensor:
    """For each row, how many earlier rows belong to the same image, `(r,)`."""
    order = torch.argsort(rows, stable=True)
    ordered = rows[order]
    rank = torch.empty_like(rows)
    rank[order] = torch.arange(len(rows)) - torch.searchsorted(ordered, ordered)
    return rank


def align(points: Tensor, inputs: Tensor, *, repeats: bool) -> Tensor:
    """The images that rows belong to, given that rows come in the images' order: the assignment of least total squared distance.

    Args:
        points: `(r, ...)`.
        inputs: `(n, ...)`, the images.
        repeats: whether an image may have several rows, side by side; else the answer rises strictly, and r <= n.

    Returns:
        int64 `(r,)`, rising.

    Example:
        >>> images = torch.tensor([[0.0], [1.0], [2.0]])
        >>> align(torch.tensor([[0.9], [1.1]]), images, repeats=False), align(torch.tensor([[0.9], [1.1]]), images, repeats=True)
        (tensor([0, 1]), tensor([1, 1]))
    """
    if not repeats and len(points) > len(inputs):
        raise RuntimeError(f"{len(points)} rows for {len(inputs)} images: this attack sends an image more than once")
    cost = torch.cdist(
        points.flatten(1).double(), inputs.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).square()
    total, origins = cost[0], []
    for row in cost[1:]:
        best, origin = torch.cummin(total, 0)
        if not repeats:
            best = torch.cat([best.new_full((1,), torch.inf), best[:-1]])
            origin = torch.cat([origin.new_zeros(1), origin[:-1]])
        total = best + row
        origins.append(origin)
    found = [int(total.argmin())]
    for origin in reversed(origins):
        found.append(int(origin[found[-1]]))
    return torch.tensor(found[::-1])


class Telling(Oracle):
    """An oracle that tells a `Counted` network which images the rows are; for measuring only."""

    model: Counted

    def logits(self, x: Tensor, rows: Tensor) -> Tensor:
        """As the oracle's."""
        self.model.told.append(rows)
        return super().logits(x, rows)

    def gradient(self, x: Tensor, rows: Tensor, loss: str | Loss = "margin") -> Answer:
        """As the oracle's."""
        self.model.told.append(rows)
        return super().gradient(x, rows, loss)

    def lead(self, x: Tensor, rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """As the oracle's; an image may have several rows."""
        self.model.told.append(rows)
        return super().lead(x, rows, classes)

    def __call__(self, x: Tensor) -> Tensor:
        """As the oracle's."""
        self.model.told.append(self.rows_all.repeat(-(-len(x) // max(1, len(self))))[: len(x)])
        return super().__call__(x)
