"""Networks of radial basis functions: a class is believed near its centre alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST = 1e-6  # of the quadratic form, so that its logit stays finite


class Rbf(nn.Module):
    """A class's own probability, ``p_c(x) = exp(-sum_i b_ci (x_i - m_ci)^2)``, as a sigmoid's logit ``log p_c - log(1 - p_c)``.

    The precisions b are positive (Goodfellow et al. 2015 print no minus sign; their beta must be negative definite) and diagonal. The
    classes' probabilities are independent: they need not sum to 1, and all of them can be near 0. Train with `plain+sigmoid`.

    Args:
        inputs: components of the flattened input.
        classes: how many.
        width: precisions start at `1 / (width * inputs)`: an input at a mean squared distance `width` from a centre has p = 1/e.

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 7; the form with several classes is our own.
    """

    def __init__(self, inputs: int, classes: int, width: float = 0.1) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(classes, inputs).uniform_(0, 0.2))
        self.roughness = nn.Parameter(torch.full((classes, inputs), 1 / (width * inputs)).log())

    def distance(self, inputs: Tensor) -> Tensor:
        """The quadratic forms `(b, classes)`, expanded: three matrix products instead of a difference for each class."""
        x, b = inputs.flatten(1), self.roughness.exp()
        form: Tensor = x.square() @ b.T - 2 * x @ (b * self.centres).T + (b * self.centres.square()).sum(1)
        return form.clamp_min(LEAST)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(b, classes)`; their sigmoid is each class's own probability."""
        d = self.distance(inputs)
        return -d - torch.log(-torch.expm1(-d))


def rbf(inputs: int = 784, classes: int = 10) -> nn.Module:
    """The shallow RBF network."""
    return Rbf(inputs, classes)


class RbfCnn(nn.Module):
    """Two convolutions, a bounded feature layer, and an RBF head in place of a linear one."""

    def __init__(self, features: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(1568, features),
        )
        self.head = Rbf(features, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images `(b, 1, 28, 28)` to logits."""
        logits: Tensor = self.head(F.sigmoid(self.body(inputs)))
        return logits
