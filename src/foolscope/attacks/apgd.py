"""Auto-PGD: projected gradient ascent that sets its own steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foolscope.attacks._best import Best, room
from foolscope.attacks._called import attacked
from foolscope.attacks._step import (
    ROUNDING,
    checked_count,
    checked_eps,
    checked_norm,
    checked_start,
    limits,
    of_rows,
    random_point,
    spread,
    stride,
)
from foolscope.errors import InputError
from foolscope.losses import Loss, get_loss
from foolscope.norms import Norm, Size, falling
from foolscope.oracle import Oracle

NORMS = ("linf", "l2", "l1")
RHO = 0.75  # a step that raises the loss less often than this is too long
INERTIA = 0.25  # weight of the last move
WINDOWS = (
    0.22,
    0.03,
    0.06,
)  # of the steps: the first window between checkpoints, what each next is shorter by, the shortest
L1_WINDOW = 0.04
L1_SHARE, L1_SPARSER, L1_NARROWER = (
    0.2,
    1.5,
    0.95,
)  # share moved at first; divisor of those changed; when they count as fewer
L1_SHORTER, L1_SHORTEST = 1.5, 10.0  # divisors of a step: at a checkpoint, and in all

Ascent = Callable[[Tensor, Tensor, Tensor, "_Pace", float], Tensor]


def apgd(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    eps: float | Tensor,
    steps: int = 100,
    restarts: int = 1,
    targeted_classes: int = 0,
    start: str = "uniform",
    loss: str = "margin",
    early_stop: bool = True,
    seed: int = 0,
) -> Tensor:
    """Auto-PGD: ascent with inertia whose steps halve, image by image, where the loss has stopped rising; then from the best point on.

    linf, l2: ``z = project(x + a * direction(g));  x <- project(x + 3/4 * (z - x) + 1/4 * (x - x_old))``, a = 2 eps first. At checkpoints
    (after 22 % of the steps, each window 3 % shorter, down to 6 %) a halves, and x goes back to the best point, if fewer than 3/4 of the
    window's steps raised the loss, or if neither the step nor the best loss has changed since the last checkpoint.
    l1: ``x <- project(x + a * sign(g_k) / k)`` on the k components of largest gradient that have room. Every 4 % of the steps k becomes the
    number of components changed at the best point, but not as far as the box allows, / 1.5; where that has fallen by 5 %, a is eps again
    and x the best point; elsewhere a falls by 1.5, down to eps / 10.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf, l2 or l1.
        eps: radius of the ball, in input units; one for all, or one an image, `(b,)`.
        steps: gradient steps of each run.
        restarts: independent starts; each image keeps its best.
        targeted_classes: K > 0: runs towards each of the K wrong classes that the clean image is nearest to by its logits, one class after
            the other on the images still standing; any wrong class counts (APGD-T). At most all wrong classes.
        start: `uniform` in the ball, a `corner` of it (linf: every component at +-eps), or the `clean` image.
        loss: `margin`, `dlr`, `ce` or `logit`.
        early_stop: False: go on after success and return the iterate with the largest loss.
        seed: of the random starts.

    Returns:
        `(b, ...)`: for each image a fooling iterate, else the one of the largest loss. Images that the model gets wrong already come
        back as they are.

    Raises:
        InputError: an unknown norm, loss or start, a number out of its range, or `targets` together with `targeted_classes`.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> x, y = torch.tensor([[0.6, 0.4]]), torch.tensor([0])  # at l2 distance 0.1 * sqrt(2) from the boundary
        >>> [model(apgd(model, x, y, norm="l2", eps=eps)).argmax(1).item() for eps in (0.14, 0.143)]
        [0, 1]

    References:
        Croce & Hein 2020, arXiv:2003.01690, alg. 1, eq. 6 and sec. 4 (targets); l1: Croce & Hein 2021, arXiv:2103.01208, alg. 1 and
        prop. 2.1. Projections in l2 are exact for ball and box together, and steps aware of the box; the start is our own; so is that
        in l1 components at a wall do not count as changed (with them, k stays too large where the box binds).
    """
    row, ascent_loss, start = checked_norm("apgd", norm, NORMS), get_loss(loss), checked_start(start)
    eps = checked_eps(eps, len(inputs))
    checked_count("steps", steps), checked_count("restarts", restarts)
    if targeted_classes < 0 or (targeted_classes and targets is not None):
        raise InputError(
            "targeted_classes", "0, or the number of classes to aim at where no targets are given", targeted_classes
        )
    with attacked(model, inputs, labels, targets) as oracle:
        best = Best(oracle.inputs)
        rows = oracle.undecided()
        aims = _aims(oracle, targeted_classes)
        for run in range(len(aims) * restarts):
            if not len(rows):
                break
            aim = aims[run // restarts]
            x = random_point(oracle, rows, row, eps, start, seed, run)
            aimed = oracle if aim is None else oracle.aimed(aim)
            found = _climb(aimed, rows, x, row, of_rows(eps, rows), steps, ascent_loss, early_stop)
            best.take(rows, found.x, found.loss, found.fooled)
            if early_stop:
                rows = rows[~found.fooled]
    return best.x


def _aims(oracle: Oracle, classes: int) -> list[Tensor | None]:
    """The classes to aim at, `(b,)` each, the likeliest wrong one first; one None for none in particular."""
    if not classes:
        return [None]
    if oracle.targets is not None:
        raise InputError("targeted_classes", "0 where targets are given", classes)
    return list(oracle.rivals(classes).unbind(1))


class _Pace(NamedTuple):
    """What sets a row's steps, `(r,)` each.

    Attributes:
        size: of the next step.
        largest: of any step.
        loss: of the latest iterate.
        rises: how many steps since the last checkpoint raised it.
        seen: linf, l2: the best loss at the last checkpoint; l1: the components changed at its best point.
        halved: linf, l2: whether the last checkpoint halved the steps.
        moved: l1: how many components a step moves.
    """

    size: Tensor
    largest: Tensor
    loss: Tensor
    rises: Tensor
    seen: Tensor
    halved: Tensor
    moved: Tensor


def _climb(
    oracle: Oracle, rows: Tensor, x: Tensor, norm: Norm, eps: Size, steps: int, loss: Loss, early_stop: bool
) -> Best:
    """One run from `x`: `steps` gradient steps and a last look."""
    best, slope = Best(x, room(x)), Best(x, room(x))  # each row's best iterate, and the gradient there
    live, mine, old = torch.arange(len(rows), device=rows.device), rows, x
    eps = torch.as_tensor(eps, dtype=x.dtype, device=x.device).expand(len(x))
    pace, checkpoints, since = _first_pace(norm, x, eps), _checkpoints(norm, steps), 0
    ascend = _ascent(oracle, mine, norm, eps)
    for step in range(steps):
        reached, value, gradient = oracle.gradient(x, mine, loss)
        fooled = reached > 0
        best.take(live, x, value, fooled)
        slope.take(live, gradient, value, fooled)
        if early_stop and bool(fooled.any()):
            pace = _Pace(*(t[~fooled] for t in pace))
            live, x, old, gradient, value, eps = (t[~fooled] for t in (live, x, old, gradient, value, eps))
            if not len(live):
                return best
            mine = rows[live]
            ascend = _ascent(oracle, mine, norm, eps)
        pace = pace._replace(loss=value, rises=pace.rises + (value > pace.loss))
        if step in checkpoints:
            at = best.x[live]
            pace, back = _check(pace, norm, at, best.loss[live], oracle, mine, step - since)
            x, gradient = torch.where(back, at, x), torch.where(back, slope.x[live], gradient)
            since = step
        x, old = ascend(x, old, gradient, pace, INERTIA if step else 0.0), x
    reached, value = oracle.value(x, mine, loss)
    best.take(live, x, value, reached > 0)
    return best


def _checkpoints(norm: Norm, steps: int) -> set[int]:
    """After which steps the pace is looked at."""
    if norm.name == "l1":
        window = max(1, int(L1_WINDOW * steps))
        return set(range(window, steps, window))
    first, shorter, shortest = (max(1, int(share * steps)) for share in WINDOWS)
    at, window = {first}, first
    while max(at) < steps:
        window = max(window - shorter, shortest)
        at.add(max(at) + window)
    return at


def _first_pace(norm: Norm, x: Tensor, eps: Tensor) -> _Pace:
    nothing, size = torch.zeros_like(eps), eps if norm.name == "l1" else 2 * eps
    seen = torch.full_like(eps, x[0].numel() if norm.name == "l1" else -torch.inf)
    moved = torch.full_like(eps, L1_SHARE * x[0].numel())
    return _Pace(size, size, nothing + torch.inf, nothing, seen, nothing > -1, moved)


def _check(
    pace: _Pace, norm: Norm, best: Tensor, loss: Tensor, oracle: Oracle, rows: Tensor, window: int
) -> tuple[_Pace, Tensor]:
    """The pace after a checkpoint, and which rows go back to their best point, `(r, 1, ...)`."""
    view = (-1, *[1] * (best.ndim - 1))
    if norm.name == "l1":
        # Components at a wall do not count: k must be able to fall to the few that are still to be settled.
        d, (lower, upper) = best - oracle.inputs[rows], oracle.box(rows)
        least = ROUNDING * oracle.width
        changed = ((d.abs() > least) & (d - lower > least) & (upper - d > least)).flatten(1).sum(1).to(d)
        fewer = changed < L1_NARROWER * pace.seen
        size = torch.where(fewer, pace.largest, (pace.size / L1_SHORTER).maximum(pace.largest / L1_SHORTEST))
        return pace._replace(size=size, seen=changed, moved=changed / L1_SPARSER), fewer.view(view)
    halve = (pace.rises <= RHO * window) | (~pace.halved & (loss <= pace.seen))
    size = torch.where(halve, pace.size / 2, pace.size)
    return pace._replace(size=size, rises=torch.zeros_like(pace.rises), seen=loss, halved=halve), halve.view(view)


def _ascent(oracle: Oracle, rows: Tensor, norm: Norm, eps: Tensor) -> Ascent:
    """`x, old, gradient, pace, inertia -> ` the next iterate of each row, in ball and box."""
    origin = oracle.inputs[rows]
    if norm.name == "linf":
        low, high = limits(oracle, origin, eps)

        def climb(x: Tensor, old: Tensor, g: Tensor, pace: _Pace, inertia: float) -> Tensor:
            z = g.sign().mul_(spread(pace.size, x)).add_(x).clamp_(low, high)
            # x + (1 - inertia) (z - x) + inertia (x - old)
            return (
                z.mul_(1 - inertia).add_(x, alpha=2 * inertia).sub_(old, alpha=inertia).clamp_(low, high)
                if inertia
                else z
            )

        return climb
    lower, upper = oracle.box(rows)

    def back(d: Tensor) -> Tensor:
        return oracle.clip(origin + norm.project(d, eps, lower, upper))

    def dense(x: Tensor, old: Tensor, g: Tensor, pace: _Pace, inertia: float) -> Tensor:
        d = x - origin
        z = norm.project(d + stride(norm, g, pace.size, d, lower, upper), eps, lower, upper)
        return back(z.lerp_(d, inertia).add_(x - old, alpha=inertia)) if inertia else back(z)

    def sparse(x: Tensor, old: Tensor, g: Tensor, pace: _Pace, inertia: float) -> Tensor:
        # The k-th largest slope of those that have room sets the threshold: what sits at a wall must not use up the k.
        d, slope = x - origin, g.abs()
        free = torch.where(torch.where(g > 0, upper - d, d - lower) > ROUNDING * oracle.width, slope, 0).flatten(1)
        k = pace.moved.long().clamp(1, free.shape[1])
        threshold = free.gather(1, falling(free).gather(1, k[:, None] - 1)).squeeze(1)
        return back(d + g.sign() * spread(pace.size / k, x) * (slope >= spread(threshold, x)))

    return sparse if norm.name == "l1" else dense
