"""A small problem that every objective can learn from in a second."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foolscope.models.digits import train_split


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """400 training digits."""
    images, labels = train_split()
    return images[:400], labels[:400]


@pytest.fixture
def network() -> nn.Module:
    """Every sort of layer that training has to mind: batch-norm and dropout among them; untrained, double precision."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 16),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(16, 10),
    ).double()


@pytest.fixture
def smooth() -> nn.Module:
    """A network that does the same in training as in evaluation; double precision."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)).double()


@pytest.fixture
def batch(digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """24 of the digits, double precision."""
    images, labels = digits
    return images[:24].double(), labels[:24]
