"""The networks that benchmarks run on: one trained here, the others from $FOOLSCOPE_WEIGHTS where they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.data import open_data
from foolscope.errors import InputError
from foolscope.models import load_model


@dataclass(frozen=True)
class Subject:
    """A network, images that it gets right, and the eps it is attacked with."""

    name: str
    model: nn.Module
    inputs: Tensor
    labels: Tensor
    eps: float


# Built-in name, weights (None: trained here), data, eps, and how many images that it gets right.
NETWORKS = {
    "mnist_cnn_a plain": ("mnist_cnn_a", None, "mnist", 0.1, 256),
    "mnist_cnn_a_adv": ("mnist_cnn_a", "mnist_cnn_a_adv", "mnist", 0.3, 256),
    "mnist_conv_provable_linf0.1": ("mnist_cnn_a", "mnist_conv_provable_linf0.1", "mnist", 0.1, 256),
    "cifar10_cnn_a_adv": ("cifar10_cnn_a", "cifar10_cnn_a_adv", "cifar10", 2 / 255, 256),
    "cifar10_resnet20": (
        "cifar10_resnet20",
        "cifar10_resnet20",
        "cifar10_lossless",
        1 / 255,
        64,
    ),  # a batch of the audit's; each costs 30 times as much
}


def subjects(names: tuple[str, ...] | None = None) -> Iterator[Subject]:
    """The networks of these names, all where None.

    Raises:
        InputError: an unknown name, or data or weights that are not there.
    """
    for name in names or tuple(NETWORKS):
        if name not in NETWORKS:
            raise InputError("--network", "a network of the benchmark", name, NETWORKS)
        builtin, weights, data, eps, count = NETWORKS[name]
        model = load_model(builtin, weights=weights).module
        if weights is None:
            train_plain(model, data)
        images = open_data(data, samples=2 * count)
        x, y = images.read(np.arange(len(images))), torch.from_numpy(images.labels)
        with torch.no_grad():
            right = (model(x).argmax(1) == y).nonzero().squeeze(1)[:count]
        yield Subject(name, model.eval(), x[right].contiguous(), y[right], eps)


def train_plain(model: nn.Module, data: str, epochs: int = 1, batch: int = 128, rate: float = 1e-3) -> None:
    """Adam on cross-entropy over the training split, in place; about 98 % on MNIST after one epoch."""
    optimiser = torch.optim.Adam(model.parameters(), rate)
    model.train()
    for x, y in batches(data, epochs, batch):
        loss = nn.functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    model.eval()


def batches(data: str, epochs: int = 1, batch: int = 128) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of the training split in batches, in an order that is the same every time."""
    images = open_data(f"{data}:train")
    order = np.random.default_rng(0)
    for _ in range(epochs):
        places = order.permutation(len(images))
        for first in range(0, len(places), 50 * batch):  # read many batches at once: cheaper for Parquet
            block = places[first : first + 50 * batch]
            x, y = images.read(block), torch.from_numpy(images.labels[block])
            for start in range(0, len(block), batch):
                yield x[start : start + batch], y[start : start + batch]
