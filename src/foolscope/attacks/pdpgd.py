"""Primal-dual proximal gradient descent in l1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foolscope.attacks._best import take_rows
from foolscope.attacks._step import checked_count, checked_norm
from foolscope.errors import InputError
from foolscope.norms import Norm
from foolscope.oracle import Oracle, attacked

NORMS = ("l1",)
FADE = 0.9, 0.999  # of the running means of the gradient and of its square (Adam's)
LAST_STEP = 0.01  # what the step falls to, relative to the first
PRICE, DEAREST = 4.6, 13.8  # log of the margin's weight over the distance's: the first, and the largest either way
PRICE_STEP, LAST_PRICE_STEP = 0.1, 0.1  # the first change of that log, and what it falls to, relative to the first
PRICE_FADE = 0.9  # of the running mean of the weight
SHARP = 30.0  # how fast the margin's pull fades beyond the boundary; the clean logits spread over 1/2 to 1
ROUNDS = 5  # of the proximal iteration
SETTLED = 0.01  # a row's relative change at which it ends
OVERSHOOT = 1.005  # how far beyond the linear estimate of the boundary the first iterate aims
NEARER = 1 - 1e-6  # what is nearer by less is a tie, which rounding would decide


def pdpgd(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "l1",
    steps: int = 100,
    step_size: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """The nearest fooling image in l1: Adam's steps up the margin, soft thresholds, and a price between the two that finds itself.

    ``d <- clip(d + step_size * adam(sigmoid(-margin) * g))``, then ``d <- soft(d, step_size * (1 - w) / w / metric)`` with Adam's
    metric: the proximal step of the l1 norm. The weight ``w`` of the margin rises after a failure and falls after a success; the step
    falls geometrically. Beyond the paper: the exact solution of the linearised problem, box included, is looked at first, so that affine problems
    are solved at once.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: l1.
        steps: gradient steps.
        step_size: the first step, in input units, of a component with a steady gradient.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the nearest fooling iterate, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: another norm, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> x = torch.tensor([[0.9, 0.1]])  # the boundary is at x_1 = 3 x_2
        >>> near = pdpgd(model, x, torch.tensor([0]))
        >>> [round(v, 2) for v in (near - x)[0].tolist()]
        [0.0, 0.2]

    References:
        Matyasko & Chau 2021, arXiv:2106.01538, alg. 2; Melchior et al. 2019, arXiv:1910.10094 (the proximal step in Adam's metric).
    """
    row = checked_norm("pdpgd", norm, NORMS)
    checked_count("steps", steps)
    if not step_size > 0:
        raise InputError("step_size", "a positive number", step_size)
    with attacked(model, inputs, labels, targets) as oracle:
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            best[rows] = _descend(oracle, rows, row, steps, step_size)
    return best


def _descend(oracle: Oracle, rows: Tensor, norm: Norm, steps: int, step_size: float) -> Tensor:
    origin, (lower, upper) = oracle.inputs[rows], oracle.box(rows)
    view = (-1, *[1] * (origin.ndim - 1))
    best, nearest = origin.clone(), origin.new_full((len(rows),), torch.inf)
    x, d = origin.clone(), torch.zeros_like(origin)
    mean, square = torch.zeros_like(origin), torch.zeros_like(origin)
    price = torch.full_like(nearest, PRICE)
    weight = price.sigmoid()
    for step in range(steps + 1):
        if step < steps:
            margin, _, gradient = oracle.gradient(x, rows)
        else:
            margin, _ = oracle.value(x, rows)
        fooled, size = margin > 0, norm.size(d)
        better = fooled & (size < nearest * NEARER)
        take_rows(best, x, better)
        take_rows(nearest, size, better)
        if step == steps:
            break
        if step == 0:  # a look at the solution of the linearised problem, which may be far from that of a curved one
            there = oracle.clip(origin + norm.cross(gradient, -OVERSHOOT * margin, lower, upper))
            reached = oracle.value(there, rows)[0] > 0
            take_rows(best, there, reached)
            take_rows(nearest, norm.size(there - origin), reached)
        done = step / steps
        length = step_size * LAST_STEP**done
        ascent = gradient.mul_((-SHARP * margin).sigmoid().view(view))
        mean.lerp_(ascent, 1 - FADE[0])
        square.mul_(FADE[1]).addcmul_(ascent, ascent, value=1 - FADE[1])
        metric = (square / (1 - FADE[1] ** (step + 1))).sqrt_().clamp_min_(torch.finfo(d.dtype).tiny ** 0.5)
        d = d.addcdiv_(mean, metric, value=length / (1 - FADE[0] ** (step + 1))).maximum(lower).minimum(upper)
        d = _proximal(d, metric, (length * (1 - weight) / weight).view(view))
        change = PRICE_STEP * (1 - done * (1 - LAST_PRICE_STEP))
        price = (price + torch.where(fooled, -change, change)).clamp_(-DEAREST, DEAREST)
        weight = weight.lerp(price.sigmoid(), 1 - PRICE_FADE)
        oracle.clip(torch.add(origin, d, out=x))
        torch.sub(x, origin, out=d)
    return best


def _proximal(d: Tensor, metric: Tensor, force: Tensor) -> Tensor:
    """The proximal iteration of the l1 norm in a metric; a row stops when it moves by less than SETTLED of its length."""
    largest = metric.flatten(1).amax(1).view_as(force)
    pull, threshold = metric / largest, force / largest
    z, live = d, torch.ones_like(force, dtype=torch.bool)
    for _ in range(ROUNDS):
        y = z - pull * (z - d)
        new = torch.where(live, y - torch.maximum(torch.minimum(y, threshold), -threshold), z)
        moved, length = ((v.flatten(1).norm(dim=1)).view_as(force) for v in (new - z, new))
        z, live = new, live & (moved >= SETTLED * length)
    return z
