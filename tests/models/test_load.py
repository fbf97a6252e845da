from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from foolscope.errors import InputError
from foolscope.models import MODELS, load_model


def refused(*args: object, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load_model(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.train is None and not row.needs])
def test_untrained_networks_say_so_and_follow_the_seed(name: str) -> None:
    first, again, other = (load_model(name, seed=seed) for seed in (1, 1, 2))
    assert first.notes[0].startswith(f"UNTRAINED: built-in {name} without --weights")
    assert first.sha256 == again.sha256 != other.sha256
    assert (first.name, first.shape, first.classes) == (name, MODELS[name].shape, MODELS[name].classes)
    assert not any(part.training for part in first.module.modules())


def test_loading_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    load_model("mlp", seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_digits_cnn_with_weights_does_not_train(tmp_path: Path) -> None:
    save_file(MODELS["digits_cnn"].build().state_dict(), tmp_path / "w.safetensors")
    model = load_model("digits_cnn", weights=str(tmp_path / "w.safetensors"))
    assert model.notes == ()
    assert model.parameters == 85066


def test_mean_and_std_change_the_network_and_its_hash() -> None:
    plain, normalised = load_model("mlp"), load_model("mlp", mean=[0.5], std=[0.25])
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(normalised.module(images), plain.module((images - 0.5) / 0.25))
    assert plain.sha256 != normalised.sha256
    assert plain.parameters == normalised.parameters


def test_the_result_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_model("mlp").name = "other"  # type: ignore[misc]


def test_unknown_names_offer_the_nearest() -> None:
    line = refused("mnist_cnn")
    assert line.startswith("MODEL: expected a built-in network, file.py:NAME, package.module:NAME, torchvision:NAME, ")
    assert "got 'mnist_cnn' (nearest: mnist_cnn_a" in line
    assert "mnist_cnn_a_adv is weights: mnist_cnn_a --weights mnist_cnn_a_adv" in refused("mnist_cnn_a_adv")


@pytest.mark.parametrize("text", ["", ":", "model.py", "model.py:", ":build", "torchvision:", "torchvision"])
def test_half_a_name_is_refused(text: str) -> None:
    assert refused(text).startswith("MODEL: expected a built-in network")


@pytest.mark.parametrize("device", ["", "gpu", "cuda:99", "meta", "cpu:x"])
def test_unknown_devices_are_refused(device: str) -> None:
    line = refused("mlp", device=device)
    assert line.startswith(f"--device: expected a device of this machine, got '{device}'")
    assert "cpu" in line


def test_the_number_of_channels_is_checked() -> None:
    expected = "--mean: expected 1 numbers, one for each channel of mlp, got 3"
    assert refused("mlp", mean=[0.5] * 3, std=[0.5] * 3) == expected
    assert refused("mlp", mean=[0.5], std=[0.5, 0.5]).startswith("--std: expected as many numbers as --mean")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(MODELS["mlp"].build().state_dict(), tmp_path / "w.safetensors")
    line = refused("cnn", weights=str(tmp_path / "w.safetensors"))
    assert line.startswith("--weights: expected weights that fit the model's 8 entries, got 'missing 0.weight")
