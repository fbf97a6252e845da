"""The claims' networks by name, for images of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.models import papers
from foolscope.models.maxout import maxout_conv, maxout_mlp
from foolscope.models.rbf import Rbf
from foolscope.models.rbf import rbf as rbf_of

Shape = Sequence[int]
SMALLEST = 28  # pixels a side that GoogLeNet's own stem and poolings leave something of


def linear(shape: Shape, classes: int) -> nn.Module:
    """Logistic (two classes) or softmax regression."""
    return papers.softmax_regression(math.prod(shape), classes)


def mlp(shape: Shape, classes: int, *, width: int, depth: int) -> nn.Module:
    """`depth` hidden layers of `width` rectified units."""
    return papers.fully_connected([width] * depth, math.prod(shape), classes)


def cnn(shape: Shape, classes: int, *, width: int) -> nn.Module:
    """Two convolutions and a hidden layer."""
    return papers.convolutional([width, 2 * width], 8 * width, shape=(shape[0], shape[1], shape[2]), classes=classes)


def maxout(shape: Shape, classes: int, *, units: int) -> nn.Module:
    """Two maxout layers of `units` with five pieces each."""
    return maxout_mlp(units, inputs=math.prod(shape), classes=classes)


def rbf(shape: Shape, classes: int) -> nn.Module:
    """One unit of a diagonal quadratic form for each class."""
    return rbf_of(math.prod(shape), classes)


class Headed(nn.Module):
    """The same small convolutional body under a linear head or one of RBF units."""

    def __init__(self, shape: Shape, classes: int, kind: str, features: int = 64) -> None:
        super().__init__()
        self.body = papers.convolutional([16, 32], shape=(shape[0], shape[1], shape[2]), classes=features)
        self.head = Rbf(features, classes) if kind == "rbf" else nn.Linear(features, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images to logits `(b, classes)`."""
        logits: Tensor = self.head(torch.sigmoid(self.body(inputs)))
        return logits


def googlenet(shape: Shape, classes: int, *, stem: str = "small") -> nn.Module:
    """Torchvision's GoogLeNet with a stem for `small` images, or with its `own`, which shrinks 28x28 pixels to 7x7 at once."""
    from foolscope.models.small_images import SIDE, small_image

    channels, height, width = shape
    if stem == "small":
        return small_image("googlenet", (channels, height, width), classes)
    net: Any = small_image("googlenet", (channels, SIDE, SIDE), classes)
    net.conv1.conv = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    net.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(nn.ZeroPad2d(max(0, (SMALLEST - height) // 2)), net)


def conv_maxout(shape: Shape, classes: int, *, width: int = 96, start: float | None = None) -> nn.Module:
    """The convolutional maxout network for whitened CIFAR-10, of the recipe's width and start where nothing else is said."""
    return maxout_conv(classes, width, start=start)


NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "linear": linear,
        "mlp": mlp,
        "cnn": cnn,
        "maxout": maxout,
        "conv_maxout": conv_maxout,
        "rbf": rbf,
        "headed": Headed,
        "googlenet": googlenet,
    }
)
