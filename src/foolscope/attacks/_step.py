"""What the fixed-eps attacks share: random starts and the move of one step, inside ball and box."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foolscope import rng
from foolscope.errors import InputError
from foolscope.norms import NORMS, Norm, Size
from foolscope.oracle import Oracle

STARTS = ("clean", "uniform", "corner")
Move = Callable[[Tensor, Tensor, float], Tensor]


def checked_norm(name: str, norm: str, allowed: tuple[str, ...]) -> Norm:
    """The norm's row, if attack `name` has it."""
    if norm not in allowed:
        raise InputError("norm", f"a norm that {name} attacks in", norm, allowed)
    return NORMS[norm]


def checked_eps(eps: float) -> float:
    """`eps` itself, if it is a positive number."""
    if not eps > 0 or eps == float("inf"):
        raise InputError("eps", "a positive number", eps)
    return float(eps)


def checked_count(name: str, value: int) -> int:
    """`value` itself, if it is at least 1."""
    if value < 1:
        raise InputError(name, "a whole number of at least 1", value)
    return value


def random_point(oracle: Oracle, rows: Tensor, norm: Norm, eps: Size, start: str, seed: int, draw: int) -> Tensor:
    """A starting point for each row: the image itself, uniform in the ball, or a corner of it (a point of its surface); in the box.

    Draws 3 * draw to 3 * draw + 2 of each image belong to restart number `draw`.
    """
    if start not in STARTS:
        raise InputError("start", "a starting point", start, STARTS)
    x = oracle.inputs[rows]
    if start == "clean":
        return x.clone()
    index, shape = oracle.index[rows], x.shape[1:]
    u = rng.uniform(seed, index, 3 * draw, shape, x.dtype)
    if start == "uniform":
        d = norm.inside(u, rng.uniform(seed, index, 3 * draw + 1, (), x.dtype), eps)
    else:
        d = norm.surface(u, eps)
    return x + norm.project(d, eps, *oracle.box(rows))


def mover(oracle: Oracle, rows: Tensor, norm: Norm, eps: float) -> Move:
    """`x, gradient, size -> x` moved by `size` in the norm's steepest direction and back into ball and box; may work in place.

    linf: by size * sign(g), clipped. l2: by size * g / |g|_2, l1: by size * g / |g|_inf, then the exact projection onto ball and box
    (steps along the single steepest l1 coordinate would need as many steps as there are coordinates to move).
    """
    origin = oracle.inputs[rows]
    if norm.name == "linf":
        low, high = origin - eps, origin + eps
        if oracle.bounds is not None:
            low, high = low.clamp_(*oracle.bounds), high.clamp_(*oracle.bounds)
        return lambda x, g, size: torch.clamp(x.add_(g.sign_(), alpha=size), low, high, out=x)
    lower, upper = oracle.box(rows)

    def move(x: Tensor, g: Tensor, size: float) -> Tensor:
        scale = NORMS["l2"].size(g) if norm.name == "l2" else norm.dual(g)
        scale = torch.where(scale > 0, scale, 1.0).view(-1, *[1] * (g.ndim - 1))
        return origin + norm.project(x - origin + size * (g / scale), eps, lower, upper)

    return move
