"""Square attack: random search with square-shaped changes, from the scores alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from foolscope import rng
from foolscope.attacks._best import Best
from foolscope.attacks._called import attacked
from foolscope.attacks._flips import flip, planes
from foolscope.attacks._step import checked_count, checked_eps, checked_norm, of_rows, spread
from foolscope.errors import InputError
from foolscope.norms import NORMS as ALL
from foolscope.norms import Size
from foolscope.oracle import Oracle

NORMS = ("linf", "l2")
HALVINGS = (
    10,
    50,
    200,
    500,
    1000,
    2000,
    4000,
    6000,
    8000,
)  # of 10,000 steps: when the share of changed pixels halves (sec. 3.2)


def square(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    eps: float | Tensor,
    steps: int = 1000,
    share: float = 0.8,
    restarts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Random search on the margin: a square of the perturbation is redrawn, and kept if the margin rises. No gradient is used.

    linf: all pixels of a window move to a random corner of the ball, one sign a channel. l2: the mass of one window moves to another, in
    the shape of a pseudo-Gaussian bump. The window's area falls with the steps.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, c, h, w)` in the box; `(b, d)` is taken as one row of d pixels.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf or l2.
        eps: radius of the ball, in input units; one for all, or one an image, `(b,)`.
        steps: forward passes an image, for each restart.
        share: of a square image's pixels in the first window, in (0, 1]; a window is as wide as high where the image allows it.
        restarts: independent searches; each image keeps its best.
        seed: of the draws.

    Returns:
        `(b, ...)`: for each image a fooling point, else the one of the largest margin. Images that the model gets wrong already come
        back as they are.

    Raises:
        InputError: an unknown norm, or a number out of its range.

    References:
        Andriushchenko et al. 2020, arXiv:1912.00049, alg. 1-3.
    """
    row, eps = checked_norm("square", norm, NORMS), checked_eps(eps, len(inputs))
    checked_count("steps", steps), checked_count("restarts", restarts)
    if not 0 < share <= 1:
        raise InputError("share", "a number in (0, 1]", share)
    with attacked(model, inputs, labels, targets) as oracle:
        best = Best(oracle.inputs)
        rows = oracle.undecided()
        for restart in range(restarts):
            if not len(rows):
                break
            found = _search(oracle, rows, row.name, eps, steps, share, seed, restart * steps)
            best.take(rows, found.x, found.loss, found.fooled)
            rows = rows[~found.fooled]
    return best.x


def _share(step: int, steps: int, share: float) -> float:
    return float(share / 2 ** sum(step * 10_000 / steps > halving for halving in HALVINGS))


def _window(shape: tuple[int, ...], side: int, u: Tensor) -> Tensor:
    """A `(b, 1, h, w)` mask of one window an image, placed by uniforms `u` `(b, 2)`."""
    edges = []
    for size, place in zip(shape[2:], u.unbind(1), strict=True):
        extent = min(side, size)
        first = (place * (size - extent + 1)).long()[:, None]
        ticks = torch.arange(size, device=u.device)
        edges.append((ticks >= first) & (ticks < first + extent))
    return edges[0][:, None, :, None] & edges[1][:, None, None, :]


def _signs(u: Tensor, like: Tensor) -> Tensor:
    """+1 or -1 by uniforms `u`, in `like`'s dtype."""
    return torch.where(u < 0.5, 1.0, -1.0).to(like.dtype)


def _search(
    oracle: Oracle, rows: Tensor, norm: str, eps: Size, steps: int, share: float, seed: int, first: int
) -> Best:
    """One restart; its draws of each image are number `first` and the `steps - 1` after it."""
    origin, index = oracle.inputs[rows], oracle.index[rows]
    pixels = origin.reshape(planes(origin))
    begin = _stripes if norm == "linf" else _grid
    ball = of_rows(eps, rows)
    d = begin(pixels, ball, lambda shape: rng.uniform(seed, index, first, shape))
    x = oracle.clip((pixels + d).view_as(origin))
    shares = [_share(step, steps, share) for step in range(1, steps)]
    if norm == "linf":
        return flip(oracle, rows, x, eps, shares, seed, first + 1)
    best, live, mine = Best(x), torch.arange(len(rows), device=rows.device), rows
    for step in range(steps):
        if step:
            side = (shares[step - 1] * pixels[0, 0].numel()) ** 0.5
            u = rng.uniform(seed, index[live], first + step, (5 + pixels.shape[1],))
            d = _moved_mass(best.x[live].view(-1, *pixels.shape[1:]) - pixels[live], of_rows(ball, live), side, u)
            x = oracle.clip((pixels[live] + d).view(-1, *origin.shape[1:]))
        margin, _ = oracle.value(x, mine)
        fooled = margin > 0
        best.take(live, x, margin, fooled)
        if bool(fooled.any()):
            live = live[~fooled]
            mine = rows[live]
        if not len(live):
            break
    return best


