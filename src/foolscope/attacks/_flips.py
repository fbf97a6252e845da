"""Random flips: windows of an image move to corners of the linf ball, and stay there if that raises the margin."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foolscope import rng
from foolscope.attacks._best import Best
from foolscope.attacks._step import limits, of_rows
from foolscope.norms import Size
from foolscope.oracle import Oracle


def planes(x: Tensor) -> tuple[int, int, int, int]:
    """`(b, channels, height, width)` of a batch; vectors are one row of pixels."""
    return (len(x), *x.shape[1:]) if x.ndim == 4 else (len(x), 1, 1, x[0].numel())


def window(shape: Sequence[int], share: float, u: Tensor) -> Tensor:
    """Where in a flattened image the components of one window lie, `(r, channels, height * width)` of the window.

    Args:
        shape: `(b, channels, height, width)`.
        share: of the image's pixels in the window, which is as high as wide where the image allows it.
        u: `(r, 2)`, uniforms that place it.
    """
    channels, height, width = shape[1:]
    high = min(height, max(1, round((share * height * width) ** 0.5)))
    wide = min(width, max(1, round(share * height * width / high)) if high == height else high)
    top, left = ((u * u.new_tensor([height - high + 1, width - wide + 1])).long()).unbind(1)
    down, across, plane = (torch.arange(n, device=u.device) for n in (high, wide, channels))
    inside = (down[:, None] * width + across).flatten()
    return (top * width + left)[:, None, None] + plane[:, None] * (height * width) + inside


def flip(
    oracle: Oracle, rows: Tensor, start: Tensor, eps: Size, shares: Sequence[float], seed: int, first: int
) -> Best:
    """Starting at `start`, one look at it and then one random flip a step: a window, one sign a channel, kept if the margin rises.

    Only the window is written, and written back where the margin did not rise, so that a step costs little beside its forward pass.

    Args:
        oracle: over the images.
        rows: which of them to attack, `(r,)`.
        start: `(r, ...)`, in ball and box.
        eps: radius of the linf ball; one number or one an image of the oracle, `(b,)`.
        shares: of each step: the window's share of the pixels.
        seed: of the draws.
        first: the first draw used; as many as there are shares.

    Returns:
        The best point of each row.
    """
    origin, shape, channels = oracle.inputs[rows], start.shape[1:], planes(start)[1]
    low, high = (side.flatten(1) for side in limits(oracle, origin, of_rows(eps, rows)))
    best, live, mine = Best(start), torch.arange(len(rows), device=rows.device), rows
    x = start.flatten(1).clone()
    margin, _ = oracle.value(start, rows)
    best.take(live, start, margin, margin > 0)
    for step, share in enumerate(shares):
        fooled = margin > 0
        if bool(fooled.any()):
            best.take(live[fooled], x[fooled].view(-1, *shape), margin[fooled], fooled[fooled])
            live, x, low, high, margin = (t[~fooled] for t in (live, x, low, high, margin))
            mine = rows[live]
        if not len(live):
            return best
        u = rng.uniform(seed, oracle.index[mine], first + step, (2 + channels,), torch.float32)
        places = window(planes(start), share, u[:, :2])
        signs = torch.lt(u[:, 2:, None], 0.5, out=x.new_empty(len(x), channels, 1)).expand(places.shape).flatten(1)
        places = places.flatten(1)
        old = x.gather(1, places)
        new = torch.lerp(low.gather(1, places), high.gather(1, places), signs)
        x.scatter_(1, places, new)
        reached, _ = oracle.value(x.view(-1, *shape), mine)
        better = reached > margin
        x.scatter_(1, places, torch.lerp(old, new, better.to(x.dtype)[:, None]))
        margin = torch.where(better, reached, margin)
    best.take(live, x.view(-1, *shape), margin, margin > 0)
    return best
