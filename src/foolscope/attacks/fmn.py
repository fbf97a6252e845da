"""The fast minimum-norm attack, begun again from afar."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from foolscope import rng
from foolscope.attacks._best import room
from foolscope.attacks._called import attacked
from foolscope.attacks._nearest import Nearest
from foolscope.attacks._step import checked_box, checked_count, checked_norm, checked_positive, stride
from foolscope.errors import InputError
from foolscope.norms import Norm
from foolscope.oracle import Oracle

NORMS = ("linf", "l2", "l1", "l0")
OVERSHOOT = 1.005  # how far beyond the linear estimate of the boundary an iterate aims, so that rounding does not leave it just inside
GROWTH = 1.1, 10.0  # the least and the largest growth, a step, of a ball in which nothing was found yet
CYCLE = 125  # steps of some runs from the image and some from afar, about
LEAST = 20  # steps below which there is one run only
KEPT = 8  # steps that the run from the image keeps when the one from afar needs the others
L1_STEP = 0.2  # of a step in l1, whose largest component alone would be as long as the whole radius


class Way(NamedTuple):
    """How a run goes.

    Attributes:
        reach: radius of the ball in which it begins, in units of the nearest distance so far; 0: it begins at the image.
        step, last_step: the first and the last step, in units of the radius.
        gamma, last_gamma: the first and the last relative change of the radius, in units of the attack's `gamma`.
        power: l2: the step goes along sign(g) * |g|**power.
        memory: share of the last direction in the next one.
        geometric: whether the step falls geometrically, or along a cosine.
    """

    reach: float
    step: float
    last_step: float
    gamma: float
    last_gamma: float
    power: float = 1.0
    memory: float = 0.0
    geometric: bool = False

    def length(self, at: float) -> float:
        """The step in units of the first, at this share of the run."""
        return (self.last_step / self.step) ** at if self.geometric else 0.01 + 0.99 * (1 + math.cos(math.pi * at)) / 2


class Cycle(NamedTuple):
    """How steps are shared among runs.

    Attributes:
        near: share of the runs that begin at the image.
        rivals: how many of these there may be in one cycle, each to the next likeliest class; several cycles share them.
        afar: how many runs from afar there may be in each.
        shortest, shortest_afar: steps below which there are fewer runs instead of shorter ones. Of few steps those from the image give
            some away, so that there is one from afar of that length.
    """

    near: float
    rivals: int
    afar: int
    shortest: int = 1
    shortest_afar: int = 1


# Chosen by measurement (docs/decisions/0021, 0061, 0064 and 0071): the runs from the image and those from afar, and how many of each.
WAYS = {
    "linf": (Way(0, 1.0, 0.01, 1.0, 0.01), Way(1.0, 1.0, 0.01, 1.0, 0.01, memory=0.75)),
    "l2": (Way(0, 1.0, 0.01, 1.0, 0.01), Way(3.0, 3.0, 0.004, 1.0, 0.04, 1.5, 0.0, True)),
    "l1": (Way(0, 1.0, 0.01, 1.0, 0.02, 1.0, 0.75), Way(30.0, 1.0, 0.01, 1.0, 0.02, 1.0, 0.75)),
    "l0": (Way(0, 3.0, 0.3, 1.0, 0.05, 1.0, 0.75), Way(20.0, 3.0, 0.3, 1.0, 0.02, 1.0, 0.75)),
}
CYCLES = {
    "linf": Cycle(0.36, 3, 4, 10, 16),
    "l2": Cycle(0.4, 3, 2, 13, 24),
    "l1": Cycle(0.35, 1, 1, 1, 52),
    "l0": Cycle(0.35, 1, 1),
}


def fmn(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    steps: int = 100,
    step_size: float = 1.0,
    gamma: float = 0.5,
    agreement: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """The nearest fooling image: gradient steps in a ball that shrinks by gamma after a success and grows after a failure.

    ``eps <- min(eps, nearest) * (1 - gamma)`` after a success, ``min(eps * (1 + gamma), nearest)`` after a failure;
    ``d <- project(d + step_size * eps * direction(g), eps)``, both gamma and the step annealed. Beyond the paper: the first step solves the
    linearised problem exactly, box included; while nothing was found, the ball goes to the linear estimate of the boundary and always
    grows; projections onto ball and box are exact; later runs begin at the nearest point found plus a random perturbation as large as
    that (linf) or several times as large, which gets past what stops a run from the image.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf, l2, l1 or l0.
        steps: gradient steps, all runs together.
        step_size: a factor of all steps.
        gamma: the first relative change of the radius.
        agreement: an image leaves before the next run once one from afar has ended within this share of the nearest distance found before,
            on either side; 0: never.
        seed: of the draws.

    Returns:
        `(b, ...)`: the nearest fooling iterate, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: an unknown norm, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> x = torch.tensor([[0.9, 0.1]])  # the boundary is at x_1 = 3 x_2
        >>> near = fmn(model, x, torch.tensor([0]), norm="l1")
        >>> [round(v, 2) for v in (near - x)[0].tolist()]
        [0.0, 0.2]

    References:
        Pintor et al. 2021, arXiv:2102.12827, alg. 1. Later runs: own.
    """
    row = checked_norm("fmn", norm, NORMS)
    checked_count("steps", steps)
    checked_positive("step_size", step_size)
    if not 0 < gamma < 1:
        raise InputError("gamma", "a number between 0 and 1", gamma)
    if not 0 <= agreement < 1:
        raise InputError("agreement", "a number of at least 0 and below 1", agreement)
    with attacked(model, inputs, labels, targets) as oracle:
        checked_box(oracle, row)
        result = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            result[rows] = _search(oracle, rows, row, steps, step_size, gamma, agreement, seed)
    return result


def _search(
    oracle: Oracle,
    rows: Tensor,
    norm: Norm,
    steps: int,
    step_size: float,
    gamma: float,
    agreement: float,
    seed: int,
) -> Tensor:
    """The first run and all later ones, then a last look."""
    inputs, (first, later) = oracle.inputs[rows], WAYS[norm.name]
    nearest, x, eps = Nearest(inputs, room(inputs)), inputs, inputs.new_zeros(len(rows))
    precise = torch.promote_types(inputs.dtype, torch.float32)  # half precision has too few distinct draws
    likeliest = oracle.rivals(steps) if oracle.targets is None else None
    known = 1 if likeliest is None else likeliest.shape[1]
    places: Tensor | None = None  # of the rows that go on; None: all
    plan = run_plan(steps, known, CYCLES[norm.name])
    for number, run in enumerate(plan):
        origin, box = oracle.inputs[rows], oracle.box(rows)
        way, aimed = first, oracle
        before = nearest.size if places is None else nearest.size[places]
        if run.rival is None:
            way, eps = later, later.reach * torch.where(torch.isfinite(before), before, eps)
            u = rng.uniform(seed, oracle.index[rows], number, origin.shape[1:], precise)
            noise = norm.project(norm.surface(u, eps).to(origin.dtype).mul_(_unit(oracle, norm)), eps, *box)
            best = nearest.x if places is None else nearest.x[places]
            x = oracle.clip(origin + norm.project(best - origin + noise, eps, *box))
        elif run.rival and likeliest is not None:
            aimed, x = oracle.aimed(likeliest[:, run.rival]), origin
        x, eps, mine = _shrink(aimed, rows, norm, way, x, eps, nearest, places, run.steps, step_size, gamma)
        if agreement and run.rival is None and number + 1 < len(plan):
            agrees = torch.isfinite(before) & ((mine - before).abs() <= agreement * before)
            stays = (~agrees).nonzero().squeeze(1)
            if not len(stays):
                return nearest.x
            places = stays if places is None else places[stays]
            rows, x, eps = rows[stays], x[stays], eps[stays]
    nearest.take(x, norm.size(x - oracle.inputs[rows]), oracle.value(x, rows)[0] > 0, places)
    return nearest.x


class Run(NamedTuple):
    """One run: its steps, and the rival that it leads to when it begins at the image; None: it begins afar."""

    steps: int
    rival: int | None


def run_plan(steps: int, rivals: int, cycle: Cycle) -> list[Run]:
    """The runs that share the steps: from the image to the likeliest rivals and from afar, then to the next rivals and from afar, ...

    Example:
        >>> [tuple(run) for run in run_plan(100, 9, Cycle(0.42, 3, 3, 12, 16))]
        [(14, 0), (14, 1), (14, 2), (19, None), (19, None), (20, None)]
        >>> [tuple(run) for run in run_plan(40, 9, Cycle(0.42, 3, 3, 12, 16))]
        [(16, 0), (24, None)]
        >>> [tuple(run) for run in run_plan(60, 9, Cycle(0.35, 1, 1, 1, 52))]
        [(8, 0), (52, None)]
        >>> [tuple(run) for run in run_plan(250, 1, Cycle(0.35, 1, 1))]
        [(43, 0), (82, None), (125, None)]
        >>> [tuple(run) for run in run_plan(250, 9, Cycle(0.4, 2, 2, 20, 24))]
        [(50, 0), (37, None), (38, None), (50, 1), (37, None), (38, None)]
    """
    if steps < LEAST:
        return [Run(steps, 0)]
    plan: list[Run] = []
    led, cycles = 0, max(1, round(steps / CYCLE))  # rivals so far
    for length in parts(steps, cycles):
        near = min(cycle.near * length, max(KEPT, length - cycle.shortest_afar))
        count = min(rivals - led, math.ceil(cycle.rivals / cycles), max(1, int(near / cycle.shortest)))
        near = int(near / max(1, count))
        plan += [Run(near, led + k) for k in range(count)]
        rest, led = length - near * count, led + count
        plan += [Run(part, None) for part in parts(rest, min(cycle.afar, max(1, rest // cycle.shortest_afar)))]
    return plan


def parts(whole: int, count: int) -> list[int]:
    """`whole` in `count` parts that differ by 1 at most.

    Example:
        >>> parts(58, 3)
        [19, 19, 20]
    """
    return [whole * (k + 1) // count - whole * k // count for k in range(count)]


def _shrink(
    oracle: Oracle,
    rows: Tensor,
    norm: Norm,
    way: Way,
    x: Tensor,
    eps: Tensor,
    nearest: Nearest,
    places: Tensor | None,
    steps: int,
    step_size: float,
    gamma: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """One run from `x`; what is nearer goes to these `places` of `nearest`.

    Returns the last iterate, not looked at yet, the last radius and the run's own nearest distance, `(r,)`.
    """
    origin, (lower, upper) = oracle.inputs[rows], oracle.box(rows)
    d, mine, most = x - origin, torch.full_like(eps, torch.inf), eps
    mean, unit = torch.zeros_like(d), _unit(oracle, norm)
    for step in range(steps):
        margin, _, gradient = oracle.gradient(x, rows)
        size, fooled = norm.size(d), margin > 0
        nearest.take(x, size, fooled, places)
        mine = torch.where(fooled, mine.minimum(size), mine)
        if not step and not way.reach:  # the shortest way to the linearised boundary, exactly
            d = norm.cross(gradient, -OVERSHOOT * margin, lower, upper)
            eps = norm.size(d)
        else:
            if step:
                rate = gamma * way.gamma * (way.last_gamma / way.gamma) ** (step / steps)
                eps = torch.where(fooled, eps.minimum(mine) * (1 - rate), (eps * (1 + rate)).minimum(mine))
            eps = eps.minimum(most) if way.reach else _farther(norm, eps, mine, size, gradient, d, margin, unit)
            along, length = _direction(gradient, mean, way), step_size * way.step * way.length(step / steps)
            d = _moved(norm, d, along, length * unit, eps, lower, upper, gradient)
        x = oracle.clip(torch.add(origin, d, out=gradient))  # fresh memory costs as much as the sum
        torch.sub(x, origin, out=d)
    return x, eps, mine


def _unit(oracle: Oracle, norm: Norm) -> float:
    """What the change of a component is measured by: in l0, whose radius counts them, the box's width."""
    return oracle.width if norm.name == "l0" else 1.0


