"""The networks of the trust table: published weights, or trained here in seconds to a minute each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.attacks import pgd
from foolscope.data import open_data
from foolscope.models import load_model
from foolscope.models.builtin import MODELS
from foolscope.models.digits import seeded
from foolscope.oracle import Oracle
from foolscope.testing.masked import with_activation

EPOCHS = {"digits": 30, "mnist": 1, "cifar10_lossless": 12, "svhn": 30}
BATCH, RATE = 64, 2e-3
INNER_STEPS = 7  # of the attack in adversarial training


@cache
def published(name: str, weights: str | None = None, seed: int = 0) -> nn.Module:
    """A built-in network with weights from `$FOOLSCOPE_WEIGHTS`; `digits_cnn` trains itself from the seed."""
    return load_model(name, weights=weights, seed=seed).module


@cache
def trained(
    name: str,
    data: str,
    seed: int = 0,
    *,
    eps: float = 0.0,
    first: nn.Module | None = None,
    activation: Callable[[], nn.Module] | None = None,
    only: int | None = None,
) -> nn.Module:
    """A built-in architecture trained with something inside it.

    Args:
        name: a row of `MODELS`.
        data: a data set with a train split.
        seed: of everything random.
        eps: linf radius of adversarial training; 0 for plain training.
        first: a layer put in front.
        activation: builds what replaces the ReLUs.
        only: the number of the one ReLU that is replaced; None for all.
    """

    def build() -> nn.Module:
        network = MODELS[name].build()
        if activation is not None:
            network = with_activation(network, activation, only=only)
        return network if first is None else nn.Sequential(first, network)

    return fit(build, *_training_images(data), epochs=EPOCHS[data], seed=seed, eps=eps)


def fit(
    build: Callable[[], nn.Module], images: Tensor, labels: Tensor, *, epochs: int, seed: int, eps: float = 0.0
) -> nn.Module:
    """A network trained with Adam on cross-entropy, the rate falling to 0 along a half cosine.

    Args:
        build: the network; called with torch's generator seeded.
        images: `(n, C, H, W)` in [0, 1].
        labels: `(n,)`.
        epochs: passes over the images.
        seed: of the initial weights, the order and the attack's starts.
        eps: linf radius of adversarial training (PGD, margin loss), in input units; 0 for plain training.

    Returns:
        The network in eval mode.
    """
    with seeded(seed):
        network = build().train()
        optimiser = torch.optim.Adam(network.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(images) // BATCH))
        for epoch in range(epochs):
            order = torch.randperm(len(images))
            for start in range(0, len(images), BATCH):
                rows = order[start : start + BATCH]
                x, y = images[rows], labels[rows]
                if eps:
                    x = pgd(Oracle(network, x, y, index=rows), x, y, eps=eps, steps=INNER_STEPS, seed=seed + epoch)
                optimiser.zero_grad()
                F.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
    return network.eval()


@cache
def _training_images(data: str) -> tuple[Tensor, Tensor]:
    source = open_data(f"{data}:train")
    return source.read(np.arange(len(source))), torch.from_numpy(source.labels)
