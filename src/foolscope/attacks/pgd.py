"""Projected gradient descent, and BIM and MI-FGSM, which are settings of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foolscope.attacks._best import Best, room
from foolscope.attacks._called import attacked
from foolscope.attacks._step import (
    LARGEST,
    checked_count,
    checked_eps,
    checked_norm,
    checked_start,
    cosine,
    mover,
    random_point,
)
from foolscope.errors import InputError
from foolscope.losses import Loss, get_loss
from foolscope.norms import Norm, Size
from foolscope.oracle import Oracle

NORMS = ("linf", "l2", "l1")


def pgd(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    eps: float | Tensor,
    steps: int = 40,
    step_size: float | Tensor | None = None,
    start: str = "uniform",
    restarts: int = 1,
    momentum: float = 0.0,
    loss: str = "margin",
    early_stop: bool = True,
    seed: int = 0,
) -> Tensor:
    """Projected gradient ascent on a loss, in the linf, l2 or l1 ball around each image.

    ``m <- momentum * m + g / |g|_1;  x <- project(x + step_size * direction(m))`` with `g` the gradient of the loss at `x`, the norm's
    steepest direction, and the exact projection onto ball and box. An image leaves as soon as it is fooled.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf, l2 or l1.
        eps: radius of the ball, in input units; one for all, or one an image, `(b,)`.
        steps: gradient steps of each restart.
        step_size: of every step, in input units; one for all, or one an image. None: from 2 * eps to 0 along a squared half cosine, which
            crosses the ball at first and settles at the end.
        start: `uniform` in the ball, a `corner` of it (linf: every component at +-eps), or the `clean` image.
        restarts: independent starts; each image keeps its best.
        momentum: decay of the accumulated, l1-normalised gradient; 0 for none.
        loss: `margin`, `ce`, `logit` or `dlr`.
        early_stop: False: go on after success and return the iterate with the largest loss.
        seed: of the random starts.

    Returns:
        `(b, ...)`: for each image a fooling iterate, else the one of the largest loss. Images that the model gets wrong already come
        back as they are.

    Raises:
        InputError: an unknown norm, loss or start, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> x, y = torch.tensor([[0.6, 0.4]]), torch.tensor([0])  # at linf distance 0.1 from the boundary
        >>> model(pgd(model, x, y, eps=0.09)).argmax(1), model(pgd(model, x, y, eps=0.11)).argmax(1)
        (tensor([0]), tensor([1]))

    References:
        Madry et al. 2018, arXiv:1706.06083, eq. 2.1 and sec. 4. The step schedule and the exact projections are our own.
    """
    row, eps = checked_norm("pgd", norm, NORMS), checked_eps(eps, len(inputs))
    checked_count("steps", steps), checked_count("restarts", restarts)
    ascent_loss, start = get_loss(loss), checked_start(start)
    if not 0 <= momentum < LARGEST:
        raise InputError("momentum", "a number that is not negative and below 1e18", momentum)
    sizes = cosine(2 * eps, steps) if step_size is None else [checked_eps(step_size, len(inputs), "step_size")] * steps
    with attacked(model, inputs, labels, targets) as oracle:
        best = Best(oracle.inputs)
        rows = oracle.undecided()
        for restart in range(restarts):
            if not len(rows):
                break
            x = random_point(oracle, rows, row, eps, start, seed, restart)
            found = climb(oracle, rows, x, row, eps, sizes, momentum, ascent_loss, early_stop)
            best.take(rows, found.x, found.loss, found.fooled)
            if early_stop:
                rows = rows[~found.fooled]
    return best.x


def climb(
    oracle: Oracle,
    rows: Tensor,
    x: Tensor,
    norm: Norm,
    eps: Size,
    sizes: Sequence[Size],
    momentum: float,
    loss: Loss,
    early_stop: bool,
    images: Tensor | None = None,
) -> Best:
    """One restart from `x`: as many gradient steps as there are sizes, and a last look; the best point of each of `rows`.

    Where several rows belong to one image, `images` `(r,)` tells which: they leave together once one of them fools.
    """
    best, live = Best(x, room(x)), torch.arange(len(rows), device=rows.device)  # positions in `rows` that still climb
    mine, heading = rows, torch.zeros_like(x) if momentum else x.new_zeros(len(x))
    move = mover(oracle, mine, norm, eps)
    for size in sizes:
        reached, value, gradient = oracle.gradient(x, mine, loss)
        fooled = reached > 0
        best.take(live, x, value, fooled)
        if early_stop and bool(fooled.any()):
            stays = ~(fooled if images is None else torch.isin(images[live], images[live[fooled]]))
            live, x, gradient, heading = (t[stays] for t in (live, x, gradient, heading))
            if not len(live):
                return best
            mine = rows[live]
            move = mover(oracle, mine, norm, eps)
        if momentum:
            length = gradient.flatten(1).abs().sum(1)
            gradient /= torch.where(length > 0, length, 1).view(-1, *[1] * (x.ndim - 1))
            heading = gradient.add_(heading, alpha=momentum)
            gradient = heading.clone()
        x = move(x, gradient, size)
    reached, value = oracle.value(x, mine, loss)
    best.take(live, x, value, reached > 0)
    return best