def _farther(
    norm: Norm, eps: Tensor, mine: Tensor, size: Tensor, gradient: Tensor, d: Tensor, margin: Tensor, unit: float
) -> Tensor:
    """Where nothing was found yet, as far as the linearised boundary without the box, within limits; else `eps`."""
    missed = torch.isinf(mine).nonzero().squeeze(1)
    if not len(missed):
        return eps
    some = (gradient, d, margin, size)
    g, at, short, far = some if len(missed) == len(eps) else (t[missed] for t in some)
    slope = norm.dual(g) * unit
    reach = ((g * at).flatten(1).sum(1) - OVERSHOOT * short) / torch.where(slope > 0, slope, 1)
    least = far + 1 if norm.name == "l0" else GROWTH[0] * far  # l0 counts whole components
    return eps.index_copy(0, missed, reach.minimum(GROWTH[1] * far).maximum(least))


def _direction(gradient: Tensor, mean: Tensor, way: Way) -> Tensor:
    """Where a step goes: the gradient, or the running mean of them (kept in `mean`), its components to a power."""
    if way.memory:
        gradient = mean.lerp_(gradient, 1 - way.memory)
    return gradient if way.power == 1 else gradient.sign() * gradient.abs().pow(way.power)


def _moved(
    norm: Norm, d: Tensor, along: Tensor, length: float, eps: Tensor, lower: Tensor, upper: Tensor, spare: Tensor
) -> Tensor:
    """`d` after a step of `length` radii and the projection: the steepest step in l2, the sign in linf, `along` itself in l1.

    `spare` is memory of its shape that may be used up, `along`'s perhaps.
    Steepest l1 steps change so few components that they get stuck on hardened networks (measured; docs/decisions).
    """
    view = (-1, *[1] * (d.ndim - 1))
    if norm.name == "linf":  # in place, and clipped to the box by the caller
        ball = eps.view(view)
        moved = d.addcmul_(torch.sign(along, out=spare), length * ball)
        # `clamp` with a limit for each image takes three times as long (torch 2.13, CPU)
        return torch.minimum(torch.maximum(moved, -ball, out=moved), ball, out=moved)
    if norm.name == "l2":
        return norm.project(d + stride(norm, along, length * eps, d, lower, upper), eps, lower, upper)
    scale = norm.dual(along)  # l0: the largest component, which crosses the box in one step of length 1
    if norm.name == "l0":
        return norm.project(d + along * (length / torch.where(scale > 0, scale, 1)).view(view), eps, lower, upper)
    reach = length * L1_STEP * eps / torch.where(scale > 0, scale, 1)
    return norm.project(d + along * reach.view(view), eps, lower, upper)
