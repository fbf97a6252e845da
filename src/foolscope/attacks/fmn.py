"""The fast minimum-norm attack."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foolscope.attacks._best import take_rows
from foolscope.attacks._step import checked_box, checked_count, checked_norm, stride
from foolscope.norms import NORMS as ALL
from foolscope.norms import Norm
from foolscope.oracle import Oracle, attacked

NORMS = tuple(ALL)
OVERSHOOT = 1.005  # how far beyond the linear estimate of the boundary an iterate aims, so that rounding does not leave it just inside
GROWTH = 1.1  # the least growth, a step, of a ball in which nothing was found yet
LAST_STEP, LAST_GAMMA = 0.01, 0.02  # what step size and gamma fall to, relative to the first ones
L1_STEP = 0.2  # of a step in l1, whose largest component alone would be as long as the whole radius
NEARER = 1 - 1e-6  # what is nearer by less is a tie, which rounding would decide


def fmn(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    steps: int = 100,
    step_size: float = 1.0,
    gamma: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """The nearest fooling image: gradient steps in a ball that shrinks by gamma after a success and grows after a failure.

    ``eps <- min(eps, nearest) * (1 - gamma)`` after a success, ``min(eps * (1 + gamma), nearest)`` after a failure;
    ``d <- project(d + step_size * eps * direction(g), eps)``, both gamma and the step annealed along a cosine. Beyond the paper: the first
    step solves the linearised problem exactly, box included; while nothing was found, the ball goes to the linear estimate of the boundary
    and always grows; projections onto ball and box are exact.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf, l2, l1 or l0.
        steps: gradient steps.
        step_size: the first step, in units of the current radius (l0: of the box).
        gamma: the first relative change of the radius.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the nearest fooling iterate, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: an unknown norm, a number out of its range, or l0 without a box.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> x = torch.tensor([[0.9, 0.1]])  # the boundary is at x_1 = 3 x_2
        >>> near = fmn(model, x, torch.tensor([0]), norm="l1")
        >>> [round(v, 2) for v in (near - x)[0].tolist()]
        [0.0, 0.2]

    References:
        Pintor et al. 2021, arXiv:2102.12827, alg. 1.
    """
    row = checked_norm("fmn", norm, NORMS)
    checked_count("steps", steps)
    with attacked(model, inputs, labels, targets) as oracle:
        checked_box(oracle, row)
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            best[rows] = _shrink(oracle, rows, row, steps, step_size, gamma)
    return best


def _shrink(oracle: Oracle, rows: Tensor, norm: Norm, steps: int, step_size: float, gamma: float) -> Tensor:
    origin, (lower, upper) = oracle.inputs[rows], oracle.box(rows)
    best, nearest = origin.clone(), origin.new_full((len(rows),), torch.inf)
    x, d, eps = origin.clone(), torch.zeros_like(origin), origin.new_zeros(len(rows))
    for step in range(steps + 1):
        if step < steps:
            margin, _, gradient = oracle.gradient(x, rows)
        else:
            margin, _ = oracle.value(x, rows)
        size = norm.size(d)
        better = (margin > 0) & (size < nearest * NEARER)
        take_rows(best, x, better)
        take_rows(nearest, size, better)
        if step == steps:
            break
        anneal = (1 + math.cos(math.pi * step / steps)) / 2
        found = torch.isfinite(nearest)
        eps = _radius(norm, eps, nearest, margin > 0, gamma * (LAST_GAMMA + (1 - LAST_GAMMA) * anneal))
        if not bool(found.all()):
            # The shortest way to the linearised boundary; also the first step, from the image itself.
            needed = (gradient * d).flatten(1).sum(1) - OVERSHOOT * margin
            jump = norm.cross(gradient, needed, lower, upper)
            eps = torch.where(found, eps, norm.size(jump).maximum(GROWTH * size))
        if step:
            length = step_size * (LAST_STEP + (1 - LAST_STEP) * anneal)
            d = _moved(norm, d, gradient, length, eps, lower, upper)
        else:
            d = jump
        oracle.clip(torch.add(origin, d, out=x))
        torch.sub(x, origin, out=d)
    return best


def _radius(norm: Norm, eps: Tensor, nearest: Tensor, fooled: Tensor, rate: float) -> Tensor:
    """The next radius of rows where something was found; l0 moves by one component at least."""
    if norm.name == "l0":
        shrunk = (eps * (1 - rate)).minimum(eps - 1)
        grown = (eps * (1 + rate)).maximum(eps + 1)
        return torch.where(fooled, shrunk, grown).minimum(nearest - 1)
    return torch.where(fooled, eps.minimum(nearest) * (1 - rate), (eps * (1 + rate)).minimum(nearest))


def _moved(norm: Norm, d: Tensor, gradient: Tensor, length: float, eps: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """`d` after a step of `length` radii and the projection: the steepest step in l2, the sign in linf, the gradient in l1 and l0.

    Steepest l1 and l0 steps change so few components that they get stuck on hardened networks (measured; docs/decisions).
    """
    view = (-1, *[1] * (d.ndim - 1))
    if norm.name == "linf":  # in place, and clipped to the box by the caller
        ball = eps.view(view)
        moved = d.addcmul_(gradient.sign_(), length * ball)
        # `clamp` with a limit for each image takes three times as long (torch 2.13, CPU)
        return torch.minimum(torch.maximum(moved, -ball, out=moved), ball, out=moved)
    if norm.name == "l2":
        return norm.project(d + stride(norm, gradient, length * eps, d, lower, upper), eps, lower, upper)
    scale = norm.dual(gradient)
    reach = length * L1_STEP * eps if norm.name == "l1" else torch.full_like(eps, length)
    return norm.project(d + gradient * (reach / torch.where(scale > 0, scale, 1)).view(view), eps, lower, upper)
