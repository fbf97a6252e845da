"""Maxout networks (Goodfellow et al. 2013, arXiv:1302.4389) as Goodfellow, Shlens & Szegedy 2015 train them: pylearn2's recipes.

Weights are drawn from U(-0.005, 0.005), biases are 0, and a training loop calls `constrain()` after each update: it brings each unit's
incoming weights back to the recipe's norm. The recipe's dropout is unusual: 0.8 of the input is kept and *not* rescaled; 0.5 of every
layer's input after that is kept and doubled.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

RANGE = 0.005  # of the initial weights
NORM = 1.9365  # of a unit's incoming weights, at most


class Keep(_DropoutNd):
    """Dropout that keeps a share `keep` of its input and multiplies what it keeps by `scale`; nothing outside training."""

    def __init__(self, keep: float, scale: float) -> None:
        super().__init__(1 - keep)
        self.factor = keep * scale  # torch's own dropout divides by what it keeps

    def forward(self, inputs: Tensor) -> Tensor:
        """Any shape, same shape."""
        if not self.training:
            return inputs
        kept = F.dropout(inputs, self.p)
        return kept if self.factor == 1 else kept * self.factor


class Bounded(nn.Module):
    """A layer whose units' incoming weights have at most the norm `most`; they start in the recipe's range, or at the norm `start`."""

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, most: float, lr_scale: float = 1.0, *, start: float | None = None
    ) -> None:
        super().__init__()
        self.layer, self.most, self.lr_scale = layer, most, lr_scale
        reach = RANGE if start is None else start * math.sqrt(3 / layer.weight[0].numel())
        nn.init.uniform_(layer.weight, -reach, reach)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's own."""
        outputs: Tensor = self.layer(inputs)
        return outputs

    @torch.no_grad()
    def constrain(self) -> None:
        """Brings weights that have outgrown the norm back to it."""
        norm = self.layer.weight.flatten(1).norm(dim=1)
        scale = norm.clamp(max=self.most) / (norm + 1e-7)
        self.layer.weight.mul_(scale.view(-1, *[1] * (self.layer.weight.ndim - 1)))


class Maxout(nn.Module):
    """The largest of every `pieces` neighbouring channels: `(b, pieces * k, ...)` to `(b, k, ...)`."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        """Channels first."""
        b, channels, *place = inputs.shape
        return inputs.view(b, channels // self.pieces, self.pieces, *place).amax(2)


def _dense(inputs: int, units: int, pieces: int, most: float, *, start: float | None = None) -> list[nn.Module]:
    return [Bounded(nn.Linear(inputs, units * pieces), most, start=start), Maxout(pieces)]


def maxout_mlp(units: int = 240, pieces: int = 5, layers: int = 2, inputs: int = 784, classes: int = 10) -> nn.Module:
    """The permutation-invariant MNIST network of mnist_pi.yaml: 240 units of 5 pieces, twice; 1,600 units in the larger one.

    Example:
        >>> maxout_mlp()(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 10])
    """
    hidden: list[nn.Module] = []
    for layer in range(layers):
        if layer:
            hidden.append(Keep(0.5, 2.0))
        hidden += _dense(inputs if layer == 0 else units, units, pieces, NORM)
    return nn.Sequential(
        nn.Flatten(), Keep(0.8, 1.0), *hidden, Keep(0.5, 2.0), Bounded(nn.Linear(units, classes), NORM)
    )


def _convolution(
    channels: int, units: int, kernel: int, pad: int, pool: int, most: float, *, start: float | None = None
) -> list[nn.Module]:
    return [
        Bounded(nn.Conv2d(channels, 2 * units, kernel, padding=pad), most, lr_scale=0.05, start=start),
        Maxout(2),
        nn.MaxPool2d(pool, 2, ceil_mode=True),
    ]


def maxout_conv(classes: int = 10, width: int = 96, *, start: float | None = None) -> nn.Module:
    """The CIFAR-10 network of cifar10.yaml, for 32x32 colour images after global contrast normalisation and whitening.

    Three convolutional maxout layers of two pieces (their learning rate times 0.05), a dense one of 500 units, softmax. The signal is faint
    at the start, and that is the recipe's, which draws every layer from U(-0.005, 0.005): on 16 images of N(0, 0.25) the root mean square
    falls from 0.018 after the first layer to 0.009, 0.002 and 5e-4 after the next, and the logits of different images differ by a standard
    deviation of 2.4e-6 (seeds 0 to 2; full width).

    Args:
        classes: how many.
        width: units of the first convolution; the two others have twice as many.
        start: norm of the hidden units' weights before training; None for the recipe's range, in which the signal of a narrow network
            fades from layer to layer.

    Example:
        >>> maxout_conv(width=4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return nn.Sequential(
        Keep(0.8, 1.0),
        *_convolution(3, width, 8, 4, 4, 0.9, start=start),
        Keep(0.5, 2.0),
        *_convolution(width, 2 * width, 8, 3, 4, NORM, start=start),
        Keep(0.5, 2.0),
        *_convolution(2 * width, 2 * width, 5, 3, 2, NORM, start=start),
        nn.Flatten(),
        Keep(0.5, 2.0),
        *_dense(25 * 2 * width, 500, 5, 1.9, start=start),
        Keep(0.5, 2.0),
        Bounded(nn.Linear(500, classes), NORM),
    )