# -- linf: alg. 2 -----------------------------------------------------------------------------------------------------


def _stripes(planes: Tensor, eps: Size, uniform: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
    """Vertical stripes of +-eps, a sign for each channel and column."""
    _, channels, height, width = planes.shape
    return (_signs(uniform((channels, 1, width)), planes) * spread(eps, planes)).expand(-1, -1, height, -1)


# -- l2: alg. 3 -------------------------------------------------------------------------------------------------------


def _unit(t: Tensor) -> Tensor:
    """`t` scaled to Euclidean size 1."""
    return t / t.square().sum().sqrt()


def _bump(height: int, width: int) -> Tensor:
    """A pseudo-Gaussian bump of unit size, `(h, w)`: sum_{k >= r} 1 / (k + 1)^2 at Chebyshev distance r from the centre (eq. 2)."""
    down = (torch.arange(height) - height // 2).abs()[:, None]
    across = (torch.arange(width) - width // 2).abs()[None, :]
    radius = torch.maximum(down, across)
    terms = 1 / torch.arange(1, int(radius.max()) + 2, dtype=torch.float64) ** 2
    bump = terms.flip(0).cumsum(0).flip(0)[radius]
    return _unit(bump)


def _tile(height: int, width: int) -> Tensor:
    """Two bumps of opposite sign, one above the other (one beside the other in a single row), of unit size."""
    if height == 1:
        return _tile(width, 1).T if width > 1 else torch.ones(1, 1, dtype=torch.float64)
    half = height // 2
    tile = torch.cat([_bump(half, width), -_bump(height - half, width)])
    return _unit(tile)


def _size(d: Tensor) -> Tensor:
    """The l2 size of each plane, `(b, c, 1, 1)`."""
    return d.square().sum((2, 3), keepdim=True).sqrt()


def _stretched(d: Tensor, eps: Size) -> Tensor:
    size = ALL["l2"].size(d)
    return d * (torch.as_tensor(eps).to(size) / torch.where(size > 0, size, 1)).view(-1, 1, 1, 1)


def _grid(planes: Tensor, eps: Size, uniform: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
    """A grid of about 5 x 5 tiles with random signs, of size eps."""
    _, channels, height, width = planes.shape
    cell = max(1, height // 5), max(1, width // 5)
    count = -(-height // cell[0]), -(-width // cell[1])
    signs = _signs(uniform((channels, *count)), planes)
    signs = signs.repeat_interleave(cell[0], 2).repeat_interleave(cell[1], 3)
    return _stretched((signs * _tile(*cell).repeat(count).to(planes))[:, :, :height, :width], eps)


def _moved_mass(d: Tensor, eps: Size, side: float, u: Tensor) -> Tensor:
    """The mass of a second window, and what the ball has left, go to a first window in the shape of a tile."""
    b, channels, height, width = d.shape
    extent = max(3, round(side)) | 1
    side_h, side_w = min(extent, height), min(extent, width)
    gain, lose = _window(d.shape, extent, u[:, :2]), _window(d.shape, extent, u[:, 2:4])
    signs = _signs(u[:, 5:], d).view(b, channels, 1, 1)
    upright, lying = _tile(side_h, side_w).to(d), _tile(side_w, side_h).T.to(d)
    tile = torch.where((u[:, 4] < 0.5).view(b, 1, 1), upright, lying)
    fresh = torch.zeros_like(d)
    fresh[gain.expand_as(d)] = (tile[:, None] * signs).reshape(-1)
    tiny = torch.finfo(d.dtype).tiny
    fresh = fresh + d * gain / _size(d * gain).clamp_min(tiny)
    unused = (spread(eps**2, d) - d.square().sum((1, 2, 3), keepdim=True)).clamp_min(0)
    mass = (unused / channels + _size(d * (gain | lose)).square()).sqrt()
    return _stretched(torch.where(gain, fresh / _size(fresh).clamp_min(tiny) * mass, torch.where(lose, 0, d)), eps)
