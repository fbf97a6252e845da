"""Held-out variants of the trust verdict: none of them was looked at when its thresholds were set (`docs/trust.md` lists those)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from foolscope.bench.trust_networks import published, trained
from foolscope.testing.masked import (
    AddedNoise,
    HardThreshold,
    KWinners,
    QuantisedInput,
    ScaledLogits,
    Softmaxed,
)


@dataclass(frozen=True)
class Variant:
    """One network on one data set.

    Attributes:
        kind: the group it is counted in.
        name: what it is.
        build: makes the network.
        data: name of the data set.
        eps: radius, in the units of the norm.
        norm: linf, l2, l1 or l0.
        n: images.
        effort: of the audit.
        plain: makes the same network without what should not change its numbers; None where there is none.
        crop: central square, in pixels.
    """

    kind: str
    name: str
    build: Callable[[], nn.Module]
    data: str
    eps: float
    norm: str = "linf"
    n: int = 200
    effort: str = "quick"
    plain: Callable[[], nn.Module] | None = None
    crop: int | None = None


def _around(base: Callable[[], nn.Module], before: nn.Module | None, *after: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*([] if before is None else [before]), base(), *after)


def _unclaimed(base: Callable[[], nn.Module]) -> nn.Module:
    """The network, its thresholds' surrogate gradients taken away again after training."""
    import copy

    network = copy.deepcopy(base())
    for layer in network.modules():
        if isinstance(layer, HardThreshold):
            layer.surrogate = "none"
    return network


DIGITS = partial(published, "digits_cnn", None, 3)
MNIST = partial(trained, "mnist_cnn_a", "mnist", 1)
CNN = partial(trained, "cnn", "mnist", 2)
MNIST_ADV = partial(published, "mnist_cnn_a", "mnist_cnn_a_adv")
PROVABLE = partial(published, "mnist_cnn_a", "mnist_conv_provable_linf0.1")
CIFAR = partial(trained, "cifar10_cnn_a", "cifar10_lossless", 1)
CIFAR_ADV = partial(published, "cifar10_cnn_a", "cifar10_cnn_a_adv")
RESNET = partial(published, "cifar10_resnet20", "cifar10_resnet20")
SQUEEZENET = partial(published, "squeezenet1_0", "imagenet_squeezenet1_0")


def _resnet(kind: str, name: str, build: Callable[[], nn.Module], eps: float, **rest: object) -> Variant:
    return replace(Variant(kind, f"cifar10_resnet20, {name}", build, "cifar10_lossless", eps, n=60), **rest)  # type: ignore[arg-type]


def _softmax() -> list[Variant]:
    return [
        Variant("softmax", "digits_cnn seed 3", _around(DIGITS, None, Softmaxed()), "digits", 0.1),
        Variant(
            "softmax",
            "digits_cnn seed 3, logits x 10",
            _around(DIGITS, None, ScaledLogits(10), Softmaxed()),
            "digits",
            0.1,
        ),
        Variant("softmax", "mnist_cnn_a seed 1", _around(MNIST, None, Softmaxed()), "mnist", 0.05),
        Variant("softmax", "cnn seed 2, l2", _around(CNN, None, Softmaxed()), "mnist", 1.0, "l2"),
        _resnet("softmax", "softmax", _around(RESNET, None, Softmaxed()), 1 / 255),
    ]


def _quantised() -> list[Variant]:
    rows = []
    for levels in (4, 16, 64):
        for claimed in ("none", "identity"):
            layer, said = QuantisedInput(levels, claimed), f"{levels} levels, gradient {claimed}"
            rows.append(Variant("quantised", f"digits_cnn seed 3, {said}", _around(DIGITS, layer), "digits", 0.1))
            rows.append(Variant("quantised", f"mnist_cnn_a seed 1, {said}", _around(MNIST, layer), "mnist", 0.1))
            if levels > 4:  # at 4, the network has lost its accuracy
                rows.append(_resnet("quantised", said, _around(RESNET, layer), 4 / 255))
    layer = QuantisedInput(64, "identity")
    rows.append(Variant("quantised", "mnist_cnn_a_adv, 64 levels, identity", _around(MNIST_ADV, layer), "mnist", 0.2))
    rows.append(
        Variant(
            "quantised",
            "cifar10_cnn_a_adv, 16 levels, identity",
            _around(CIFAR_ADV, QuantisedInput(16, "identity")),
            "cifar10",
            0.25,
            "l2",
        )
    )
    return rows


