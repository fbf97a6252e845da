"""Where along a straight line the class changes: a search for all images at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foolscope.oracle import Oracle

OCTAVES_BELOW, OCTAVES_ABOVE = 6, 3  # of the guess that the grid starts and ends
PER_OCTAVE = 3
HALVINGS = 6
RESOLUTION = (2 ** (1 / PER_OCTAVE) - 1) / 2**HALVINGS  # relative, of the crossing; 0.4 %
FAITHFUL = 0.1  # relative error of the linear response up to which it is said to hold


@dataclass(frozen=True)
class Ray:
    """What was seen along the rays x + eps d.

    Attributes:
        eps: where the class changes first, `(r,)`, to within `RESOLUTION`; infinite where it does not up to the grid's end; 0 where it
            differs at the image already.
        label: the class beyond, `(r,)`; -1 where it does not change.
        back: whether the first class comes back further out, on the grid.
        reach: the largest eps of the grid up to which the logits' change is linear within `FAITHFUL`; 0 where not even its first.
    """

    eps: Tensor
    label: Tensor
    back: Tensor
    reach: Tensor


def search(oracle: Oracle, rows: Tensor, direction: Tensor, guess: Tensor, slope: Tensor) -> Ray:
    """The smallest eps > 0 at which the class of x + eps d is not the label: a geometric grid around a guess, then bisection.

    Between two points of the grid the class may change and change back unseen: neighbours are a factor of 2^(1/3) apart.
    The box is left aside, as the linear response leaves it.

    Args:
        oracle: over the images.
        rows: which of them, `(r,)`, all classified as their label.
        direction: d, `(r, ...)`.
        guess: `(r,)`, positive and finite: the grid goes from 2^-6 to 2^3 of it.
        slope: Gamma, `(r, c)`, that the logits' change is compared with.

    Returns:
        A `Ray`; 34 forwards an image.
    """
    x, labels, clean = oracle.inputs[rows], oracle.labels[rows], oracle.clean[rows]
    view = (-1, *[1] * (x.ndim - 1))

    def at(eps: Tensor) -> tuple[Tensor, Tensor]:
        logits = oracle.logits(x + (eps.view(view) * direction).to(x.dtype), rows)  # logits may be wider than images
        return logits, logits.argmax(1)

    inside, outside = torch.zeros_like(guess), torch.full_like(guess, torch.inf)
    label = torch.full_like(labels, -1)
    back, straight = torch.zeros_like(labels, dtype=torch.bool), torch.ones_like(labels, dtype=torch.bool)
    reach = torch.zeros_like(guess)
    expected, rounding = slope.abs().amax(1), 16 * torch.finfo(clean.dtype).eps * clean.abs().amax(1)
    for step in range(-OCTAVES_BELOW * PER_OCTAVE, OCTAVES_ABOVE * PER_OCTAVE + 1):
        eps = guess * 2 ** (step / PER_OCTAVE)
        logits, seen = at(eps)
        changed, found = seen != labels, torch.isfinite(outside)
        back |= found & ~changed
        label = torch.where(changed & ~found, seen, label)
        outside = torch.where(changed & ~found, eps, outside)
        inside = torch.where(changed | found, inside, eps)
        off = (logits - clean - eps[:, None] * slope).abs().amax(1)
        straight &= off <= FAITHFUL * eps * expected + rounding
        reach = torch.where(straight, eps, reach)
    for _ in range(HALVINGS):
        middle = torch.where(torch.isfinite(outside), (inside + outside) / 2, inside)
        _, seen = at(middle)
        changed = seen != labels
        label = torch.where(changed, seen, label)
        outside = torch.where(changed, middle, outside)
        inside = torch.where(changed, inside, middle)
    return Ray(outside, label, back, reach)
