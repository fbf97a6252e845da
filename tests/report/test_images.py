from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from foolscope.report.images import amplify, png


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_survive_to_the_grey_level(channels):
    levels = np.random.default_rng(0).integers(0, 256, (channels, 8, 9))
    seen = decoded(png(levels / 255))
    expected = levels[0] if channels == 1 else levels.transpose(1, 2, 0)
    assert np.array_equal(seen, expected)


def test_other_channel_counts_are_shown_as_their_mean():
    image = np.zeros((4, 2, 2))
    image[0] = 1.0
    assert (decoded(png(image)) == 64).all()


def test_values_outside_are_clipped_and_nan_is_black():
    image = np.array([[[-1.0, 2.0], [np.nan, 0.2]]])
    assert decoded(png(image)).tolist() == [[0, 255], [0, 51]]


@pytest.mark.parametrize(
    ("change", "factor"), [(8 / 255, 10), (0.1, 5), (0.3, 1), (1.0, 0.5), (0.5, 1), (0.001, 500), (1 / 255, 100)]
)
def test_the_amplified_change_fits_and_its_factor_is_the_one_used(change, factor):
    original, adversarial = np.zeros((1, 2, 2)), np.zeros((1, 2, 2))
    adversarial[0, 0, 0] = change
    picture, used = amplify(original, adversarial)
    assert used == factor
    assert picture[0, 0, 0] == pytest.approx(0.5 + factor * change)
    assert (picture[0, 1] == 0.5).all()
    assert picture.max() <= 1


def test_no_change_is_mid_grey():
    image = np.full((3, 4, 4), 0.3)
    picture, factor = amplify(image, image.copy())
    assert factor == 1
    assert (picture == 0.5).all()
