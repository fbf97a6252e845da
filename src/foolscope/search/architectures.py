"""Which networks are drawn: fully connected ones of random depth and widths, and small convolutional ones with random dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from foolscope import rng
from foolscope.models import papers
from foolscope.training.draws import derived

WIDTHS = (30, 48, 76, 122, 194, 309, 493, 787, 1254, 2000)  # ten from 30 to 2,000, each 1.59 times the one before
DEEPEST = 4  # hidden layers
CHANNELS = (4, 8, 16)  # of the first convolution; a second has twice as many
HIDDEN = WIDTHS[:6]  # units after the convolutions
DROPOUT = 0.5  # at most
KINDS = ("fully connected", "convolutional")


@dataclass(frozen=True)
class Architecture:
    """The shape of a network.

    Attributes:
        channels: of its 3x3 convolutions, each followed by halving; none for a fully connected network.
        widths: of its hidden layers.
    """

    channels: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return KINDS[bool(self.channels)]

    def __str__(self) -> str:
        return "-".join([*(f"c{count}" for count in self.channels), *map(str, self.widths)])

    def network(self, shape: tuple[int, int, int], classes: int, dropout: float = 0.0) -> nn.Sequential:
        """A plain network of this shape, with PyTorch's initial weights.

        Example:
            >>> Architecture((4,), (30,)).network((1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape
            torch.Size([2, 10])
        """
        if self.channels:
            built = papers.convolutional(self.channels, self.widths[0], dropout, shape, classes)
        else:
            built = papers.fully_connected(self.widths, shape[0] * shape[1] * shape[2], classes)
        assert isinstance(built, nn.Sequential)
        return built


def draw_architectures(
    count: int, seed: int = 0, *, widest: int = WIDTHS[-1], channels: int = CHANNELS[-1]
) -> list[Architecture]:
    """`count` architectures, half of them fully connected on average; the k-th depends on the other arguments and k alone.

    Fully connected: 1 to 4 hidden layers, each width drawn from ten between 30 and 2,000. Convolutional: one or two convolutions of 4, 8
    or 16 channels (the second twice as many) and a hidden layer of 30 to 309 units.

    Args:
        count: how many.
        seed: of the draws.
        widest: hidden layers have at most so many units; at least 30.
        channels: of a first convolution, at most; at least 4.

    Example:
        >>> [str(architecture) for architecture in draw_architectures(3, widest=100)]
        ['c16-c32-30', 'c16-c32-48', 'c16-48']

    References:
        Cubuk, Zoph, Schoenholz & Le 2017, arXiv:1711.02846: 1 to 4 hidden layers of 30 to 2,000 units, or a simple CNN with dropout 0 to
        0.5; how they were drawn is not stated.
    """
    draws = rng.uniform(derived(seed, "architecture"), torch.arange(count), 0, (3 + DEEPEST,), torch.float64).tolist()
    widths = [width for width in WIDTHS if width <= widest]
    allowed = [many for many in CHANNELS if many <= channels]
    return [_architecture(kind, depth, first, layers, widths, allowed) for kind, depth, first, *layers in draws]


def draw_dropout(architecture: Architecture, networks: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The dropout rate of each of these networks `(k,)`, float64: from 0 to 0.5 for convolutional ones, 0 for the others."""
    most = DROPOUT if architecture.channels else 0.0
    return most * rng.uniform(derived(seed, "dropout rate"), networks, 0, (), torch.float64)


def _architecture(
    kind: float, depth: float, first: float, layers: Sequence[float], widths: list[int], allowed: list[int]
) -> Architecture:
    if kind < 0.5:
        return Architecture((), tuple(_chosen(u, widths) for u in layers[: 1 + int(depth * DEEPEST)]))
    channels = _chosen(first, allowed)
    hidden = [width for width in HIDDEN if width in widths]
    return Architecture((channels, 2 * channels)[: 1 + int(depth * 2)], (_chosen(layers[0], hidden),))


def _chosen(u: float, among: Sequence[int]) -> int:
    return among[int(u * len(among))]
