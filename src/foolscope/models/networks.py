"""The built-in networks: small image classifiers as plain modules, with the keys that their published weights use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.errors import InputError

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


class Standardise(nn.Module):
    """x -> (x - m) / s, channel by channel; `m` and `s` are buffers (1, C, 1, 1), so part of the state dict."""

    m: Tensor
    s: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("m", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("s", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """Images `(b, C, H, W)`, normalised."""
        if inputs.ndim != 4 or inputs.shape[1] != self.m.shape[1]:
            # Without this, grey images would silently broadcast to as many channels as there are means.
            raise InputError("--mean", f"one number for each channel of images {tuple(inputs.shape)}", self.m.shape[1])
        return (inputs - self.m) / self.s


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut without parameters: every second pixel, zero channels on both sides."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.added = stride, channels - channels_in

    def forward(self, inputs: Tensor) -> Tensor:
        """Features in, features out."""
        shortcut = inputs
        if self.stride > 1 or self.added:
            half = self.added // 2
            shortcut = F.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.added - half))
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(hidden)) + shortcut)


class ResNetCifar(nn.Module):
    """The ResNet for 32x32 images of He et al. 2015, section 4.2, with shortcuts of option A; 6 * blocks + 2 layers."""

    def __init__(self, blocks: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks)
        self.layer2 = self._stage(16, 32, 2, blocks)
        self.layer3 = self._stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(channels_in: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
        rest = [BasicBlock(channels, channels, 1) for _ in range(blocks - 1)]
        return nn.Sequential(BasicBlock(channels_in, channels, stride), *rest)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images `(b, 3, H, W)` to logits `(b, classes)`."""
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        logits: Tensor = self.linear(hidden.mean((2, 3)))
        return logits


class Fire(nn.Module):
    """SqueezeNet's module: a 1x1 squeeze, then 1x1 and 3x3 expansions side by side."""

    def __init__(self, channels_in: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels_in, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features in, twice `expand` channels out."""
        hidden = F.relu(self.squeeze(inputs))
        return F.relu(torch.cat([self.expand1x1(hidden), self.expand3x3(hidden)], 1))


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 (Iandola et al. 2016) under torchvision's names, the last convolution padded by 1."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(96, 16, 64),
            Fire(128, 16, 64),
            Fire(128, 32, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(256, 32, 128),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(512, classes, 1, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Images `(b, 3, H, W)` to logits `(b, classes)`."""
        logits: Tensor = self.classifier(self.features(inputs))
        return logits.flatten(1)


def _cnn_a(channels: int, flat: int) -> nn.Sequential:
    """The small strided network that certified-robustness papers call CNN-A."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(flat, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def mnist_cnn_a() -> nn.Module:
    """CNN-A for 28x28 grey images; keys ``0 2 5 7``."""
    return _cnn_a(1, 1568)


def cifar10_cnn_a() -> nn.Module:
    """CNN-A for 32x32 colour images behind its normalisation; keys ``0.m 0.s 1.0 1.2 1.5 1.7``."""
    return nn.Sequential(Standardise(CIFAR10_MEAN, CIFAR10_STD), _cnn_a(3, 2048))


def cifar10_resnet20() -> nn.Module:
    """ResNet-20 for 32x32 colour images behind its normalisation."""
    return nn.Sequential(Standardise(CIFAR10_MEAN, CIFAR10_STD), ResNetCifar())


def digits_cnn() -> nn.Module:
    """Two convolutions and two linear layers for 8x8 grey images."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def mlp() -> nn.Module:
    """Two hidden layers for 28x28 grey images."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )


def cnn() -> nn.Module:
    """Two convolutions with max-pooling and two linear layers for 28x28 grey images."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
