from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from foolscope.data import fingerprint, from_loader, from_tensors
from foolscope.errors import InputError


@pytest.fixture
def images():
    return torch.rand(10, 3, 4, 5, generator=torch.Generator().manual_seed(0))


LABELS = torch.arange(10) % 4


def test_tensors_arrays_and_loaders_are_one_data_set(images):
    made = [
        from_tensors(images, LABELS),
        from_tensors(images.clone().requires_grad_(), LABELS.tolist()),
        from_tensors(images.numpy(), LABELS.numpy().astype(np.uint8)),
        from_loader(DataLoader(TensorDataset(images, LABELS), batch_size=3)),
        from_loader([(images[:4].numpy(), LABELS[:4]), [images[4:].double(), LABELS[4:].tolist()]]),
    ]
    assert {fingerprint(data, batch) for data in made for batch in (1, 3, 100)} == {fingerprint(made[0])}
    for data in made:
        assert (len(data), data.shape, data.classes) == (10, (3, 4, 5), ("0", "1", "2", "3"))
        read = data.read(np.array([9, 0, 9]))
        assert not read.requires_grad
        assert read.equal(images[[9, 0, 9]])


def test_bfloat16_tensors(images):
    assert from_tensors(images.bfloat16(), LABELS).read(np.array([1])).equal(images[[1]].bfloat16().float())


def test_reading_does_not_alias_the_users_memory(images):
    array = images.numpy()
    from_tensors(array, LABELS).read(np.array([0])).zero_()
    from_tensors(images, LABELS).read(np.array([0])).zero_()
    assert array[0].any()


def test_samples(images):
    assert from_tensors(images, LABELS, samples=4).labels.tolist() == [0, 1, 2, 3]

    def endless():
        while True:
            yield images, LABELS

    assert len(from_loader(endless(), samples=23)) == 23
    with pytest.raises(InputError, match="--samples"):
        from_loader(endless(), samples=0)


def test_fingerprint_tells_pixels_labels_and_order_apart(images):
    dim = images.clone()
    dim[9, 2, 3, 4] = torch.nextafter(dim[9, 2, 3, 4], torch.tensor(0.0))
    prints = [
        fingerprint(from_tensors(*pair))
        for pair in ((images, LABELS), (dim, LABELS), (images, LABELS.flip(0)), (images.flip(0), LABELS))
    ]
    assert len(set(prints)) == 4
    assert all(len(p) == 64 for p in prints)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"images": torch.zeros(10, 4, 5, 3)}, None),
        ({"images": torch.zeros(10, 8, 9, 3)}, r"images: expected channels first.*looks like \(N, H, W, C\)"),
        (
            {"images": torch.zeros(10, 4, 5)},
            r"images: expected four dimensions \(N, C, H, W\), got 'shape \(10, 4, 5\)'",
        ),
        ({"images": torch.zeros(10, 1, 4, 0)}, "images: expected four dimensions"),
        ({"images": torch.zeros(10, 1, 4, 4, dtype=torch.uint8)}, "images: expected floats .* got 'torch.uint8'"),
        ({"images": np.zeros((10, 1, 4, 4), np.uint8)}, "images: expected floats .* got 'unsigned integers'"),
        ({"images": np.zeros((10, 1, 4, 4), object)}, "images: expected floats .* got 'an object array'"),
        ({"images": [[1]]}, "images: expected floats .* got 'list'"),
        ({"images": torch.zeros(0, 1, 4, 4), "labels": []}, "DATA: expected at least one image"),
        ({"images": torch.full((10, 1, 4, 4), 2.0)}, r"images: expected values in \[0, 1\]"),
        ({"labels": LABELS[:9]}, "labels: expected 10 labels"),
        ({"labels": LABELS - 1}, "labels: expected a class number from 0 on for image 0, got -1"),
        ({"labels": LABELS.float()}, "labels: expected integers, got 'float32 values'"),
        ({"labels": ["a"] * 10}, "labels: expected integers"),
        ({"labels": np.array([None] * 10)}, "labels: expected integers, got 'object values'"),
        ({"labels": [[0, 1]] * 4 + [[1]]}, "labels: expected integers, one an image"),
        ({"samples": 0}, "--samples: expected a whole number of at least 1, got 0"),
    ],
)
def test_bad_tensors(images, change, line):
    arguments = {"images": images, "labels": LABELS, **change}
    if line is None:  # four channels may be four channels
        assert from_tensors(**arguments).shape == (4, 5, 3)
        return
    with pytest.raises(InputError, match=line):
        from_tensors(**arguments)


@pytest.mark.parametrize(
    ("batches", "line"),
    [
        ([], "DATA: expected at least one image, got 'an empty loader'"),
        ([torch.zeros(2, 1, 4, 4)], r"loader: expected batches \(images, labels\), got 'Tensor'"),
        ([(torch.zeros(2, 1, 4, 4), [0])], r"labels: expected 2 labels in the batch from image 0 on"),
        ([(torch.zeros(2, 1, 4, 4), [0, 1]), (torch.zeros(1, 1, 5, 4), [1])], "loader: .* at image 2 too"),
        ([(torch.zeros(2, 1, 4, 4), [0, -1])], "labels: expected a class number from 0 on for image 1"),
        ([(torch.full((2, 1, 4, 4), -1.0), [0, 1])], r"images: expected values in \[0, 1\]"),
        ([(torch.zeros(2, 4, 4, dtype=torch.uint8), [0, 1])], "images: expected floats"),
    ],
)
def test_bad_loaders(batches, line):
    with pytest.raises(InputError, match=line):
        from_loader(batches)


def test_positions_outside_are_refused(images):
    for data in (from_tensors(images, LABELS), from_tensors(images, LABELS, samples=5)):
        for position in (-1, len(data)):
            with pytest.raises(IndexError, match="positions must lie in"):
                data.read(np.array([position]))
        assert data.read(np.array([], int)).shape == (0, 3, 4, 5)


def test_spool_leaves_nothing_behind(images, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = from_loader([(images, LABELS)])
    assert os.listdir(tmp_path) == []
    assert data.read(np.arange(10)).equal(images)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux counts it")
def test_memory_does_not_grow_with_the_loader():
    code = """
import resource
import numpy as np, torch
from foolscope.data import from_loader
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
batch = (torch.rand(4, 1, 512, 512), [0, 1, 2, 3])
before = peak()
data = from_loader(batch for _ in range(24))
for start in range(0, 96, 4):
    data.read(np.arange(start, start + 4))
print(peak() - before)
"""
    grown = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert grown < 50
