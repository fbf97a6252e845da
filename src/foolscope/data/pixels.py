"""Image files to arrays, arrays to the shape a network takes, arrays to a checked float32 tensor."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foolscope.errors import InputError

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What a stranger's bytes may be opened as. Pillow knows more, EPS among them, which it hands to Ghostscript to run."""

DUST = 1e-6
"""How far outside the bounds, in widths of the box, a value is taken for rounding of the user's own and moved inside."""

GREY = {"1", "L", "LA"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def inspect(source: bytes | Path, where: str) -> tuple[str, str]:
    """The mode ("L" or "RGB") in which a set is delivered, and the file format, both told by its first image.

    Raises:
        InputError: the image can't be decoded, or has more than 8 bits a channel.
    """
    mode, encoding, _ = _decode(source, where, None)
    return mode, encoding


def decode(source: bytes | Path, mode: str, where: str) -> Array:
    """One image file as uint8 (C, H, W).

    Args:
        source: the file's bytes, or its path.
        mode: "L" (one channel) or "RGB" (three); an image in another mode is converted.
        where: how an error names the image, e.g. ``row 7 of test.parquet``.

    Raises:
        InputError: the image can't be decoded, or has more than 8 bits a channel.
    """
    return _decode(source, where, mode)[2]


def _decode(source: bytes | Path, where: str, mode: str | None) -> tuple[str, str, Array]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            own = "L" if image.mode in GREY else "RGB" if image.mode in COLOUR else None
            if own is not None:
                mode = mode or own
                array = np.asarray(image if image.mode == mode else image.convert(mode))
                return mode, str(image.format), array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
            deep = image.mode
    except Exception as error:  # a damaged file makes decoders raise anything, SyntaxError and struct.error included
        said = "not a known image format" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise InputError("DATA", f"an image that can be decoded at {where}", said) from error
    raise InputError("DATA", f"an image of 8 bits a channel at {where}", f"mode {deep}")


def fit(image: Array, resize: int | None, crop: int | None) -> Array:
    """Resize the shorter side (bilinear, antialiased), then cut the central square; both optional.

    Args:
        image: (C, H, W), uint8 or float.
        resize: the shorter side in pixels, None to leave it.
        crop: the square's side in pixels, None to leave it.

    Returns:
        (C, H', W'), of the same kind of numbers.

    Raises:
        InputError: the image is smaller than the crop.

    Example:
        >>> fit(np.zeros((3, 20, 40), np.uint8), 10, 8).shape
        (3, 8, 8)
    """
    if resize is not None:
        height, width = image.shape[1:]
        short = min(height, width)
        # The longer side is cut to whole pixels as torchvision does, so that both see the same pixels.
        size = (resize * width // short, resize * height // short)
        if size != (width, height):
            image = _resized(image, size)
    if crop is not None:
        height, width = image.shape[1:]
        if crop > min(height, width):
            raise InputError("--crop", f"at most the image's shorter side, {min(height, width)}", crop)
        top, left = round((height - crop) / 2), round((width - crop) / 2)
        image = image[:, top : top + crop, left : left + crop]
    return image


def _resized(image: Array, size: tuple[int, int]) -> Array:
    from PIL import Image

    planes = image if image.dtype == np.uint8 else image.astype(np.float32)
    done = np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BILINEAR)) for p in planes])
    # Rounding may carry a float average past its own extremes, and so past the bounds, by the last bit.
    return done if done.dtype == np.uint8 else done.clip(planes.min(), planes.max())


def deliver(
    images: list[Array], positions: Array, shape: tuple[int, int, int], bounds: tuple[float, float] | None
) -> torch.Tensor:
    """Stack images to float32 (b, C, H, W) and check shape, finiteness and bounds.

    Args:
        images: b arrays; uint8 is divided by 255, anything else is cast.
        positions: (b,) names the images in errors.
        shape: (C, H, W) that each must have.
        bounds: (lowest, highest) value, None for any finite one; what rounding left just outside is moved to it.

    Raises:
        InputError: an image of another shape, with a NaN or an infinity, or with a value outside the bounds by more than `DUST`.
    """
    import torch

    for position, image in zip(positions, images, strict=True):
        if image.shape != shape:
            raise InputError(
                "images",
                f"the shape of image 0, {_by(shape)}, at image {position} too (--resize and --crop make them equal)",
                _by(image.shape),
            )
    if not images:
        return torch.empty((0, *shape))
    stacked = np.stack(images)
    integers = stacked.dtype == np.uint8
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes an infinity, which is refused below
        batch = torch.from_numpy(stacked.astype(np.float32, copy=False))
    if integers:
        batch.div_(255)
    lowest, highest = (bound.item() for bound in torch.aminmax(batch))
    lo, hi = bounds if bounds is not None else (-3.4e38, 3.4e38)
    dust = 0.0 if bounds is None else DUST * (hi - lo)
    if not (lo - dust <= lowest and highest <= hi + dust):  # written so that NaN fails too
        _refuse(batch, positions, bounds)
    if lowest < lo or highest > hi:
        batch.clamp_(lo, hi)
    return batch


def _refuse(batch: torch.Tensor, positions: Array, bounds: tuple[float, float] | None) -> None:
    import torch

    flat = batch.flatten(1)
    wrong = ~torch.isfinite(flat)
    expected = "finite numbers"
    if not wrong.any() and bounds is not None:
        dust = DUST * (bounds[1] - bounds[0])
        wrong = (flat < bounds[0] - dust) | (flat > bounds[1] + dust)
        expected = f"values in [{bounds[0]:g}, {bounds[1]:g}] (--bounds)"
    row, column = divmod(int(wrong.flatten().int().argmax()), flat.shape[1])
    raise InputError("images", f"{expected} at image {positions[row]}", f"{flat[row, column].item():.6g}")


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
