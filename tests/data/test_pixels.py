from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foolscope.data.pixels import decode, deliver, fit
from foolscope.errors import InputError


def test_resize_is_pillows_bilinear():
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 31), dtype=np.uint8)
    whole = Image.fromarray(image.transpose(1, 2, 0)).resize((15, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(fit(image, 10, None), np.asarray(whole).transpose(2, 0, 1))


def test_resize_of_floats_agrees_with_torch_and_stays_inside():
    image = np.random.default_rng(0).random((2, 20, 30), dtype=np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], (10, 15), mode="bilinear", antialias=True, align_corners=False
    )[0]
    np.testing.assert_allclose(fit(image, 10, None), wanted.numpy(), atol=1e-5)
    ones = np.ones((1, 17, 13), np.float64)
    assert fit(ones, 5, None).max() <= 1


@given(height=st.integers(4, 40), width=st.integers(4, 40), short=st.integers(4, 40))
def test_shorter_side_and_crop(height, width, short):
    fitted = fit(np.zeros((1, height, width), np.uint8), short, None)
    assert min(fitted.shape[1:]) == short
    assert max(fitted.shape[1:]) == short * max(height, width) // min(height, width)
    assert fit(fitted, None, short).shape == (1, short, short)


def test_crop_is_central():
    image = np.arange(25).reshape(1, 5, 5)
    np.testing.assert_array_equal(fit(image, None, 3), image[:, 1:4, 1:4])


def test_palette_and_alpha_become_rgb(tmp_path):
    for mode in ("P", "RGBA", "CMYK"):
        file = tmp_path / f"{mode}.tif"
        Image.new("RGB", (3, 2), (255, 0, 0)).convert(mode).save(file)
        np.testing.assert_array_equal(decode(file, "RGB", "x")[:, 0, 0], [255, 0, 0])


def test_eight_bits_become_fractions_exactly():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    batch = deliver([levels], np.array([0]), (1, 16, 16), (0.0, 1.0))
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch.flatten(), torch.arange(256) / 255, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("value", "bounds", "line"),
    [
        (np.nan, (0, 1), "images: expected finite numbers at image 7, got 'nan'"),
        (np.nan, None, "images: expected finite numbers at image 7, got 'nan'"),
        (np.inf, None, "images: expected finite numbers at image 7, got 'inf'"),
        (1e300, None, "images: expected finite numbers at image 7, got 'inf'"),
        (1.5, (0, 1), r"images: expected values in \[0, 1\] \(--bounds\) at image 7, got '1.5'"),
        (-0.25, (0, 1), r"images: expected values in \[0, 1\] \(--bounds\) at image 7, got '-0.25'"),
    ],
)
def test_values_are_checked(value, bounds, line):
    images = [np.full((1, 2, 2), 0.5), np.full((1, 2, 2), 0.5)]
    deliver(images, np.array([3, 7]), (1, 2, 2), bounds)
    images[1][0, 1, 0] = value
    with pytest.raises(InputError, match=line):
        deliver(images, np.array([3, 7]), (1, 2, 2), bounds)


def test_rounding_just_outside_is_moved_to_the_bounds():
    images = [np.array([[[-3e-8, 0.5], [1.0000001, 1.0]]], np.float32)]
    assert deliver(images, np.array([0]), (1, 2, 2), (0, 1)).flatten().tolist() == [0.0, 0.5, 1.0, 1.0]
    with pytest.raises(InputError, match="at image 0, got '1.0001'"):
        deliver([images[0] + np.float32(1e-4)], np.array([0]), (1, 2, 2), (0, 1))


def test_wider_bounds_admit_what_lies_between_them():
    assert deliver([np.full((1, 1, 1), -1.0)], np.array([0]), (1, 1, 1), (-1, 1)).item() == -1
    assert deliver([np.full((1, 1, 1), 300.0)], np.array([0]), (1, 1, 1), None).item() == 300
