"""The four norms, one row each: size, dual, projection, the best linear step, the shortest linear crossing, random points.

Every function works on a batch of perturbations `(b, ...)` inside a box given *relative to the image*, `lower <= d <= upper` with
`lower <= 0 <= upper` and entries possibly infinite. Nothing loops over images; the answer for a row depends on that row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foolscope.errors import InputError

Size = Tensor | float  # one radius for all, or `(b,)`
Draw = Callable[[], Tensor]
MAX_ROUNDS = 64  # of the active-set iteration; about five are typical, and each one fixes at least one more component


@dataclass(frozen=True)
class Norm:
    """One row of `NORMS`.

    Attributes:
        name: `linf`, `l2`, `l1` or `l0`.
        unit: what `eps` counts, in words.
        size: `d -> (b,)`, the norm of each perturbation.
        dual: `g -> (b,)`, the largest gain `<g, d>` of a perturbation of size 1 (l0: with rooms of 1).
        project: `d, eps, lower, upper ->` the point of ball and box nearest to `d` in the Euclidean sense (exact).
        steepest: `g, eps, lower, upper -> argmax <g, d>` over ball and box (exact): the dual direction, aware of the box.
        cross: `g, margin, lower, upper -> argmin size(d)` subject to `<g, d> >= margin` in the box (exact); every component at
            its limit where the box does not allow the margin.
        surface: `u, eps ->` a random point of size eps from uniforms `u` in (0, 1) of its shape (linf: a corner).
        inside: `u, radius, eps ->` a random point of the ball from uniforms `u` and those `(b,)` that `radius()` draws if needed.
        largest: `components, width ->` the size of the largest perturbation that a box of that width allows.
    """

    name: str
    unit: str
    size: Callable[[Tensor], Tensor]
    dual: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Size, Tensor, Tensor], Tensor]
    steepest: Callable[[Tensor, Size, Tensor, Tensor], Tensor]
    cross: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    surface: Callable[[Tensor, Size], Tensor]
    inside: Callable[[Tensor, Draw, Size], Tensor]
    largest: Callable[[int, float], float]


def _column(value: Size, like: Tensor) -> Tensor:
    """`value` as `(b, 1)` or a scalar tensor, in `like`'s dtype."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.reshape(-1, 1) if value.ndim else value


# Masks are floats here, written by a comparison with `out`: `where` with an irregular mask takes ten times as long (torch 2.13, CPU).