def _threshold() -> list[Variant]:
    def inside(name: str, data: str, only: int | None, claimed: str) -> Callable[[], nn.Module]:
        return lambda: _trained_threshold(name, data, only, claimed)

    digits1, dense = inside("digits_cnn", "digits", 1, "sigmoid"), inside("digits_cnn", "digits", 2, "identity")
    every = inside("digits_cnn", "digits", None, "sigmoid")
    mnist1, mnist2 = inside("mnist_cnn_a", "mnist", 1, "sigmoid"), inside("mnist_cnn_a", "mnist", 2, "sigmoid")
    cifar0 = inside("cifar10_cnn_a", "cifar10_lossless", 0, "sigmoid")
    rows = [
        Variant("threshold", "digits_cnn, after convolution 2, sigmoid", digits1, "digits", 0.1),
        Variant("threshold", "digits_cnn, after convolution 2, none", lambda: _unclaimed(digits1), "digits", 0.1),
        Variant("threshold", "digits_cnn, after the dense layer, identity", dense, "digits", 0.1),
        Variant("threshold", "digits_cnn, after the dense layer, none", lambda: _unclaimed(dense), "digits", 0.1),
        Variant("threshold", "digits_cnn, after every layer, sigmoid", every, "digits", 0.1),
        Variant("threshold", "mnist_cnn_a, after convolution 2, sigmoid", mnist1, "mnist", 0.1),
        Variant("threshold", "mnist_cnn_a, after the dense layer, sigmoid", mnist2, "mnist", 0.1),
        Variant("threshold", "mnist_cnn_a, after the dense layer, none", lambda: _unclaimed(mnist2), "mnist", 0.1),
        Variant("threshold", "cifar10_cnn_a, after convolution 1, sigmoid", cifar0, "cifar10_lossless", 4 / 255),
        Variant(
            "threshold",
            "cifar10_cnn_a, after convolution 1, none",
            lambda: _unclaimed(cifar0),
            "cifar10_lossless",
            4 / 255,
        ),
    ]
    for at, claimed in ((0.3, "identity"), (0.7, "none")):
        build = _around(MNIST, HardThreshold(at, claimed))
        rows.append(Variant("threshold", f"mnist_cnn_a seed 1, input at {at}, {claimed}", build, "mnist", 0.2))
    return rows


def _trained_threshold(name: str, data: str, only: int | None, claimed: str) -> nn.Module:
    return trained(name, data, 4, activation=_THRESHOLDS[claimed], only=only)


_THRESHOLDS = {
    name: partial(HardThreshold, 0.0, name) for name in ("identity", "sigmoid")
}  # one object: it keys a cache


def _noise() -> list[Variant]:
    return [
        Variant("noise", "digits_cnn seed 3, input 0.02", _around(DIGITS, AddedNoise(0.02)), "digits", 0.1),
        Variant("noise", "digits_cnn seed 3, logits 0.1", _around(DIGITS, None, AddedNoise(0.1)), "digits", 0.1),
        Variant("noise", "mnist_cnn_a seed 1, input 0.05", _around(MNIST, AddedNoise(0.05)), "mnist", 0.1),
        Variant("noise", "mnist_cnn_a seed 1, input 0.25", _around(MNIST, AddedNoise(0.25)), "mnist", 0.1),
        Variant("noise", "mnist_cnn_a seed 1, logits 1", _around(MNIST, None, AddedNoise(1.0)), "mnist", 0.1),
        Variant("noise", "mnist_cnn_a_adv, logits 0.02", _around(MNIST_ADV, None, AddedNoise(0.02)), "mnist", 0.2),
        Variant("noise", "cifar10_cnn_a_adv, input 0.01", _around(CIFAR_ADV, AddedNoise(0.01)), "cifar10", 4 / 255),
        _resnet("noise", "input 0.03", _around(RESNET, AddedNoise(0.03)), 4 / 255),
    ]


def _k_winners() -> list[Variant]:
    def net(name: str, data: str, share: float) -> Callable[[], nn.Module]:
        return lambda: trained(name, data, 4, activation=partial(KWinners, share))

    rows = [
        Variant("k-winners", f"digits_cnn, share {share}", net("digits_cnn", "digits", share), "digits", 0.1)
        for share in (0.05, 0.1, 0.3, 0.5)
    ]
    rows += [
        Variant("k-winners", f"mnist_cnn_a, share {share}", net("mnist_cnn_a", "mnist", share), "mnist", 0.1)
        for share in (0.1, 0.3)
    ]
    rows += [
        Variant(
            "k-winners",
            f"cifar10_cnn_a, share {share}",
            net("cifar10_cnn_a", "cifar10_lossless", share),
            "cifar10_lossless",
            eps,
        )
        for share, eps in ((0.1, 4 / 255), (0.3, 2 / 255))
    ]
    return rows


