"""The table of built-in networks: what each takes, and which published weights fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from foolscope.models import networks
from foolscope.models.digits import train_digits
from foolscope.models.source import Source


@dataclass(frozen=True)
class BuiltIn:
    """A built-in network: images `shape` (C, H, W) in [0, 1] to `classes` logits; `weights` names files for it."""

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    classes: int
    what: str
    weights: tuple[str, ...] = ()
    train: Callable[[int], nn.Module] | None = None


MODELS: Mapping[str, BuiltIn] = MappingProxyType(
    {
        "digits_cnn": BuiltIn(
            networks.digits_cnn, (1, 8, 8), 10, "trains itself on the bundled digits in seconds", train=train_digits
        ),
        "mnist_cnn_a": BuiltIn(
            networks.mnist_cnn_a,
            (1, 28, 28),
            10,
            "CNN-A: two strided convolutions, two linear layers",
            ("mnist_cnn_a_adv", "mnist_conv_provable_linf0.1"),
        ),
        "cifar10_cnn_a": BuiltIn(
            networks.cifar10_cnn_a, (3, 32, 32), 10, "CNN-A behind its normalisation", ("cifar10_cnn_a_adv",)
        ),
        "cifar10_resnet20": BuiltIn(
            networks.cifar10_resnet20, (3, 32, 32), 10, "ResNet-20 behind its normalisation", ("cifar10_resnet20",)
        ),
        "squeezenet1_0": BuiltIn(
            networks.SqueezeNet,
            (3, 227, 227),
            1000,
            "SqueezeNet 1.0, last convolution padded by 1",
            ("imagenet_squeezenet1_0",),
        ),
        "mlp": BuiltIn(networks.mlp, (1, 28, 28), 10, "multilayer perceptron, 256 and 128 hidden units"),
        "cnn": BuiltIn(networks.cnn, (1, 28, 28), 10, "two convolutions with max-pooling, two linear layers"),
    }
)


def list_models() -> list[dict[str, object]]:
    """The rows of `foolscope models`: name, shape, classes, parameters, what, weights.

    Example:
        >>> [row["parameters"] for row in list_models() if row["name"] == "mnist_cnn_a"]
        [166406]
    """
    rows: list[dict[str, object]] = []
    for name, model in MODELS.items():
        with torch.device("meta"):  # counted without allocating or drawing anything
            parameters = sum(p.numel() for p in model.build().parameters())
        rows.append(
            {
                "name": name,
                "shape": model.shape,
                "classes": model.classes,
                "parameters": parameters,
                "what": model.what,
                "weights": model.weights,
            }
        )
    return rows


def build_builtin(name: str, *, weights: bool, seed: int) -> Source:
    """The built-in network `name`: trained if it trains itself and no `weights` follow, else as initialised."""
    row = MODELS[name]
    if weights:
        return Source(row.build(), shape=row.shape, classes=row.classes)
    if row.train is not None:
        note = f"{name} trained itself just now from seed {seed}"
        return Source(row.train(seed), (note,), shape=row.shape, classes=row.classes)
    files = f" (such as {', '.join(row.weights)})" if row.weights else ""
    note = f"UNTRAINED: built-in {name} without --weights{files} has random weights from seed {seed}; it knows nothing"
    return Source(row.build(), (note,), shape=row.shape, classes=row.classes)
