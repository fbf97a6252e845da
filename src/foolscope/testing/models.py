"""Small models that bring out an attack's faults: curved, flat, without a graph, with broken gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPE = (3, 4, 4)


class Curved(nn.Module):
    """A small network whose logits and gradients differ in size by a factor of a hundred from image to image."""

    def __init__(self, classes: int = 3, seed: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.body = nn.Sequential(
                nn.Flatten(), nn.Linear(48, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, classes)
            )
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (b, classes) of inputs (b, 3, 4, 4)."""
        logits: Tensor = self.body(inputs - 0.5)
        return logits * torch.exp(5 * inputs[:, 0, 0, :1])


class Flat(nn.Module):
    """The same logits everywhere; the gradient exists and is 0."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (b, 2) of inputs (b, ...)."""
        nothing = inputs.flatten(1).sum(1) * 0
        return torch.stack([nothing + 1, nothing], dim=1)


class Steps(nn.Module):
    """Logits of a thresholded image: no gradient exists, the graph is cut."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (b, 2) of inputs (b, ...)."""
        lit = (inputs.detach().flatten(1) > 0.5).to(inputs.dtype).mean(1)
        return torch.stack([lit, 1 - lit], dim=1)


class BrokenGradient(nn.Module):
    """Sound logits; the gradient is NaN everywhere, or infinite at pixels that are exactly 0.

    Args:
        only_at_zero: infinite at black pixels instead of NaN at all.
    """

    def __init__(self, only_at_zero: bool = False) -> None:
        super().__init__()
        self.only_at_zero = only_at_zero

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (b, 2) of inputs (b, ...) that are not negative."""
        flat = inputs.flatten(1)
        # d sqrt(u) / du is infinite at 0; times 0 it is NaN
        light = flat.sqrt().mean(1) if self.only_at_zero else flat.mean(1) + (flat * 0).sqrt().sum(1)
        return torch.stack([light, 1 - light], dim=1)


def random_images(n: int, *, dtype: torch.dtype = torch.float32, seed: int = 0, walled: float = 0.2) -> Tensor:
    """Images (n, 3, 4, 4) in [0, 1], a share ``walled`` of whose pixels is exactly 0 or 1.

    Example:
        >>> images = random_images(5)
        >>> tuple(images.shape), bool((images == 0).any() and (images == 1).any())
        ((5, 3, 4, 4), True)
    """
    source = torch.Generator().manual_seed(seed)
    images = torch.rand((n, *SHAPE), generator=source, dtype=torch.float64)
    at_wall = torch.rand(images.shape, generator=source, dtype=torch.float64) < walled
    return torch.where(at_wall, images.round(), images).to(dtype)
