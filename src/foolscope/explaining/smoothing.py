"""Two ways to smooth images that an attacked model may hide behind: Gaussian blur and total-variation denoising."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 0.2  # of the dual ascent; below 1/4, where it converges in two dimensions


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Images `(b, c, h, w)` convolved with a Gaussian of standard deviation `sigma` pixels, the border repeated.

    Example:
        >>> dot = torch.zeros(1, 1, 9, 9)
        >>> dot[..., 4, 4] = 1
        >>> round(float(gaussian_blur(dot, 1.0).sum()), 4)
        1.0
    """
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weight = torch.exp(-at.square() / (2 * sigma**2))
    weight = (weight / weight.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), weight, groups=x.shape[1])
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), weight.mT, groups=x.shape[1])


def total_variation(x: Tensor, weight: float, steps: int = 100) -> Tensor:
    """``argmin_u |u - x|_2^2 / 2 + weight * TV(u)`` for each channel of images `(b, c, h, w)`, TV isotropic, by Chambolle's dual ascent.

    Args:
        x: images.
        weight: in the units of the pixels; it flattens details whose contrast times width is about that.
        steps: of the ascent.

    Example:
        >>> edge = torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])  # each half, two pixels wide, moves by weight / 2
        >>> total_variation(edge, 0.2, steps=500).flatten()
        tensor([0.1000, 0.1000, 0.9000, 0.9000])

    References:
        Rudin, Osher & Fatemi 1992, Physica D 60, 259 (the model); Chambolle 2004, J. Math. Imaging Vis. 20, 89 (the algorithm).
    """
    p = x.new_zeros(2, *x.shape)
    for _ in range(steps):
        slope = _gradient(_divergence(p) - x / weight)
        size = slope.square().sum(0).sqrt()
        p = (p + STEP * slope) / (1 + STEP * size)
    return x - weight * _divergence(p)


def _gradient(u: Tensor) -> Tensor:
    """Forward differences down and across, `(2, ...)`; 0 at the far border."""
    down = F.pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))
    across = F.pad(u[..., 1:] - u[..., :-1], (0, 1))
    return torch.stack([down, across])


def _divergence(p: Tensor) -> Tensor:
    """The negative transpose of `_gradient`."""
    down, across = p  # 0 at the far border, as the gradient is
    divergence: Tensor = down - F.pad(down[..., :-1, :], (0, 0, 1, 0)) + across - F.pad(across[..., :-1], (1, 0))
    return divergence