def _scaled() -> list[Variant]:
    def row(
        name: str, base: Callable[[], nn.Module], factor: float, data: str, eps: float, norm: str = "linf"
    ) -> Variant:
        build = _around(base, None, ScaledLogits(factor))
        return Variant("scaled", f"{name} x {factor:g}", build, data, eps, norm, plain=base)

    return [
        row("digits_cnn seed 3", DIGITS, 1e3, "digits", 0.1),
        row("digits_cnn seed 3", DIGITS, 1e-3, "digits", 0.1),
        row("digits_cnn seed 3", DIGITS, 2.0**13, "digits", 0.1),
        row("mnist_cnn_a seed 1", MNIST, 1e4, "mnist", 0.1),
        row("mnist_cnn_a seed 1, l2", MNIST, 1e4, "mnist", 1.0, "l2"),
        row("mnist_cnn_a_adv", MNIST_ADV, 1e4, "mnist", 0.3),
        row("mnist_cnn_a_adv", MNIST_ADV, 1e-4, "mnist", 0.3),
        row("cifar10_cnn_a_adv", CIFAR_ADV, 1e4, "cifar10", 8 / 255),
        replace(row("cifar10_resnet20", RESNET, 1e4, "cifar10_lossless", 1 / 255), n=60),
    ]


def _sound() -> list[Variant]:
    def digits(seed: int, eps: float, norm: str = "linf") -> Variant:
        return Variant(
            "plain", f"digits_cnn seed {seed}", partial(published, "digits_cnn", None, seed), "digits", eps, norm
        )

    def adversarial(seed: int, eps: float, norm: str = "linf") -> Variant:
        build = partial(trained, "digits_cnn", "digits", seed, eps=0.15)
        return Variant("adversarially trained", f"digits_cnn at 0.15, seed {seed}", build, "digits", eps, norm)

    mlp, svhn = partial(trained, "mlp", "mnist", 3), partial(trained, "cifar10_cnn_a", "svhn", 1)
    rows = [
        *(digits(seed, eps) for seed, eps in ((2, 0.1), (3, 0.1), (4, 0.05), (5, 0.1), (6, 0.2), (7, 8 / 255))),
        digits(2, 0.5, "l2"),
        digits(4, 1.0, "l2"),
        digits(5, 3.0, "l1"),
        digits(6, 3.0, "l0"),
        Variant("plain", "mnist_cnn_a seed 1", MNIST, "mnist", 0.05),
        Variant("plain", "mnist_cnn_a seed 1", MNIST, "mnist", 0.2),
        Variant("plain", "cnn seed 2", CNN, "mnist", 0.1),
        Variant("plain", "cnn seed 2", CNN, "mnist", 1.0, "l2"),
        Variant("plain", "mlp seed 3", mlp, "mnist", 0.05),
        Variant("plain", "mlp seed 3", mlp, "mnist", 5.0, "l1"),
        Variant("plain", "cifar10_cnn_a seed 1", CIFAR, "cifar10_lossless", 1 / 255),
        Variant("plain", "cifar10_cnn_a seed 1, SVHN", svhn, "svhn", 2 / 255),
        _resnet("plain", "as published", RESNET, 4 / 255),
        _resnet("plain", "as published", RESNET, 0.1, norm="l2"),
        Variant("plain", "squeezenet1_0", SQUEEZENET, "imagenet_sample", 1 / 255, n=16, crop=227),
        *(adversarial(seed, eps) for seed, eps in ((0, 0.15), (1, 0.1), (2, 0.25))),
        adversarial(1, 1.0, "l2"),
        Variant("adversarially trained", "mnist_cnn_a_adv", MNIST_ADV, "mnist", 0.2),
        Variant("adversarially trained", "mnist_cnn_a_adv", MNIST_ADV, "mnist", 0.35),
        Variant("adversarially trained", "mnist_cnn_a_adv", MNIST_ADV, "mnist", 1.0, "l2"),
        Variant("adversarially trained", "cifar10_cnn_a_adv", CIFAR_ADV, "cifar10", 4 / 255),
        Variant("adversarially trained", "cifar10_cnn_a_adv", CIFAR_ADV, "cifar10_lossless", 8 / 255),
        Variant("adversarially trained", "cifar10_cnn_a_adv", CIFAR_ADV, "cifar10", 0.25, "l2"),
        Variant("provably robust", "mnist_conv_provable_linf0.1", PROVABLE, "mnist", 0.05),
        Variant("provably robust", "mnist_conv_provable_linf0.1", PROVABLE, "mnist", 0.2),
        Variant("provably robust", "mnist_conv_provable_linf0.1", PROVABLE, "mnist", 0.5, "l2"),
    ]
    return [replace(row, effort="standard") for row in rows]


MASKED = (*_softmax(), *_quantised(), *_threshold(), *_noise(), *_k_winners())
SCALED = tuple(_scaled())
SOUND = tuple(_sound())
