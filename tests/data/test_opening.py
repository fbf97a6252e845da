from __future__ import annotations

import numpy as np
import pytest

from foolscope.data import open_data
from foolscope.errors import InputError


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("minst", r"DATA: expected a built-in name.* got 'minst' \(nearest: .*mnist.*accepted: cifar10,"),
        ("minst:test", r"got 'minst' \(nearest: .*mnist"),
        ("", "DATA: expected a built-in name"),
        (":test", "DATA: expected a built-in name"),
        (
            "nowhere/file.parquet",
            "DATA: expected an existing file or folder, or a built-in name, got 'nowhere/file.parquet'",
        ),
        ("file.npz", "DATA: expected an existing file or folder"),
        ("a" * 5000, "DATA: expected a file or folder that can be read"),
        ("a\0b", "DATA: expected a built-in name"),
        ("digits:tset", r"DATA: expected a split of digits, got 'tset' \(nearest: test; accepted: test, train\)"),
        ("digits:", "DATA: expected a split of digits"),
    ],
)
def test_unknown(text, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=line) as caught:
        open_data(text)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="DATA: expected a .parquet or .npz file, .* got 'weights.pt'"):
        open_data(str(tmp_path / "weights.pt"))


def test_a_file_has_no_split(tmp_path, grey):
    np.savez(tmp_path / "a.npz", images=grey, labels=np.zeros(12, int))
    with pytest.raises(InputError, match="DATA: expected no :split after a.npz, .* got 'test'"):
        open_data(f"{tmp_path / 'a.npz'}:test")


def test_a_colon_in_a_path_is_no_split(tmp_path, grey):
    np.savez(tmp_path / "a:b.npz", images=grey, labels=np.zeros(12, int))
    assert open_data(str(tmp_path / "a:b.npz")).name == "a:b.npz"


@pytest.mark.parametrize("option", ["samples", "resize", "crop"])
@pytest.mark.parametrize("value", [0, -5])
def test_counts_below_one(option, value):
    with pytest.raises(InputError, match=f"--{option}: expected a whole number of at least 1, got {value}"):
        open_data("digits", **{option: value})


def test_crop_larger_than_the_image():
    with pytest.raises(InputError, match="--crop: expected at most the image's shorter side, 8, got 9"):
        open_data("digits", crop=9)
    assert open_data("digits", resize=16, crop=12).shape == (1, 12, 12)


def test_first_image_outside_the_bounds():
    with pytest.raises(InputError, match=r"images: expected values in \[0, 0.5\]"):
        open_data("digits", bounds=(0.0, 0.5))
    assert len(open_data("digits", bounds=None)) == 500


def test_samples_are_the_first(tmp_path, grey):
    np.savez(tmp_path / "a.npz", images=grey, labels=np.arange(12) % 5)
    data = open_data(str(tmp_path / "a.npz"), samples=4)
    assert data.labels.tolist() == [0, 1, 2, 3]
    assert data.classes == ("0", "1", "2", "3", "4")
    np.testing.assert_allclose(data.read(np.array([3]))[0, 0].numpy() * 255, grey[3], rtol=1e-6)
    assert data.notes == ()
