"""Gradient climbs towards many classes, then random flips and gradient polish from the best point found."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foolscope.attacks._best import Best
from foolscope.attacks._called import attacked
from foolscope.attacks._flips import flip
from foolscope.attacks._step import checked_count, checked_eps, checked_norm, cosine, of_rows, random_point
from foolscope.attacks.pgd import climb
from foolscope.errors import InputError
from foolscope.losses import LOSSES
from foolscope.norms import Norm, Size
from foolscope.oracle import Oracle

NORMS = ("linf", "l2", "l1")
SHARES = 0.06, 0.003  # of an image's pixels that a flip changes, at first and at the end; in between geometric
MOMENTUM = 0.75  # of the long climb: on deep networks it is worth twice the steps
POLISH, POLISH_SIZE = 8, 0.1  # gradient steps after a round of flips, and the first one's size in units of eps
NEAR = 0.1  # of the clean image's margin: what is nearer to the boundary counts as near it
PORTION = 1000  # climbs of an image at once, at most
HOPE, NEAR_HOPE = 8.0, 100.0  # so many times the last round's gain must reach the boundary, from afar and from near


def hybrid(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    eps: float | Tensor,
    steps: int = 15,
    restarts: int = 9,
    finish: int = 40,
    rounds: int = 6,
    flips: int = 150,
    seed: int = 0,
) -> Tensor:
    """The strongest point that gradients and random search find together in the linf, l2 or l1 ball around each image.

    First a gradient climb from a random corner towards each of the likeliest wrong classes,
    ``x <- project(x + a * direction(grad(z_t - z_y)))``; then a longer one, with momentum, from the best point of all towards the class
    that it was found for. Then, in linf, rounds from the best point: random flips of windows to corners of the ball, which get past what
    stops a gradient, and a few small gradient steps on the margin, which flips are bad at. An image leaves when it is fooled, and when
    the last round has brought it too little to reach the boundary in many more.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target, and every climb leads there.
        norm: linf, l2 or l1 (without flips).
        eps: radius of the ball, in input units; one for all, or one an image, `(b,)`.
        steps: gradient steps of each climb.
        restarts: climbs, each to another class; more than there are wrong classes begin again with the likeliest.
        finish: gradient steps of the longer climb.
        rounds: of flips and polish, at most; 0 for the climbs alone.
        flips: forward passes of each round.
        seed: of the draws.

    Returns:
        `(b, ...)`: for each image a fooling point, else the one of the largest margin. Images that the model gets wrong already come
        back as they are.

    Raises:
        InputError: an unknown norm, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> x, y = torch.tensor([[0.6, 0.4]]), torch.tensor([0])  # at linf distance 0.1 from the boundary
        >>> model(hybrid(model, x, y, eps=0.09)).argmax(1), model(hybrid(model, x, y, eps=0.11)).argmax(1)
        (tensor([0]), tensor([1]))

    References:
        Own. Climbs to several classes: Croce & Hein 2020, arXiv:2003.01690, sec. 4. Flips: Andriushchenko et al. 2020, arXiv:1912.00049,
        alg. 2, which begins at stripes.
    """
    row, eps = checked_norm("hybrid", norm, NORMS), checked_eps(eps, len(inputs))
    checked_count("steps", steps), checked_count("restarts", restarts), checked_count("finish", finish)
    checked_count("flips", flips)
    if rounds < 0:
        raise InputError("rounds", "a whole number of at least 0", rounds)
    margin = LOSSES["margin"]
    with attacked(model, inputs, labels, targets) as oracle:
        best, rows = Best(oracle.inputs), oracle.undecided()
        aims = oracle.targets[:, None] if oracle.targets is not None else oracle.rivals(restarts)
        promising = aims[:, 0].clone()
        # The likeliest class alone, which fools most images that any does; then, at once, all others of those that are left.
        portions = (range(k, min(k + PORTION, restarts)) for k in range(1, restarts, PORTION))
        for numbers in (range(1), *portions):
            if len(rows):
                _climbs(oracle, rows, row, eps, steps, numbers, aims, seed, best, promising)
                rows = rows[~best.fooled[rows]]
        if not len(rows):
            return best.x
        found = climb(
            oracle.aimed(promising), rows, best.x[rows], row, eps, cosine(eps, finish), MOMENTUM, margin, True
        )
        best.take(rows, found.x, found.loss, found.fooled)
        rows = rows[~found.fooled]
        draw, clean = 3 * (restarts + 1), -oracle.margin(oracle.clean, oracle.rows_all)
        for number in range(rounds if norm == "linf" else 0):
            if not len(rows):
                break
            before = best.loss[rows]
            first, last = SHARES
            shares = [first * (last / first) ** ((number + k / flips) / rounds) for k in range(flips)]
            found = flip(oracle, rows, best.x[rows], eps, shares, seed, draw + number * flips)
            best.take(rows, found.x, found.loss, found.fooled)
            rows, before = rows[~found.fooled], before[~found.fooled]
            if len(rows):
                found = climb(
                    oracle, rows, best.x[rows], row, eps, cosine(POLISH_SIZE * eps, POLISH), 0.0, margin, True
                )
                best.take(rows, found.x, found.loss, found.fooled)
                now = best.loss[rows]
                patience = torch.where(now > -NEAR * clean[rows], NEAR_HOPE, HOPE)
                rows = rows[(now <= 0) & (now + patience * (now - before) > 0)]
    return best.x


def _climbs(
    oracle: Oracle,
    rows: Tensor,
    norm: Norm,
    eps: Size,
    steps: int,
    numbers: range,
    aims: Tensor,
    seed: int,
    best: Best,
    promising: Tensor,
) -> None:
    """The climbs of these numbers, each to another class, as pairs of image and class, as many images at once as a batch holds with
    all their pairs (one at least).

    What is better goes to `best`, and the class that it was found for to `promising`, in place.
    """
    for some in torch.split(rows, max(1, oracle.batch // len(numbers))):
        pairs = some.repeat(len(numbers))
        classes = [aims[some, number % aims.shape[1]] for number in numbers]
        x = torch.cat([random_point(oracle, some, norm, eps, "corner", seed, number + 1) for number in numbers])
        own, radius = oracle.paired(pairs, torch.cat(classes)), of_rows(eps, pairs)
        sizes = cosine(2 * radius, steps)
        found = climb(own, own.rows_all, x, norm, radius, sizes, 0.0, LOSSES["margin"], True, images=pairs)
        parts = (torch.split(t, len(some)) for t in (found.x, found.loss, found.fooled))
        for aim, x, loss, fooled in zip(classes, *parts, strict=True):
            fresh = ~best.fooled[some]  # of several that fool an image after as many steps, the likelier class counts
            here, loss = some[fresh], loss[fresh]
            promising[here] = torch.where(loss > best.loss[here], aim[fresh], promising[here])
            best.take(here, x[fresh], loss, fooled[fresh])
