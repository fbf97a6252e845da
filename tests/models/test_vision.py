"""torchvision, timm and transformers are optional: each test here needs the one that it names."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
import torch

from foolscope.errors import InputError
from foolscope.models import load_model
from foolscope.models.vision import import_torchvision


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


pytestmark = pytest.mark.filterwarnings("default")  # what these libraries warn about is theirs


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize(
    ("text", "package"), [("torchvision:x", "torchvision"), ("timm:x", "timm"), ("hf:x", "transformers")]
)
def test_a_library_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch, text: str, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(InputError, match=rf"^MODEL: expected {package} to be installed .*\(pip install {package}\)"):
        load_model(text)


@needs("torchvision")
def test_torchvision_imports_beside_any_torch() -> None:
    torchvision = import_torchvision()
    assert torchvision is import_torchvision() is sys.modules["torchvision"]
    assert "resnet18" in torchvision.models.list_models()


@needs("torchvision")
def test_torchvision_models_take_weights_and_normalisation(tmp_path: Path) -> None:
    models = import_torchvision().models
    network = models.get_model("squeezenet1_1", weights=None, num_classes=1000).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    images = torch.rand(2, 3, 64, 64)
    plain = load_model("torchvision:squeezenet1_1", weights=str(tmp_path / "w.pt"))
    assert torch.equal(plain.module(images), network(images))
    moved = load_model("torchvision:squeezenet1_1", weights=str(tmp_path / "w.pt"), mean=[0.5] * 3, std=[0.2] * 3)
    torch.testing.assert_close(moved.module(images), network((images - 0.5) / 0.2))


@needs("torchvision")
def test_the_built_in_squeezenet_has_torchvisions_keys_and_numbers(tmp_path: Path) -> None:
    network = import_torchvision().models.squeezenet1_0(weights=None).eval()
    network.classifier[1].padding = (1, 1)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    images = torch.rand(2, 3, 227, 227)
    assert torch.equal(load_model("squeezenet1_0", weights=str(tmp_path / "w.pt")).module(images), network(images))


@needs("torchvision")
def test_torchvisions_own_weights_bring_their_normalisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = import_torchvision().models
    network = models.squeezenet1_1(weights=None).eval()
    weights = models.get_model_weights("squeezenet1_1").DEFAULT
    # In torch's own download cache, under the name that the download would have; its checksum is not checked on reuse.
    (tmp_path / "checkpoints").mkdir()
    torch.save(network.state_dict(), tmp_path / "checkpoints" / os.path.basename(weights.url))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    images = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    model = load_model("torchvision:squeezenet1_1")
    torch.testing.assert_close(model.module(images), network((images - mean) / std))
    assert "normalised inside with its weights' own mean (0.485, 0.456, 0.406)" in model.notes[0]


@needs("torchvision")
def test_unknown_torchvision_names_offer_the_nearest() -> None:
    with pytest.raises(InputError, match=r"a name that torchvision knows \(nearest: resnet18.*got 'resnet81'"):
        load_model("torchvision:resnet81")


@needs("timm", "torchvision")
def test_timm_models_take_weights(tmp_path: Path) -> None:
    import_torchvision()
    import timm

    network = timm.create_model("resnet10t").eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(load_model("timm:resnet10t", weights=str(tmp_path / "w.pt")).module(images), network(images))
    with pytest.raises(InputError, match=r"a name that timm knows \(nearest: resnet18"):
        load_model("timm:resnet81")


@needs("transformers")
def test_a_hugging_face_folder_loads_offline(tmp_path: Path) -> None:
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()
    import transformers

    settings = transformers.ResNetConfig(embedding_sizes=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=7)
    network = transformers.ResNetForImageClassification(settings).eval()
    network.save_pretrained(tmp_path)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        plain = load_model(f"hf:{tmp_path}")
        torch.testing.assert_close(plain.module(images), network(images).logits)
        assert "no normalisation was found" in plain.notes[0]
        config = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
        torch.testing.assert_close(load_model(f"hf:{tmp_path}").module(images), network((images - 0.5) / 0.2).logits)
        given = load_model(f"hf:{tmp_path}", weights=str(tmp_path / "model.safetensors"))
        torch.testing.assert_close(given.module(images), network(images).logits)


@needs("transformers")
def test_a_backbone_without_its_classifier_is_said_loudly(tmp_path: Path) -> None:
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()
    import transformers

    settings = transformers.ResNetConfig(embedding_sizes=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=7)
    transformers.ResNetModel(settings).save_pretrained(tmp_path)
    assert any("UNTRAINED" in note and "classifier" in note for note in load_model(f"hf:{tmp_path}").notes)


@needs("transformers")
def test_a_missing_hugging_face_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^MODEL: expected hf:.* to load with its own weights") as caught:
        load_model(f"hf:{tmp_path}/gone")
    assert "\n" not in str(caught.value)
