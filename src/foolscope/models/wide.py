"""Wide residual networks for 32x32 images (Zagoruyko & Komodakis 2016, arXiv:1605.07146)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.models.networks import CIFAR10_MEAN, CIFAR10_STD, Standardise


class WideBlock(nn.Module):
    """Batch-norm, ReLU, 3x3 convolution, twice, and a shortcut: 1x1 where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(dropout)
        same = channels_in == channels and stride == 1
        self.shortcut = None if same else nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features in, features out."""
        active = F.relu(self.bn1(inputs))
        hidden = self.dropout(F.relu(self.bn2(self.conv1(active))))
        added: Tensor = self.conv2(hidden) + (inputs if self.shortcut is None else self.shortcut(active))
        return added


class WideResNet(nn.Module):
    """WRN-depth-width: three groups of (depth - 4) / 6 blocks of 16, 32 and 64 times `width` channels."""

    def __init__(
        self, depth: int = 28, width: int = 10, dropout: float = 0.0, channels: int = 3, classes: int = 10
    ) -> None:
        super().__init__()
        blocks, layers, before = (depth - 4) // 6, [], 16
        for group, count in enumerate((16 * width, 32 * width, 64 * width)):
            for block in range(blocks):
                stride = 2 if group and not block else 1
                layers.append(WideBlock(before, count, stride, dropout))
                before = count
        self.conv = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(before)
        self.linear = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(self.linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images `(b, channels, H, W)` to logits."""
        hidden = F.relu(self.bn(self.blocks(self.conv(inputs))))
        logits: Tensor = self.linear(hidden.mean((2, 3)))
        return logits


def cifar10_wide(depth: int = 28, width: int = 10) -> nn.Module:
    """A wide ResNet behind CIFAR-10's normalisation."""
    return nn.Sequential(Standardise(CIFAR10_MEAN, CIFAR10_STD), WideResNet(depth, width))
