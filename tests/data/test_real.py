from __future__ import annotations

import io
import os
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image

from foolscope.data import fingerprint, open_data

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not os.environ.get("FOOLSCOPE_DATA") or not Path(os.environ["FOOLSCOPE_DATA"], "mnist").is_dir(),
        reason="$FOOLSCOPE_DATA is not set or holds no mnist",
    ),
]

SETS = {
    "mnist:train": (60_000, (1, 28, 28), 10),
    "mnist:test": (10_000, (1, 28, 28), 10),
    "cifar10:train": (50_000, (3, 32, 32), 10),
    "cifar10:test": (10_000, (3, 32, 32), 10),
    "cifar10_lossless:train": (4000, (3, 32, 32), 10),
    "cifar10_lossless:test": (300, (3, 32, 32), 10),
    "svhn:train": (1083, (3, 32, 32), 10),
    "fashion_mnist_sample:test": (1000, (1, 28, 28), 10),
    "imagenet_sample:validation": (1000, (3, 256, 256), 1000),
}
COUNTS = {
    "mnist:train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "mnist:test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    "cifar10:train": [5000] * 10,
    "cifar10:test": [1000] * 10,
    "svhn:train": [66, 227, 141, 134, 110, 112, 78, 70, 78, 67],
    "imagenet_sample:validation": [1] * 1000,
}


@pytest.mark.parametrize("name", SETS)
def test_every_set(name):
    data = open_data(name)
    assert (len(data), data.shape, len(data.classes)) == SETS[name]
    assert data.name == name
    if name in COUNTS:
        assert np.bincount(data.labels).tolist() == COUNTS[name]
    folder, split = name.split(":")
    (file,) = Path(os.environ["FOOLSCOPE_DATA"], folder).glob(f"{split}-*.parquet")
    column = "img" if folder.startswith("cifar") else "image"
    rows = duckdb.sql(f"select {column}.bytes, label from '{file}'").fetchall()
    positions = np.array([len(data) - 1, 0, len(data) // 2, 1])
    for position, image in zip(positions, data.read(positions), strict=True):
        decoded = np.asarray(Image.open(io.BytesIO(rows[position][0])))
        decoded = decoded[None] if decoded.ndim == 2 else decoded.transpose(2, 0, 1)
        np.testing.assert_array_equal(image.numpy(), decoded / np.float32(255))
        assert data.labels[position] == rows[position][1]


@pytest.mark.parametrize(
    ("text", "name"),
    [("mnist", "mnist:test"), ("imagenet_sample", "imagenet_sample:validation"), ("svhn", "svhn:train")],
)
def test_default_split(text, name):
    assert open_data(text).name == name


def test_class_names_and_notes():
    assert open_data("cifar10").classes[:3] == ("airplane", "automobile", "bird")
    assert open_data("imagenet_sample").classes[0] == "tench"
    assert open_data("cifar10").notes == (
        "a lossy JPEG copy of cifar10: don't compare its numbers with published ones",
    )
    assert open_data("mnist").notes == open_data("cifar10_lossless").notes == open_data("imagenet_sample").notes == ()
    (note,) = open_data("imagenet_sample", samples=100).notes
    assert note.startswith("sorted by label: the first 100 of 1000 images cover 100 of 1000 classes")


def test_crop_for_a_network():
    data = open_data("imagenet_sample", crop=227)
    assert data.shape == (3, 227, 227)
    whole = open_data("imagenet_sample").read(np.array([5]))
    assert data.read(np.array([5])).equal(whole[:, :, 14:241, 14:241])


def test_random_access_takes_tens_of_milliseconds():
    data, draw, seconds = open_data("mnist"), np.random.default_rng(0), []
    for _ in range(7):
        positions = draw.choice(len(data), 256, replace=False)
        start = time.perf_counter()
        data.read(positions)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1


def test_lossless_and_lossy_copies_differ():
    assert fingerprint(open_data("cifar10", samples=100)) != fingerprint(open_data("cifar10_lossless", samples=100))
