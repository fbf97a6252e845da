"""Classifiers whose boundary is a sphere: a curved boundary whose distance is a closed form in every norm, from inside and from outside."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.testing.affine import Problem
from foolscope.testing.distances import NORMS, Array

SIDES = ("inside", "outside")
RADIUS = 0.4
LEVELS: dict[str, dict[str, tuple[float, ...]]] = {  # the distances of the images, by turns
    "inside": {"linf": (0.005, 0.02), "l2": (0.04, 0.16), "l1": (0.05, 0.2), "l0": (1.0,)},
    "outside": {"linf": (0.01, 0.05), "l2": (0.1, 0.4), "l1": (0.5, 2.0), "l0": (4.0, 12.0)},
}


class Radial(nn.Module):
    """Logits ``(radius² - ||x - centre||², 0)``: class 0 inside a sphere, class 1 outside."""

    def __init__(self, centre: Tensor, radius: float) -> None:
        super().__init__()
        self.centre = nn.Parameter(centre)
        self.radius = radius

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (b, 2) of inputs (b, C, H, W)."""
        inside = self.radius**2 - (inputs - self.centre).square().flatten(1).sum(1)
        return torch.stack([inside, torch.zeros_like(inside)], dim=1)


def radial_problem(
    n: int = 64,
    shape: tuple[int, int, int] = (1, 8, 8),
    norm: str = "l2",
    *,
    side: str = "inside",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Problem:
    """Images inside or outside a sphere; in float64 at one of a few exact distances each, so that one eps tests many at once.

    Args:
        n: images.
        shape: (C, H, W) of one.
        norm: linf, l2, l1 or l0.
        side: inside or outside the sphere.
        seed: another one, another problem.
        dtype: of the model and the images.

    Returns:
        The problem, with the box inactive: the sphere lies within it, and from outside the shortest way leads towards its centre.

    Raises:
        InputError: unknown norm or side.

    Example:
        >>> problem = radial_problem(3)
        >>> bool((problem.distance > 0).all() and (problem.distance < 0.4).all())
        True
    """
    named: tuple[tuple[str, str, tuple[str, ...]], ...] = (("norm", norm, NORMS), ("side", side, SIDES))
    for name, value, accepted in named:
        if value not in accepted:
            raise InputError(name, f"a {name}", value, accepted)
    draw = np.random.default_rng(seed)
    dims = int(np.prod(shape))
    centre = torch.as_tensor(draw.uniform(0.45, 0.55, dims)).to(dtype)
    away = draw.normal(size=(n, dims))
    away /= np.abs(away).max(axis=1, keepdims=True, initial=0.0)
    levels = LEVELS[side][norm]
    wanted = np.array(levels)[np.arange(n) % len(levels)]
    inputs = (centre.double() + torch.as_tensor(_scaled(away, wanted, norm, side))).to(dtype)
    return Problem(
        model=Radial(centre.reshape(shape), RADIUS).eval(),
        inputs=inputs.reshape(n, *shape),
        labels=torch.full((n,), SIDES.index(side), dtype=torch.int64),
        targets=None,
        distance=torch.as_tensor(sphere_distance((inputs.double() - centre.double()).numpy(), RADIUS, norm)),
        norm=norm,
        box="inactive",
        bounds=(0.0, 1.0),
    )


def sphere_distance(away: Array, radius: float, norm: str) -> Array:
    """The smallest ``||d||`` that brings a point to a sphere around the origin, no box being in the way.

    With u = |away|, inside, the longest of all ``away + d`` with ``||d|| <= t`` has to reach the radius: every component grows by t
    (linf: a quadratic equation), or the largest alone (l1: the length is convex in d, so a corner of the ball is best; l0: any one
    component is enough). Outside, the shortest has to: every component shrinks by t, at most to 0 (linf), those above a level are
    cut down to it (l1: by the optimality conditions all that change end level), or the largest are set to 0 (l0).

    Args:
        away: (n, d) the points, as seen from the centre.
        radius: of the sphere.
        norm: linf, l2, l1 or l0.

    Returns:
        (n,) distances, 0 on the sphere.

    Raises:
        InputError: unknown norm.

    Example:
        >>> points = np.array([[0.0, 3.0], [3.0, 4.0], [6.0, 8.0]])  # two inside, one outside a circle of radius 6
        >>> [sphere_distance(points, 6.0, norm).round(3).tolist() for norm in NORMS]
        [[2.469, 0.713, 2.877], [3.0, 1.0, 4.0], [3.0, 1.196, 5.515], [1.0, 1.0, 1.0]]
    """
    if norm not in NORMS:
        raise InputError("norm", "a norm", norm, NORMS)
    size = np.abs(away)
    square, total = np.square(size).sum(axis=1), size.sum(axis=1)
    gap = radius**2 - square
    inside: Array
    if norm == "l2":
        inside = radius - np.sqrt(square)
    elif norm == "linf":
        dims = size.shape[1]
        inside = (np.sqrt(np.maximum(total**2 + dims * gap, 0)) - total) / dims
    elif norm == "l1":
        largest = size.max(axis=1, initial=0.0)
        inside = np.sqrt(np.maximum(gap + largest**2, 0)) - largest
    else:
        inside = (gap > 0).astype(np.float64)
    distance: Array = np.where(gap >= 0, inside, _from_outside(size, radius, norm))
    return distance


def _from_outside(size: Array, radius: float, norm: str) -> Array:
    """For points outside; what it says of others means nothing. Of the k largest components that change or stay, the last k that fits."""
    ordered = -np.sort(-size, axis=1)
    count = np.arange(1, size.shape[1] + 1)
    before, ends = np.cumsum(ordered, axis=1), np.cumsum(np.square(ordered), axis=1)
    rest = np.maximum(ends[:, -1:] - ends, 0.0)
    nearest: Array
    if norm == "l2":
        nearest = np.sqrt(ends[:, -1]) - radius
        return nearest
    if norm == "l0":  # k cut to 0
        nearest = 1.0 + (rest > radius**2).sum(axis=1)
        return nearest
    if norm == "linf":  # k stay above 0: sum (u - t)^2 = radius^2 over them, and the others are below t
        inner = before**2 - count * (ends - radius**2)
        spent = (before - np.sqrt(np.maximum(inner, 0.0))) / count
        fits = (inner >= 0) & (spent <= ordered)
    else:  # l1: k are cut down to the level
        level = np.sqrt(np.maximum(radius**2 - rest, 0.0) / count)
        spent = before - count * level
        fits = (rest <= radius**2) & (level <= ordered)
    last = fits.shape[1] - 1 - np.argmax(fits[:, ::-1], axis=1)[:, None]
    nearest = np.take_along_axis(spent, last, axis=1)[:, 0]
    return nearest


def _scaled(away: Array, wanted: Array, norm: str, side: str) -> Array:
    """The points on their rays from the centre that are as far from the sphere as wanted (l0: of those, the middle one)."""
    edge: Array = RADIUS / np.sqrt(np.square(away).sum(axis=1))

    def first(least: Array) -> Array:
        """How far along the ray, from the sphere on, the distance is first `least`."""
        near, far = edge, np.zeros_like(edge) if side == "inside" else np.full_like(edge, 0.45)
        for _ in range(60):
            middle = (near + far) / 2
            enough = sphere_distance(away * middle[:, None], RADIUS, norm) >= least
            near, far = np.where(enough, near, middle), np.where(enough, middle, far)
        return far

    along = first(wanted)
    if norm == "l0":
        along = edge / 2 if side == "inside" else (along + first(wanted + 1)) / 2
    scaled: Array = away * along[:, None]
    return scaled
