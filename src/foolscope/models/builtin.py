"""The table of built-in networks: what each takes, and which published weights fit it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import nn

from foolscope.models import maxout, networks, papers, rbf, small_images, wide
from foolscope.models.digits import train_digits
from foolscope.models.source import Source


@dataclass(frozen=True)
class BuiltIn:
    """A built-in network: images `shape` (C, H, W) in [0, 1] to `classes` logits; `weights` names files for it.

    `train` trains it from a seed where no weights are given; `needs` names a package without which it can't be built.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    classes: int
    what: str
    weights: tuple[str, ...] = ()
    train: Callable[[int], nn.Module] | None = None
    needs: str = ""


GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def _torchvision(name: str, shape: tuple[int, int, int]) -> BuiltIn:
    what = f"torchvision's {name} with a stem for {shape[1]}x{shape[2]} images"
    return BuiltIn(partial(small_images.small_image, name, shape), shape, 10, what, needs="torchvision")


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
        "softmax_regression": BuiltIn(papers.softmax_regression, GREY, 10, "one linear layer"),
        "logistic_regression": BuiltIn(papers.logistic_regression, GREY, 2, "one linear layer, two classes"),
        "maxout_240": BuiltIn(
            maxout.maxout_mlp, GREY, 10, "maxout, 240 units of 5 pieces, twice (pylearn2's mnist_pi)"
        ),
        "maxout_1600": BuiltIn(partial(maxout.maxout_mlp, 1600), GREY, 10, "maxout, 1,600 units of 5 pieces, twice"),
        "cifar10_maxout": BuiltIn(
            maxout.maxout_conv, COLOUR, 10, "convolutional maxout (pylearn2's cifar10), for whitened images"
        ),
        "rbf": BuiltIn(rbf.rbf, GREY, 10, "shallow radial basis functions; logits of independent sigmoids"),
        "rbf_cnn": BuiltIn(rbf.RbfCnn, GREY, 10, "two convolutions with an RBF head; logits of independent sigmoids"),
        "lenet": BuiltIn(papers.lenet, GREY, 10, "LeNet-5 with ReLU and max-pooling"),
        "svhn_lenet": BuiltIn(partial(papers.lenet, COLOUR), COLOUR, 10, "LeNet-5 for 32x32 colour images"),
        "cifar10_wrn28_10": BuiltIn(wide.cifar10_wide, COLOUR, 10, "wide ResNet-28-10 behind its normalisation"),
        "cifar10_wrn16_4": BuiltIn(
            partial(wide.cifar10_wide, 16, 4), COLOUR, 10, "wide ResNet-16-4 behind its normalisation"
        ),
        **{f"mnist_{name}": _torchvision(name, GREY) for name in ("googlenet", "alexnet", "vgg16", "resnet18")},
        **{
            f"cifar10_{name}": _torchvision(name, COLOUR)
            for name in ("googlenet", "alexnet", "vgg16", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
        },
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
        parameters = None
        if not model.needs or importlib.util.find_spec(model.needs) is not None:
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