def _room(direction: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """How far each component can move the way `direction` points, `(b, d)`; finite, however wide the box."""
    # one tensor, in place: a fresh one for each step costs five times as much as what is written to it
    far = direction.sign().mul_(torch.finfo(direction.dtype).max / 4)
    return far.clamp_(lower, upper).abs_().flatten(1)


def _signed(amount: Tensor, direction: Tensor) -> Tensor:
    """`amount` `(b, d)` along the sign of `direction`, in its shape; 0 where the direction is 0."""
    return direction.flatten(1).sign().mul_(amount).view_as(direction)


def _level(rate: Tensor, cap: Tensor, target: Tensor) -> Tensor:
    """The smallest t >= 0 with sum_i min(t * rate_i, cap_i) = target, `(b, 1)`; infinite where the caps cannot reach it.

    An active-set iteration: t only grows, so a component that has reached its cap stays there. Exact once the set stops changing. Spoils
    `cap`.
    """
    most = torch.finfo(cap.dtype).max
    cap = cap.clamp_(max=most)
    full, before, work = torch.empty_like(cap), torch.zeros_like(cap), torch.empty_like(cap)
    t, left, free = torch.zeros_like(cap[:, :1]), target, rate.sum(1, keepdim=True)
    for _ in range(MAX_ROUNDS):
        t = torch.where(left > 0, left / free, t)  # infinite where all have reached their caps
        torch.ge(torch.mul(rate, t.clamp(max=most), out=work), cap, out=full)
        if torch.equal(full, before):
            break
        left = target - torch.mul(cap, full, out=work).sum(1, keepdim=True)
        free = torch.addcmul(rate, rate, full, value=-1, out=work).sum(1, keepdim=True)
        full, before = before, full
    return t


def falling(score: Tensor) -> Tensor:
    """The places of each row's components `(b, d)`, none of them negative, in order of size, the largest first; ties: the earlier first.

    On a processor in float32, where bits of numbers that are not negative are in the numbers' order, each component's bits and place make
    one integer: numpy sorts integers with vector instructions, in a sixth of the time of torch's sort (torch 2.13, numpy 2.5, AVX-512).
    """
    if score.device.type != "cpu" or score.dtype != torch.float32:
        return score.sort(dim=1, descending=True, stable=True).indices
    keys = score.view(torch.int32).to(torch.int64).bitwise_not_().bitwise_left_shift_(32)
    keys.bitwise_or_(torch.arange(score.shape[1])).numpy().sort(axis=1)
    return keys.bitwise_and_(2**32 - 1)


def _spend(score: Tensor, amount: Tensor, budget: Tensor) -> Tensor:
    """Uses up `amount` `(b, d)` in order of `score`, the largest first, until `budget` is spent; what each component spends."""
    amount = amount.minimum(budget)  # also makes infinite amounts finite
    order = falling(score)
    sorted_amount = amount.gather(1, order)
    spent = sorted_amount.cumsum(1)
    before = torch.cat([torch.zeros_like(spent[:, :1]), spent[:, :-1]], 1)
    return torch.zeros_like(amount).scatter_(1, order, (budget - before).clamp_min(0).minimum(sorted_amount))


def _top(score: Tensor, count: Size) -> Tensor:
    """True for the `count` components of each row with the largest score; ties go to the earlier component."""
    order = falling(score)
    places = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places) < _column(count, score).floor()


def _gain(g: Tensor, room: Tensor) -> Tensor:
    """What moving each component all the way gains, `(b, d)`."""
    return g.abs().flatten(1) * room


def _largest(d: Tensor) -> Tensor:
    """The largest magnitude of each row, `(b,)`; `vector_norm` takes ten times as long, `abs` makes a copy (torch 2.13, CPU)."""
    flat = d.flatten(1)
    return flat.amax(1).maximum(-flat.amin(1))


def _margin(margin: Tensor) -> Tensor:
    return margin.clamp_min(0).reshape(-1, 1)


# -- linf -------------------------------------------------------------------------------------------------------------


