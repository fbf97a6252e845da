from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from foolscope.errors import InputError
from foolscope.models.builtin import MODELS, list_models
from foolscope.models.networks import BasicBlock, SqueezeNet, Standardise


def installed(name: str) -> object:
    """The name of a network as a parameter that skips where the package it needs is missing."""
    needs = MODELS[name].needs
    missing = bool(needs) and importlib.util.find_spec(needs) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{needs} is not installed"))


@pytest.mark.parametrize("name", [installed(name) for name in MODELS])
def test_every_row_tells_the_truth_about_shape_classes_and_parameters(name: str) -> None:
    row = MODELS[name]
    network = row.build().eval()
    assert network(torch.rand(2, *row.shape)).shape == (2, row.classes)
    told = next(told for told in list_models() if told["name"] == name)
    assert told["parameters"] == sum(p.numel() for p in network.parameters())
    assert told["shape"] == row.shape


def installed(name: str) -> object:
    """The name of a network as a parameter that skips where the package it needs is missing."""
    needs = MODELS[name].needs
    missing = bool(needs) and importlib.util.find_spec(needs) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{needs} is not installed"))


@pytest.mark.parametrize("name", [installed(name) for name in MODELS])
def test_gradients_reach_the_images(name: str) -> None:
    row = MODELS[name]
    images = torch.rand(1, *row.shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(row.build().eval()(images).square().sum(), images)
    assert gradient.abs().max() > 0


def test_a_network_without_its_package_is_listed_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchvision" else find(name))
    told = next(told for told in list_models() if told["name"] == "mnist_vgg16")
    assert told["parameters"] is None
    with pytest.raises(InputError, match="torchvision to be installed"):
        MODELS["mnist_vgg16"].build()


def test_the_shortcut_takes_every_second_pixel_between_zero_channels() -> None:
    block = BasicBlock(2, 4, 2).eval()
    nn.init.zeros_(block.conv2.weight)
    images = torch.rand(1, 2, 4, 4)
    expected = torch.zeros(1, 4, 2, 2)
    expected[:, 1:3] = images[:, :, ::2, ::2]
    assert torch.equal(block(images), expected)


def test_squeezenet_pads_its_last_convolution() -> None:
    network = SqueezeNet(7).eval()
    assert network.features(torch.rand(1, 3, 227, 227)).shape == (1, 512, 13, 13)
    assert network.classifier[1](torch.rand(1, 512, 13, 13)).shape == (1, 7, 15, 15)


def test_standardise_is_the_formula() -> None:
    images = torch.rand(2, 3, 2, 2)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    expected = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(Standardise(mean, std)(images), expected)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4), (4,)])
def test_standardise_refuses_to_broadcast_channels(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="--mean: expected one number for each channel"):
        Standardise([0.5] * 3, [0.5] * 3)(torch.rand(shape))
