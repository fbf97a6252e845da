"""What the fixed-eps attacks share: random starts and the move of one step, inside ball and box."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from foolscope import rng
from foolscope.errors import InputError
from foolscope.norms import NORMS, Norm, Size, _room
from foolscope.oracle import Oracle

STRIDE = (
    2.5  # times eps / steps: the constant step of Madry et al., which can cross the ball and has steps left to settle
)
ROUNDING = 1e-6  # room that is only the rounding of image plus perturbation
MOST, LARGEST = 10**7, 1e18  # of counts, and of lengths
STARTS = ("clean", "uniform", "corner")
Move = Callable[[Tensor, Tensor, Size], Tensor]


def checked_norm(name: str, norm: str, allowed: tuple[str, ...]) -> Norm:
    """The norm's row, if attack `name` has it."""
    if norm not in allowed:
        raise InputError("norm", f"a norm that {name} attacks in", norm, allowed)
    return NORMS[norm]


def checked_box(oracle: Oracle, norm: Norm) -> None:
    """l0 needs a box: without one, a single component can be changed without end."""
    if norm.name == "l0" and oracle.bounds is None:
        raise InputError("bounds", "a box in l0", "none")


def checked_eps(eps: Size, images: int, name: str = "eps") -> Size:
    """`eps` itself, if it is a positive number, or one an image, `(b,)`; then in double precision, as Python's numbers are."""
    if not isinstance(eps, Tensor) or not eps.ndim:
        return checked_positive(name, float(eps))
    if eps.shape != (images,):
        raise InputError(name, f"one number, or {images}, one an image", f"a tensor of shape {tuple(eps.shape)}")
    if not bool(((eps > 0) & (eps < LARGEST)).all()):
        raise InputError(name, "positive numbers below 1e18", eps.tolist())
    return eps.detach().double()


def of_rows(value: Size, rows: Tensor) -> Size:
    """These rows' share of a value that may differ from image to image, `(b,)`."""
    return value.to(rows.device)[rows] if isinstance(value, Tensor) else value


def spread(value: Size, like: Tensor) -> Size:
    """A value of each row, `(r,)`, so that it multiplies `like`, `(r, ...)`."""
    return value.to(like).view(-1, *[1] * (like.ndim - 1)) if isinstance(value, Tensor) else value


def checked_count(name: str, value: int) -> int:
    """`value` itself, if it is at least 1 and not so large that a plan of so many steps would fill the memory."""
    if value < 1:
        raise InputError(name, "a whole number of at least 1", value)
    if value > MOST:
        raise InputError(name, f"a whole number of at most {MOST}", value)
    return value


def checked_positive(name: str, value: float) -> float:
    """`value` itself, if it is a positive number whose square float32 still holds."""
    if not value > 0:
        raise InputError(name, "a positive number", value)
    if value >= LARGEST:
        raise InputError(name, "a number below 1e18", value)
    return value


def checked_start(start: str) -> str:
    """`start` itself, if it is a starting point that `random_point` knows."""
    if start not in STARTS:
        raise InputError("start", "a starting point", start, STARTS)
    return start


def cosine(size: Size, steps: int) -> list[Size]:
    """Step sizes from `size` to 0 along a squared half cosine: they cross the ball at first and settle at the end."""
    return [size / 4 * (1 + math.cos(math.pi * k / steps)) ** 2 for k in range(steps)]


def random_point(oracle: Oracle, rows: Tensor, norm: Norm, eps: Size, start: str, seed: int, draw: int) -> Tensor:
    """A starting point for each row: the image itself, uniform in the ball, or a corner of it (a point of its surface); in the box.

    `eps` is one number or one an image of the oracle, `(b,)`. Draws 3 * draw to 3 * draw + 2 of each image belong to restart number `draw`.
    """
    checked_start(start)
    x = oracle.inputs.index_select(0, rows)  # a third of the time of `inputs[rows]` (torch 2.13, CPU)
    if start == "clean":
        return x
    index, shape = oracle.index[rows], x.shape[1:]
    precise = torch.promote_types(x.dtype, torch.float32)  # half precision has too few distinct draws
    u = rng.uniform(seed, index, 3 * draw, shape, precise)
    radius = partial(rng.uniform, seed, index, 3 * draw + 1, (), precise)
    eps = of_rows(eps, rows)
    d = (norm.inside(u, radius, eps) if start == "uniform" else norm.surface(u, eps)).to(x.dtype)
    if norm.name == "l0":  # its points change components by up to 1
        d.mul_(oracle.width)
    if norm.name != "linf":  # there the box needs no more than a clip
        d = norm.project(d, eps, *oracle.box(rows))
    return oracle.clip(d.add_(x))


def stride(norm: Norm, gradient: Tensor, size: Size, d: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """The steepest step of `size` that the box has room for at `d`; components at their limit are pressed against it by `size`.

    The projection onto the ball that follows takes from every component: without the pressure, those at their limit would fall back.
    """
    lower, upper = lower - d, upper - d
    step = norm.steepest(gradient, size, lower, upper).flatten(1)
    least = d.flatten(1).abs().add_(1).mul_(ROUNDING)
    limited = torch.le(_room(gradient, lower, upper), least, out=least)  # a float mask: `where` takes ten times as long
    pressure = (gradient.sign() * spread(size, d)).flatten(1)
    return torch.lerp(step, pressure, limited).view_as(d)


def mover(oracle: Oracle, rows: Tensor, norm: Norm, eps: Size) -> Move:
    """`x, gradient, size -> x` moved by `size` in the norm's steepest direction and back into ball and box; uses up the gradient.

    `eps` and `size` are one number or one an image of the oracle, `(b,)`. linf: by size * sign(g), clipped. l2 and l1: by the steepest
    step of that size (`stride`), then back onto ball and box by the exact projection; in l1 that moves the components of largest |g|,
    each as far as the box allows.
    """
    origin = oracle.inputs.index_select(0, rows)
    eps = of_rows(eps, rows)
    if norm.name == "linf":
        low, high = limits(oracle, origin, eps)

        def clipped(x: Tensor, g: Tensor, size: Size) -> Tensor:
            step = of_rows(size, rows)  # all in the gradient's memory: fresh memory costs as much as the sum
            moved = (
                g.sign_().mul_(spread(step, x)).add_(x)
                if isinstance(step, Tensor)
                else torch.add(x, g.sign_(), alpha=step, out=g)
            )
            return torch.clamp(moved, low, high, out=moved)

        return clipped
    lower, upper = oracle.box(rows)

    def move(x: Tensor, g: Tensor, size: Size) -> Tensor:
        d, step = x - origin, of_rows(size, rows)
        return oracle.clip(origin + norm.project(d + stride(norm, g, step, d, lower, upper), eps, lower, upper))

    return move


def limits(oracle: Oracle, origin: Tensor, eps: Size) -> tuple[Tensor, Tensor]:
    """The lowest and highest values, `(r, ...)`, of the linf balls around `origin` and the box together."""
    ball = spread(eps, origin)
    return oracle.clip(origin - ball), oracle.clip(origin + ball)
