"""The decoupled direction and norm attack."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foolscope.attacks._best import room
from foolscope.attacks._called import attacked
from foolscope.attacks._nearest import Nearest
from foolscope.attacks._step import checked_count, checked_norm, checked_positive
from foolscope.errors import InputError
from foolscope.losses import Loss, get_loss
from foolscope.norms import Norm
from foolscope.oracle import Oracle

NORMS = ("l2",)
LAST_STEP = 0.01  # what the step falls to
OVERSHOOT = 1.01  # how far beyond the linear estimate of the boundary the first radius reaches
SETTLING, MOST = 5, 1e3  # rounds that settle the first push, and the largest push
FARTHEST = 0.5  # of the largest change that the box allows: the first radius at most


def ddn(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "l2",
    steps: int = 100,
    init_norm: float | None = None,
    gamma: float = 0.05,
    loss: str = "margin",
    seed: int = 0,
) -> Tensor:
    """The nearest fooling image in l2: unit gradient steps for the direction, a radius of its own for the norm.

    ``delta <- delta + a * g / |g|;  radius <- radius * (1 - gamma)`` where the iterate fools, ``* (1 + gamma)`` where not;
    ``x <- inputs + radius * delta / |delta|``, with `a` falling from 1 to 0.01 of the box's width along a cosine. Beyond the paper: where
    the box takes away from the radius, the next scaling makes up for it, the loss is the margin, which no confidence saturates, the first
    radius is the image's own, and nothing is rounded to grey levels.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: l2.
        steps: gradient steps.
        init_norm: the first radius, in input units (the paper: 1). None: that of the linearised model's boundary, box included.
        gamma: relative change of the radius in each step, in (0, 1).
        loss: `margin`, `ce` (as in the paper), `logit` or `dlr`.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the nearest fooling iterate, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: an unknown norm or loss, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> x = torch.tensor([[0.8, 0.4]])  # at distance 0.4 / sqrt(2) from the boundary x_1 = x_2
        >>> near = ddn(model, x, torch.tensor([0]))
        >>> [round(v, 2) for v in (near - x)[0].tolist()]
        [-0.2, 0.2]

    References:
        Rony et al. 2019, arXiv:1811.09600, alg. 1.
    """
    row, ascent_loss = checked_norm("ddn", norm, NORMS), get_loss(loss)
    checked_count("steps", steps)
    if init_norm is not None:
        checked_positive("init_norm", init_norm)
    if not 0 < gamma < 1:
        raise InputError("gamma", "a number between 0 and 1", gamma)
    with attacked(model, inputs, labels, targets) as oracle:
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            best[rows] = _turn(oracle, rows, row, steps, init_norm, gamma, ascent_loss)
    return best


def _turn(
    oracle: Oracle, rows: Tensor, norm: Norm, steps: int, init_norm: float | None, gamma: float, loss: Loss
) -> Tensor:
    origin, (lower, upper) = oracle.inputs[rows], oracle.box(rows)
    view = (-1, *[1] * (origin.ndim - 1))
    best = Nearest(origin, room(origin))
    x, delta, radius = origin, torch.zeros_like(origin), origin.new_full((len(rows),), init_norm or 1.0)
    # The share that the box takes away changes little from step to step: what makes up for it is carried over, where the exact step in
    # ball and box would cost as much as half a pass of a small network (docs/decisions/0070).
    size, push = torch.zeros_like(radius), torch.ones_like(radius)
    for step in range(steps + 1):
        if step < steps:
            margin, _, gradient = oracle.gradient(x, rows, loss)
        else:
            margin, _ = oracle.value(x, rows, loss)
        fooled = margin > 0
        best.take(x, size, fooled)
        if step == steps:
            break
        length = oracle.width * (LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * step / steps)) / 2)
        scale = norm.size(gradient)
        heading = delta.addcmul_(gradient, (length / torch.where(scale > 0, scale, 1)).view(view))
        if step:
            radius = radius * torch.where(fooled, 1 - gamma, 1 + gamma)
        elif init_norm is None:
            reach = norm.size(norm.cross(gradient, -OVERSHOOT * margin, lower, upper))
            if oracle.bounds is not None:  # from near the ends of the box, some images find no way back
                reach = reach.minimum(FARTHEST * norm.size(upper.maximum(-lower)))
            radius = torch.where(reach > 0, reach, radius)  # 1 where the gradient is dead
        whole, x, delta = norm.size(heading), gradient, torch.empty_like(delta)
        for _ in range(1 if step else SETTLING):
            pace = push * radius / torch.where(whole > 0, whole, 1)
            oracle.clip(torch.addcmul(origin, heading, pace.view(view), out=x))
            size = norm.size(torch.sub(x, origin, out=delta))
            push = (push * radius / torch.where(size > 0, size, radius)).clamp(1, MOST)
    return best.x
