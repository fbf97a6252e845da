"""torchvision's classics for images of 28x28 and 32x32 pixels: stems that do not shrink what is small already."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from foolscope.models.vision import import_torchvision, need

SIDE = 32  # smaller images are padded with zeros


def small_image(name: str, shape: tuple[int, int, int] = (1, 28, 28), classes: int = 10) -> nn.Module:
    """`googlenet`, `alexnet`, `vgg16` or a `resnet` of torchvision, untrained, for small images.

    GoogLeNet and the ResNets get a 3x3 stem of stride 1 and lose the pooling after it; AlexNet gets a 5x5 stem of stride 1; VGG-16 keeps
    its layers and loses the pooling to 7x7, which would only repeat one pixel. GoogLeNet has no auxiliary classifiers.

    Raises:
        InputError: torchvision is not installed.
    """
    need("torchvision", "torchvision")
    import_torchvision()
    models: Any = importlib.import_module("torchvision.models")
    channels, height, _ = shape
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    net = models.get_model(name, weights=None, num_classes=classes, **options)
    if name == "googlenet":
        net.conv1.conv = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        net.maxpool1 = nn.Identity()
    elif name.startswith("resnet"):
        net.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        net.maxpool = nn.Identity()
    elif name == "alexnet":
        net.features[0] = nn.Conv2d(channels, 64, 5, 1, 2)
    else:
        net.features[0] = nn.Conv2d(channels, 64, 3, 1, 1)
        net.avgpool = nn.Identity()
        net.classifier[0] = nn.Linear(512, 4096)
    pad = (SIDE - height) // 2
    return nn.Sequential(nn.ZeroPad2d(pad), net) if pad > 0 else net
