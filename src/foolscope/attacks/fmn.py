"""Fast minimum-norm attack."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foolscope.attacks._step import checked_count, checked_norm
from foolscope.norms import NORMS as ALL
from foolscope.norms import Norm
from foolscope.oracle import Oracle, attacked

NORMS = tuple(ALL)
OVERSHOOT = 1.005  # how far beyond the linear estimate of the boundary an iterate aims, so that rounding does not leave it just inside
GROWTH = 1.1  # the least growth a step of a ball in which nothing was found yet


def fmn(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    steps: int = 100,
    step_size: float = 1.0,
    gamma: float = 0.05,
    seed: int = 0,
) -> Tensor:
    """The nearest fooling image, by gradient steps inside a ball that shrinks after every success and grows after every failure."""
    row = checked_norm("fmn", norm, NORMS)
    checked_count("steps", steps)
    with attacked(model, inputs, labels, targets) as oracle:
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            best[rows] = _shrink(oracle, rows, row, steps, step_size, gamma)
    return best


def _shrink(oracle: Oracle, rows: Tensor, norm: Norm, steps: int, step_size: float, gamma: float) -> Tensor:
    origin, (lower, upper) = oracle.inputs[rows], oracle.box(rows)
    view = (-1, *[1] * (origin.ndim - 1))
    best, nearest = origin.clone(), origin.new_full((len(rows),), torch.inf)
    d, eps = torch.zeros_like(origin), origin.new_zeros(len(rows))
    for k in range(steps):
        anneal = (1 + math.cos(math.pi * k / steps)) / 2
        margin, _, g = oracle.gradient(origin + d, rows)
        size = norm.size(d)
        better = (margin > 0) & (size < nearest)
        best[better], nearest[better] = (origin + d)[better], size[better]
        found = torch.isfinite(nearest)
        rate = gamma * (0.02 + 0.98 * anneal)
        # Where nothing was found yet: the ball that reaches the linear estimate of the boundary, box included.
        if not bool(found.all()):
            needed = (g * d).flatten(1).sum(1) - OVERSHOOT * margin
            jump = norm.cross(g, needed, lower, upper)
            reach = norm.size(jump).maximum(GROWTH * eps)
        else:
            jump, reach = d, eps
        if norm.name == "l0":
            shrunk = (eps - 1).minimum(eps * (1 - rate)).minimum(nearest - 1)
            grown = (eps + 1).maximum(eps * (1 + rate)).minimum(nearest - 1)
        else:
            shrunk = (eps.minimum(nearest)) * (1 - rate)
            grown = (eps * (1 + rate)).minimum(nearest)
        eps = torch.where(found, torch.where(margin > 0, shrunk, grown), reach)
        if norm.name == "linf":
            direction = g.sign()
        else:
            scale = ALL["l2"].size(g) if norm.name == "l2" else norm.dual(g)
            direction = g / torch.where(scale > 0, scale, 1).view(view)
        alpha = step_size * (0.01 + 0.99 * anneal)
        length = alpha if norm.name == "l0" else (alpha * eps).view(view)
        moved = norm.project(d + length * direction, eps, lower, upper)
        d = torch.where((found | (k > 0)).view(view), moved, jump)
    margin, _ = oracle.value(origin + d, rows)
    size = norm.size(d)
    better = (margin > 0) & (size < nearest)
    best[better] = (origin + d)[better]
    return best
