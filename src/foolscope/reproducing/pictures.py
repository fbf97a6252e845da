"""Small images that a record carries: made from tensors where a claim is measured, put on one sheet where the pages are written."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)  # of weights; a frame is orange, too
SIDE = 84  # pixels of the sheet that a small tile is drawn large, about
CAPTIONS: Mapping[str, str] = {
    "L6": "A photograph, the sign of the gradient, and the photograph moved by eps .007 along it",
    "P1": "Weights (blue negative, orange positive) and their signs, then test images before and after FGSM; framed: wrong",
    "P9": "The first draws of noise moved one step of eps .1 towards each of three classes; framed: its probability exceeds .5",
    "P11": "First-layer filters, blue for negative weights and orange for positive ones",
}


def tile(row: str, image: Tensor, low: float, high: float, *, framed: bool = False) -> dict[str, Any]:
    """An image `(C, H, W)` with one channel or three, black at `low` and white at `high`, for the sheet's row `row`."""
    import numpy as np

    share = ((image.double() - low) / (high - low)).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return _held(row, np.broadcast_to(share * 255, (*share.shape[:2], 3)), framed)


def weights_tile(row: str, weights: Tensor) -> dict[str, Any]:
    """Weights `(H, W)`, scaled to the largest: blue below zero, white at it, orange above."""
    import numpy as np

    share = (weights / weights.abs().amax()).double().cpu().numpy()[..., None]
    ends = np.where(share < 0, BLUE, ORANGE)
    return _held(row, 255 + (ends - 255) * np.abs(share), False)


def _held(row: str, pixels: np.ndarray[Any, Any], framed: bool) -> dict[str, Any]:
    import numpy as np
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(stream, "PNG", optimize=True)
    return {"row": row, "framed": framed, "png": base64.b64encode(stream.getvalue()).decode()}


def sheet(tiles: Sequence[Mapping[str, Any]]) -> bytes:
    """Tiles as one PNG, each row from the left; all tiles have the same size."""
    import numpy as np
    from PIL import Image

    strips = []
    for row in rows(tiles):
        strip = []
        for each in (each for each in tiles if each["row"] == row):
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(each["png"]))))
            zoom = max(1, round(SIDE / len(pixels)))
            framed = np.empty((zoom * len(pixels) + 8, zoom * pixels.shape[1] + 8, 3), np.uint8)
            framed[:] = 255
            framed[1:-1, 1:-1] = ORANGE if each["framed"] else 255
            framed[4:-4, 4:-4] = np.kron(pixels, np.ones((zoom, zoom, 1), np.uint8))
            strip.append(framed)
        strips.append(np.concatenate(strip, 1))
    widest = max(strip.shape[1] for strip in strips)
    whole = [np.pad(s, ((0, 0), (0, widest - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(whole)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def rows(tiles: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of a sheet's rows, from the top."""
    return tuple(dict.fromkeys(each["row"] for each in tiles))
