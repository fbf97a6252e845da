"""The papers' small networks, parametrised: linear models, the families of the random-architecture experiments, LeNet, ensembles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from foolscope.errors import InputError


def softmax_regression(inputs: int = 784, classes: int = 10) -> nn.Module:
    """One linear layer; with two classes, logistic regression with w = w_1 - w_0 and labels -1 and +1 as 0 and 1."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


def logistic_regression() -> nn.Module:
    """Two classes of 28x28 grey images, such as 3 and 7."""
    return softmax_regression(classes=2)


def fully_connected(widths: Sequence[int], inputs: int = 784, classes: int = 10) -> nn.Module:
    """A fully connected ReLU network; Cubuk et al. 2017 draw 1 to 4 hidden layers of 30 to 2,000 units.

    Example:
        >>> fully_connected([30, 2000])(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for before, width in zip((inputs, *widths), widths, strict=False):
        layers += [nn.Linear(before, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1] if widths else inputs, classes))


def convolutional(
    channels: Sequence[int],
    hidden: int = 128,
    dropout: float = 0.0,
    shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
) -> nn.Module:
    """A simple CNN: 3x3 convolutions with ReLU and halving, a hidden layer with dropout (Cubuk et al. 2017: 0 to 0.5), logits.

    Example:
        >>> convolutional([8, 16], dropout=0.5)(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
    """
    layers: list[nn.Module] = []
    before, height, width = shape
    for count in channels:
        layers += [nn.Conv2d(before, count, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before, height, width = count, height // 2, width // 2
    layers += [nn.Flatten(), nn.Linear(before * height * width, hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


def lenet(shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10) -> nn.Module:
    """LeNet-5's layers with ReLU and max-pooling; 28x28 images are padded to its 32x32."""
    channels, height, _ = shape
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=(32 - height) // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


class Ensemble(nn.Module):
    """Several classifiers as one: their mean probabilities as logarithms, or the mean of their logits.

    Args:
        members: at least one.
        mean: `probabilities`: ``log mean_k softmax(z_k)``, what Goodfellow et al. 2015 average; `logits`: ``mean_k z_k``.

    Example:
        >>> two = Ensemble([nn.Identity(), nn.Identity()])
        >>> two(torch.zeros(1, 2)).exp()
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, members: Iterable[nn.Module], mean: str = "probabilities") -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise InputError("members", "at least one classifier", None)
        if mean not in ("probabilities", "logits"):
            raise InputError("mean", "what is averaged", mean, ("probabilities", "logits"))
        self.mean = mean

    def forward(self, inputs: Tensor) -> Tensor:
        """Images to logits `(b, classes)`."""
        logits = torch.stack([member(inputs) for member in self.members])
        if self.mean == "logits":
            return logits.mean(0)
        return logits.log_softmax(2).logsumexp(0) - math.log(len(self.members))
