from __future__ import annotations

import pickle
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from foolscope.data import open_data
from foolscope.errors import InputError


def save(path, images, labels=None, compressed=False):
    labels = np.arange(len(images)) % 3 if labels is None else labels
    (np.savez_compressed if compressed else np.savez)(path, images=images, labels=labels)
    return str(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_forms(tmp_path, grey, compressed):
    colour = np.random.default_rng(1).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
    floats = np.random.default_rng(1).random((5, 3, 6, 4))
    positions = np.array([4, 0, 4])
    for images, wanted in (
        (grey, grey[positions, None] / np.float32(255)),
        (colour, colour[positions].transpose(0, 3, 1, 2) / np.float32(255)),
        (floats, floats[positions].astype(np.float32)),
        (np.asfortranarray(floats), floats[positions].astype(np.float32)),
        (floats.astype(">f4"), floats[positions].astype(np.float32)),
        (floats.astype(np.float16), floats[positions].astype(np.float16).astype(np.float32)),
    ):
        data = open_data(save(tmp_path / "a.npz", images, compressed=compressed))
        assert len(data) == len(images)
        assert data.shape == wanted.shape[1:]
        assert data.classes == ("0", "1", "2")
        np.testing.assert_array_equal(data.read(positions).numpy(), wanted)


def test_loaded_whole_is_said(tmp_path, grey):
    assert open_data(save(tmp_path / "a.npz", grey)).notes == ()
    (note,) = open_data(save(tmp_path / "a.npz", grey, compressed=True)).notes
    assert note == "a.npz is compressed: loaded whole (0 MB)"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux counts it")
def test_memory_does_not_grow_with_the_file(tmp_path):
    shape = (96, 1, 512, 512)  # 100 MB
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, array in (("images", np.zeros(shape, np.float32)), ("labels", np.zeros(96, np.int64))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array)
    code = """
import resource, sys
import numpy as np, torch
from foolscope.data import open_data
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
before = peak()
data = open_data(sys.argv[1])
for start in range(0, 96, 4):
    data.read(np.arange(start, start + 4))
print(peak() - before)
"""
    run = [sys.executable, "-c", code, str(tmp_path / "a.npz")]
    grown = float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert grown < 50


@pytest.mark.parametrize("key", ["images", "labels"])
def test_object_arrays_are_refused_unopened(tmp_path, grey, key):
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return ran.touch, ()

    arrays = {"images": grey, "labels": np.zeros(12, int), key: np.array([Payload()] * 12, dtype=object)}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=f"{key}: expected numbers, got 'an object array"):
        open_data(str(tmp_path / "a.npz"))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (np.zeros((4, 6, 5, 3)), None, r"images: .*shape \(4, 6, 5, 3\), which looks like \(N, H, W, C\)"),
        (np.zeros((4, 3, 6, 5), np.uint8), None, r"channels last, .*looks channels first"),
        (np.zeros((4, 6)), None, r"images: expected four dimensions \(N, C, H, W\), got 'shape \(4, 6\)'"),
        (np.zeros((4, 6, 5)), None, "images: expected four dimensions"),
        (np.zeros((4, 6), np.uint8), None, r"images: expected uint8 \(N, H, W\) or \(N, H, W, C\)"),
        (np.zeros((4, 6, 5), np.int64), None, "images: expected uint8 or floats, got 'int64 values'"),
        (np.zeros((4, 6, 5), bool), None, "images: expected uint8 or floats, got 'bool values'"),
        (np.full((4, 1, 2, 2), 255.0), None, r"images: expected values in \[0, 1\] \(--bounds\) at image 0, got '255'"),
        (np.full((4, 1, 2, 2), np.nan), None, "images: expected finite numbers at image 0, got 'nan'"),
        (
            np.zeros((4, 6, 5), np.uint8),
            np.zeros(3, int),
            r"labels: expected 4 labels, one an image, got 'shape \(3,\)'",
        ),
        (np.zeros((4, 6, 5), np.uint8), np.zeros((4, 1), int), "labels: expected 4 labels, one an image"),
        (np.zeros((4, 6, 5), np.uint8), np.zeros(4), "labels: expected integers, got 'float64 values'"),
        (np.zeros((4, 6, 5), np.uint8), np.array([0, 1, -3, 0]), "class number from 0 on for image 2, got -3"),
        (np.zeros((4, 6, 5), np.uint8), np.array([0, 1, 10**12, 0]), "class number below 1000000 for image 2"),
        (np.zeros((0, 6, 5), np.uint8), np.zeros(0, int), "DATA: expected at least one image"),
        (np.uint8(3), np.zeros(0, int), "DATA: expected at least one image"),
        (np.uint8(3), np.zeros(1, int), r"images: expected uint8 \(N, H, W\)"),
    ],
)
def test_unsuitable_arrays(tmp_path, images, labels, line):
    if labels is None:
        labels = np.zeros(4, int)
    for compressed in (False, True):
        with pytest.raises(InputError, match=line):
            open_data(save(tmp_path / "a.npz", images, labels, compressed))


def test_late_bad_image_is_found_when_read(tmp_path):
    images = np.zeros((9, 1, 2, 2))
    images[7, 0, 1, 1] = 1.0001
    data = open_data(save(tmp_path / "a.npz", images))
    data.read(np.arange(7))
    with pytest.raises(InputError, match="at image 7, got '1.0001'"):
        data.read(np.array([8, 7]))


def test_missing_keys(tmp_path, grey):
    np.savez(tmp_path / "a.npz", x=grey, labels=np.zeros(12, int))
    with pytest.raises(InputError, match=r"images and labels \(no images here\), got 'x, labels'"):
        open_data(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1]), b"PK\x03\x04" + bytes(100)])
def test_not_an_npz(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="DATA: expected an undamaged .npz at a.npz"):
        open_data(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_anywhere_is_an_input_error(tmp_path, grey, compressed):
    path = tmp_path / "a.npz"
    save(path, grey, compressed=compressed)
    whole, draw = path.read_bytes(), random.Random(0)
    wanted = open_data(str(path)).read(np.arange(12))
    for cut in range(0, len(whole) - 1, 37):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError):
            open_data(str(path))
    refused = 0
    for _ in range(100):
        at = draw.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ draw.randrange(1, 256)]) + whole[at + 1 :])
        try:
            assert open_data(str(path)).read(np.arange(12)).equal(wanted)  # the byte was a date or the like
        except InputError:
            refused += 1
    assert refused > 60


@pytest.mark.parametrize("spoilt", [(b"}", b" "), (b"'descr'", b"0descr'"), (b"(12,", b"(-1,"), (b"|u1", b"|z1")])
def test_damaged_array_header_under_a_right_checksum(tmp_path, grey, spoilt):
    save(tmp_path / "a.npz", grey)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert spoilt[0] in held["images.npy"]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content.replace(*spoilt, 1) if name == "images.npy" else content)
    with pytest.raises(InputError, match="undamaged .npz at a.npz"):
        open_data(str(tmp_path / "a.npz"))


def test_array_longer_than_its_member(tmp_path, grey):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        with archive.open("labels.npy", "w") as member:
            np.lib.format.write_array(member, np.zeros(10**6, int))
        with archive.open("images.npy", "w") as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 1000, 1000)}
            np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(InputError, match="undamaged .npz at a.npz"):
        open_data(str(tmp_path / "a.npz"))
