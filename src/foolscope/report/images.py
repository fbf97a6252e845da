"""Arrays as PNG data URIs."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import numpy.typing as npt

from foolscope.auditing.tiles import Image


def png(image: Image) -> str:
    """An image as a PNG data URI: grey for one channel, RGB for three, else the mean over channels as grey.

    Args:
        image: `(C, H, W)`; values outside [0, 1] are clipped, those that are not finite are black.

    Returns:
        `data:image/png;base64,…`.

    Example:
        >>> png(np.zeros((1, 8, 8)))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image as Pillow

    planes = image if image.shape[0] in (1, 3) else image.mean(axis=0, keepdims=True)
    finite = np.nan_to_num(planes, nan=0.0, posinf=0.0, neginf=0.0)
    levels: npt.NDArray[np.uint8] = np.rint(np.clip(finite, 0, 1) * 255).astype(np.uint8)
    picture = Pillow.fromarray(levels[0] if len(levels) == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def amplify(original: Image, adversarial: Image) -> tuple[Image, float]:
    """The difference of two images on mid-grey, amplified by a round factor so that its largest change just fits.

    Returns:
        The picture in [0, 1] and the factor: 1, 2 or 5 times a power of ten, at least 0.5; 1 where nothing changed.

    Example:
        >>> picture, factor = amplify(np.zeros((1, 2, 2)), np.full((1, 2, 2), 8 / 255))
        >>> factor
        10.0
    """
    difference = np.asarray(adversarial, dtype=np.float64) - np.asarray(original, dtype=np.float64)
    largest = float(np.abs(difference).max(initial=0.0))
    factor = 1.0
    if 0 < largest < math.inf:
        # A hair of tolerance, so that a change of exactly 0.1 is given the factor 5.
        room = 0.5 / largest * (1 + 1e-6)
        power = 10.0 ** math.floor(math.log10(room))
        factor = max(0.5, next(step * power for step in (5, 2, 1) if step * power <= room))
    return np.clip(0.5 + factor * difference, 0, 1), factor