def _linf_project(d: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    ball = _column(eps, d)
    return d.flatten(1).maximum(lower.flatten(1).maximum(-ball)).minimum(upper.flatten(1).minimum(ball)).view_as(d)


def _linf_steepest(g: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    return _signed(_room(g, lower, upper).minimum(_column(eps, g)), g)


def _linf_cross(g: Tensor, margin: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    room = _room(g, lower, upper)
    return _signed(room.minimum(_level(g.abs().flatten(1), _gain(g, room), _margin(margin))), g)


def _linf_surface(u: Tensor, eps: Size) -> Tensor:
    return ((u.flatten(1) < 0.5).to(u.dtype) * -2 + 1).mul(_column(eps, u)).view_as(u)


def _linf_inside(u: Tensor, radius: Draw, eps: Size) -> Tensor:
    return (2 * u.flatten(1)).sub_(1).mul_(_column(eps, u)).view_as(u)


# -- l2 ---------------------------------------------------------------------------------------------------------------


def _power(g: Tensor) -> Tensor:
    """The power of two just above each row's largest magnitude, `(b, 1)`: dividing by it is exact and keeps squares in range."""
    largest = _largest(g)[:, None]
    return torch.where(largest > 0, torch.exp2(torch.frexp(largest).exponent.to(g.dtype)), 1.0)


def _l2_size(d: Tensor) -> Tensor:
    if d.device.type == "cpu":  # on an accelerator a look would wait for the device
        plain: Tensor = torch.linalg.vector_norm(d.flatten(1), dim=1)
        low, high = torch.finfo(d.dtype).tiny ** 0.25, torch.finfo(d.dtype).max ** 0.25
        if bool(((plain > low) & (plain < high)).all()):  # no square that matters left the range: a quarter of the time
            return plain
    power = _power(d)
    size: Tensor = torch.linalg.vector_norm(d.flatten(1) / power, dim=1)
    return size * power.squeeze(1)


def _l2_scale(d: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The `(b, 1)` t for which t * d, clipped to the box, has l2 size eps, in units of a power of two; that power; and d over it."""
    power = _power(d)
    slope = d.flatten(1) / power
    return _level(slope.square(), _room(d, lower, upper).square_(), _column(eps, d).square()).sqrt_(), power, slope


def _clipped(slope: Tensor, t: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The slope times t, clipped to the box, in its shape, where t may be infinite and slope 0; spoils the slope."""
    moved = slope.mul_(t.clamp(max=torch.finfo(t.dtype).max)).view_as(lower)
    return torch.clamp(moved, lower, upper, out=moved)


def _l2_project(d: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    t, power, slope = _l2_scale(d, eps, lower, upper)
    # t * slope beyond d means that the point, clipped to the box, is in the ball already.
    return _clipped(slope, t.minimum(power), lower, upper)


def _l2_steepest(g: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    t, _, slope = _l2_scale(g, eps, lower, upper)
    return _clipped(slope, t, lower, upper)


def _l2_cross(g: Tensor, margin: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    room, power = _room(g, lower, upper), _power(g)
    slope = g.flatten(1) / power
    t = _level(slope.square(), _gain(slope, room), _margin(margin) / power)
    return _clipped(slope, t, lower, upper)


def _normal(u: Tensor) -> Tensor:
    return torch.erfinv(2 * u.flatten(1) - 1)


def _l2_surface(u: Tensor, eps: Size) -> Tensor:
    direction = _normal(u)
    size: Tensor = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    return (direction / size * _column(eps, u)).view_as(u)


def _l2_inside(u: Tensor, radius: Draw, eps: Size) -> Tensor:
    return _l2_surface(u, torch.as_tensor(eps, dtype=u.dtype) * radius() ** (1 / max(1, u[0].numel())))


# -- l1 ---------------------------------------------------------------------------------------------------------------


def _l1_project(d: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    # The projection is sign(d) * clip(|d| - t, 0, room). As t falls from infinity, component i starts to grow at t = |d_i| and stops
    # at t = |d_i| - room_i, so the size is piecewise linear in t with 2d corners: sort them and read off t.
    size, room = d.flatten(1).abs(), _room(d, lower, upper)
    corners = torch.cat([size, (size - room).clamp_min(0)], 1)
    order = falling(corners)
    corners = corners.gather(1, order)
    slope = torch.lt(order, size.shape[1], out=torch.empty_like(corners)).mul_(2).sub_(1).cumsum(1)
    grown = torch.cat(
        [torch.zeros_like(corners[:, :1]), (slope[:, :-1] * (corners[:, :-1] - corners[:, 1:])).cumsum(1)], 1
    )
    ball = _column(eps, d).expand(len(d), 1).contiguous()
    last = (torch.searchsorted(grown, ball, right=True) - 1).clamp_min(0)
    t = corners.gather(1, last) - (ball - grown.gather(1, last)) / slope.gather(1, last).clamp_min(1)
    inside = size.minimum(room).sum(1, keepdim=True) <= ball
    return _signed((size - torch.where(inside, 0, t)).clamp_min(0).minimum(room), d)


def _l1_steepest(g: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    room = _room(g, lower, upper)
    return _signed(_spend(g.abs().flatten(1), room, _column(eps, g)), g)


def _l1_cross(g: Tensor, margin: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    room, slope = _room(g, lower, upper), g.abs().flatten(1)
    spent = _spend(slope, _gain(g, room), _margin(margin))
    return _signed(torch.where(slope == 0, 0, spent / slope).minimum(room), g)


def _l1_surface(u: Tensor, eps: Size) -> Tensor:
    centred = u.flatten(1) - 0.5  # Laplace variables, normalised, are uniform over the surface
    direction = -centred.sign() * torch.log1p(-2 * centred.abs())
    return (direction / direction.abs().sum(1, keepdim=True) * _column(eps, u)).view_as(u)


def _l1_inside(u: Tensor, radius: Draw, eps: Size) -> Tensor:
    return _l1_surface(u, torch.as_tensor(eps, dtype=u.dtype) * radius() ** (1 / max(1, u[0].numel())))


# -- l0 ---------------------------------------------------------------------------------------------------------------


def _l0_size(d: Tensor) -> Tensor:
    return torch.ne(d, 0, out=torch.empty_like(d)).flatten(1).sum(1)


def _l0_project(d: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    clipped = d.maximum(lower).minimum(upper)
    saved = d.square() - (d - clipped).square()  # what keeping this component takes off the squared distance
    return torch.where(_top(saved.flatten(1), eps).view_as(d), clipped, 0)


def _l0_steepest(g: Tensor, eps: Size, lower: Tensor, upper: Tensor) -> Tensor:
    room = _room(g, lower, upper)
    return _signed(torch.where(_top(_gain(g, room), eps), room, 0), g)


def _l0_cross(g: Tensor, margin: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    room = _room(g, lower, upper)
    gain = _gain(g, room)
    return _signed(torch.where(_spend(gain, gain, _margin(margin)) > 0, room, 0), g)


def _l0_surface(u: Tensor, eps: Size) -> Tensor:
    flat = u.flatten(1)
    sign = torch.where((flat * 4096).frac() < 0.5, -1.0, 1.0).to(u.dtype)  # the low bits are independent of the rank
    return torch.where(_top(flat, eps), sign, 0).view_as(u)


def _l0_inside(u: Tensor, radius: Draw, eps: Size) -> Tensor:
    flat = u.flatten(1)
    return torch.where(_top(flat, eps), 2 * (flat * 4096).frac() - 1, 0).view_as(u)


NORMS: dict[str, Norm] = {
    "linf": Norm(
        "linf",
        "input units (8/255 is eight grey levels)",
        _largest,
        lambda g: g.flatten(1).abs().sum(1),
        _linf_project,
        _linf_steepest,
        _linf_cross,
        _linf_surface,
        _linf_inside,
        lambda components, width: width,
    ),
    "l2": Norm(
        "l2",
        "Euclidean length in input units",
        _l2_size,
        _l2_size,
        _l2_project,
        _l2_steepest,
        _l2_cross,
        _l2_surface,
        _l2_inside,
        lambda components, width: width * math.sqrt(components),
    ),
    "l1": Norm(
        "l1",
        "sum of absolute changes in input units",
        lambda d: d.flatten(1).abs().sum(1),
        _largest,
        _l1_project,
        _l1_steepest,
        _l1_cross,
        _l1_surface,
        _l1_inside,
        lambda components, width: width * components,
    ),
    "l0": Norm(
        "l0",
        "number of changed components (a colour pixel has three)",
        _l0_size,
        _largest,
        _l0_project,
        _l0_steepest,
        _l0_cross,
        _l0_surface,
        _l0_inside,
        lambda components, width: float(components),
    ),
}


def get_norm(name: str) -> Norm:
    """The row of `NORMS` with this name.

    Raises:
        InputError: for an unknown name; the nearest are offered.

    Example:
        >>> g = torch.tensor([[3.0, -4.0]]); box = torch.tensor([[1.0, 1.0]])
        >>> get_norm("l2").steepest(g, 1.0, -box, box)
        tensor([[ 0.6000, -0.8000]])
        >>> get_norm("l1").cross(g, torch.tensor([5.5]), -box, box)
        tensor([[ 0.5000, -1.0000]])
    """
    if name not in NORMS:
        raise InputError("--norm", "a norm", name, NORMS)
    return NORMS[name]
