"""The Carlini-Wagner attack in l2."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from foolscope.attacks._best import room
from foolscope.attacks._called import attacked
from foolscope.attacks._nearest import Nearest
from foolscope.attacks._step import checked_count, checked_norm, checked_positive
from foolscope.errors import InputError
from foolscope.norms import Norm
from foolscope.oracle import Oracle

NORMS = ("l2",)
OVERSHOOT = 1.005  # how far beyond the linear estimate of the boundary the start aims
GROWTH = 8.0  # of a constant for which nothing was found
LAST_STEP = 0.05  # what the step falls to in each search, relative to its first
DECAY = (0.9, 0.999)  # Adam's, of the gradient's and its square's running means
NARROW = 0.05  # a bracket of constants of this relative width is an image's last
STILL = 1e-30  # what the squares' mean starts from: a component whose gradient is always 0 then stays where it is


def cw(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "l2",
    steps: int = 200,
    searches: int = 6,
    step_size: float = 0.4,
    kappa: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """The nearest fooling image in l2: Adam on squared distance plus constant times hinged margin, the constant found by bisection.

    ``minimise |d|^2 + c * max(kappa - margin(inputs + d), 0)`` over the box; after each search `c` is halfway down where it succeeded, up
    where not. Beyond the paper: Adam works on the pixels and is projected, where a change of variables by tanh cannot move pixels at
    exactly 0 or 1; the linearised problem gives each image its first point, constant and step; each search starts at the nearest
    fooling point so far, its step annealed along a cosine.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: l2.
        steps: gradient steps, all searches together.
        searches: constants tried, at most one a step; an image leaves earlier when its constant is known to 5 %.
        step_size: the first step of each search, in units of the root mean square of the linear estimate's components.
        kappa: by how much the wanted class is to lead, in units of the model's own logits.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the nearest iterate that fools by `kappa`, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: an unknown norm, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> x = torch.tensor([[0.8, 0.4]])  # at distance 0.4 / sqrt(2) from the boundary x_1 = x_2
        >>> near, surer = (cw(model, x, torch.tensor([0]), kappa=kappa) for kappa in (0.0, 0.2))
        >>> [[round(v, 2) for v in (found - x)[0].tolist()] for found in (near, surer)]
        [[-0.2, 0.2], [-0.3, 0.3]]

    References:
        Carlini & Wagner 2017, arXiv:1608.04644, sec. V-VI, f_6.
    """
    row = checked_norm("cw", norm, NORMS)
    checked_count("steps", steps)
    searches = min(checked_count("searches", searches), steps)
    checked_positive("step_size", step_size)
    if not kappa >= 0:
        raise InputError("kappa", "a number that is not negative", kappa)
    with attacked(model, inputs, labels, targets) as oracle:
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            best[rows] = _bisect(oracle, rows, row, steps, searches, step_size, kappa)
    return best


def _bisect(
    oracle: Oracle, rows: Tensor, norm: Norm, steps: int, searches: int, step_size: float, kappa: float
) -> Tensor:
    """The searches, one after the other, each for the images that may still come nearer."""
    origin, (lower, upper) = oracle.inputs[rows], oracle.box(rows)
    wanted = kappa * _unit(oracle, rows)
    margin, _, gradient = oracle.gradient(origin, rows)
    jump = norm.cross(gradient, OVERSHOOT * (wanted - margin), lower, upper)
    # Where the solution is min |d|^2 + c * (wanted - margin) for a linear margin; a dead gradient leaves any c as good.
    distance = norm.size(jump)
    constant = 2 * distance.square() / (wanted - margin).clamp_min(torch.finfo(margin.dtype).tiny)
    rate = step_size * distance / math.sqrt(origin[0].numel())
    nearest, x = Nearest(origin, room(origin)), oracle.clip(origin + jump)
    low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
    live = torch.arange(len(rows), device=rows.device)
    for search in range(searches):
        count = (search + 1) * steps // searches - search * steps // searches
        x, won = _descend(oracle, rows[live], norm, nearest, live, x, constant[live], rate[live], wanted[live], count)
        high[live] = torch.where(won, constant[live], high[live])
        low[live] = torch.where(won, low[live], constant[live])
        constant = torch.where(torch.isfinite(high), (low + high) / 2, GROWTH * constant)
        go_on = low[live] < (1 - NARROW) * high[live]
        live = live[go_on]
        if not len(live):
            break
        missed = torch.isinf(nearest.size[live]).view(-1, *[1] * (x.ndim - 1))
        x = torch.where(missed, x[go_on], nearest.x[live])
    return nearest.x


def _descend(
    oracle: Oracle,
    rows: Tensor,
    norm: Norm,
    nearest: Nearest,
    live: Tensor,
    x: Tensor,
    constant: Tensor,
    rate: Tensor,
    wanted: Tensor,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """`steps` of projected Adam from `x` at one constant; keeps what is nearest; the last point, and which images succeeded."""
    origin, view = oracle.inputs[rows], (-1, *[1] * (x.ndim - 1))
    least = max(STILL, torch.finfo(x.dtype).smallest_normal * torch.finfo(x.dtype).eps)  # float16 has no 1e-30: 0 / 0
    mean, square = torch.zeros_like(x), torch.full_like(x, least)
    won = torch.zeros_like(rows, dtype=torch.bool)
    for step in range(1, steps + 1):
        margin, _, gradient = oracle.gradient(x, rows)
        d = x - origin
        reached = margin > wanted
        won |= reached & (2 * step > steps)
        nearest.take(x, norm.size(d), reached, live)
        weight = torch.where(reached, 0, constant / 2)
        slope = d.sub_(gradient.mul_(weight.view(view)))  # half of it: Adam does not look at the scale
        mean.lerp_(slope, 1 - DECAY[0])
        square.mul_(DECAY[1]).addcmul_(slope, slope, value=1 - DECAY[1])
        anneal = LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
        length = rate * anneal * math.sqrt(1 - DECAY[1] ** step) / (1 - DECAY[0] ** step)
        spread = torch.sqrt(square, out=slope).div_(length.view(view))
        x = oracle.clip(torch.addcdiv(x, mean, spread, value=-1, out=spread))
    return x, won


def _unit(oracle: Oracle, rows: Tensor) -> Tensor:
    """One of the model's logits in the units of the oracle's margins, `(r,)`: the margin of logits that differ by one."""
    own = oracle.labels if oracle.targets is None else oracle.targets
    hot = nn.functional.one_hot(own[rows], oracle.clean.shape[1]).to(oracle.clean.dtype)
    return oracle.margin(hot, rows).abs()
