"""The shared weights on the shared images: each network must be as accurate as its source says."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from foolscope.models import load_model

DATA, WEIGHTS = (os.environ.get(name, "") for name in ("FOOLSCOPE_DATA", "FOOLSCOPE_WEIGHTS"))

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(DATA or "/nowhere").is_dir(), reason="$FOOLSCOPE_DATA is not set or no folder"),
    pytest.mark.skipif(not Path(WEIGHTS or "/nowhere").is_dir(), reason="$FOOLSCOPE_WEIGHTS is not set or no folder"),
]


def images_of(name: str, column: str, count: int, every: int = 1, crop: int = 0) -> tuple[Tensor, Tensor]:
    import duckdb
    from PIL import Image

    (path,) = [p for p in (Path(DATA) / name).glob("*.parquet") if not p.name.startswith("train")]
    query = f"SELECT {column}.bytes, label FROM read_parquet(?, file_row_number=true) "
    query += "WHERE file_row_number % ? = 0 ORDER BY file_row_number LIMIT ?"
    rows = duckdb.connect().execute(query, [str(path), every, count]).fetchall()
    assert len(rows) == count
    pixels = np.stack([np.atleast_3d(np.asarray(Image.open(io.BytesIO(data)))) for data, _ in rows])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if crop:
        start = (images.shape[-1] - crop) // 2
        images = images[:, :, start : start + crop, start : start + crop]
    return images, torch.tensor([label for _, label in rows])


@torch.no_grad()
def accuracy(model: str, weights: str, images: Tensor, labels: Tensor) -> float:
    loaded = load_model(model, weights=weights)
    logits = torch.cat([loaded.module(part) for part in images.split(50)])
    assert logits.dtype == torch.float32
    assert logits.shape == (len(images), loaded.classes)
    return (logits.argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize("weights", ["mnist_cnn_a_adv", "mnist_conv_provable_linf0.1"])
def test_mnist(weights: str) -> None:
    assert accuracy("mnist_cnn_a", weights, *images_of("mnist", "image", 500)) > 0.95


def test_cifar10_resnet20() -> None:
    assert accuracy("cifar10_resnet20", "cifar10_resnet20", *images_of("cifar10_lossless", "img", 300)) == (
        pytest.approx(0.93, abs=0.005)
    )


def test_cifar10_cnn_a() -> None:
    # No figure is published with it; adversarially trained networks of this size are around a half right.
    assert 0.4 < accuracy("cifar10_cnn_a", "cifar10_cnn_a_adv", *images_of("cifar10_lossless", "img", 300)) < 0.8


def test_squeezenet() -> None:
    images, labels = images_of("imagenet_sample", "image", 100, every=10, crop=227)
    assert 0.5 < accuracy("squeezenet1_0", "imagenet_squeezenet1_0", images, labels) < 0.72


def test_half_precision_weights_are_said() -> None:
    notes = load_model("squeezenet1_0", weights="imagenet_squeezenet1_0.safetensors").notes
    assert notes == ("weights of float16 loaded into float32",)
