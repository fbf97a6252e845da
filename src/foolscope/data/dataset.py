"""What every data source becomes: labels in memory, images read on demand by position."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foolscope.data.pixels import Array, deliver, fit
from foolscope.errors import InputError

if TYPE_CHECKING:
    import torch

Fetch = Callable[[npt.NDArray[np.int64]], list[Array]]
"""Positions (b,) -> b images (C, H, W), uint8 or float, before resizing and cropping."""

MOST_CLASSES = 1_000_000
"""A label above this, where no classes are named, is taken for a mistake and not for a class."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labelled images whose pixels stay where they are until asked for.

    Attributes:
        name: as the report names it, e.g. ``mnist:test``.
        labels: int64 (n,).
        classes: class names, ``"0"``..``"k-1"`` where the source names none.
        shape: (C, H, W) as ``read`` delivers.
        read: positions (b,) in any order -> float32 (b, C, H, W); uint8 sources are divided by 255.
        notes: things to say to the user (loaded whole, sorted by label, a lossy copy ...).
    """

    name: str
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    read: Callable[[npt.NDArray[np.int64]], torch.Tensor]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Source:
    """One opened format, before labels are checked and images are fitted.

    Attributes:
        labels: as stored, unchecked.
        count: how many images there are.
        classes: the names the source declares, None where it declares none.
        fetch: the images at some positions.
        notes: things to say to the user.
        encoding: Pillow's name of the first image's file format (``PNG``, ``JPEG``), None for plain arrays.
    """

    labels: Array
    count: int
    classes: tuple[str, ...] | None
    fetch: Fetch
    notes: tuple[str, ...] = ()
    encoding: str | None = None


def assemble(
    name: str,
    source: Source,
    *,
    samples: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> DataSet:
    """Check a source's labels, cut it to the first samples, and deliver its images as one shape inside the bounds.

    Args:
        name: as the report names it.
        source: the opened format.
        samples: how many images from the start, None for all.
        resize: the shorter side in pixels after bilinear resizing, None to leave it.
        crop: the side in pixels of the central square, None to leave it.
        bounds: (lowest, highest) pixel value accepted, None for any finite one.

    Raises:
        InputError: bad labels, no images, a first image that can't be read or is smaller than the crop.
    """
    for option, value in (("--samples", samples), ("--resize", resize), ("--crop", crop)):
        if value is not None and value < 1:
            raise InputError(option, "a whole number of at least 1", value)
    labels = checked_labels(source.labels, source.count, source.classes)
    classes = source.classes or tuple(str(k) for k in range(int(labels.max()) + 1))
    notes = source.notes
    if samples is not None:
        notes += _notes_on_samples(labels, samples)
        labels = labels[:samples]
    n = len(labels)
    first = fit(source.fetch(np.zeros(1, np.int64))[0], resize, crop)
    shape = (first.shape[0], first.shape[1], first.shape[2])

    def read(positions: npt.NDArray[np.int64]) -> torch.Tensor:
        where = np.asarray(positions, dtype=np.int64)
        if where.size and (where.min() < 0 or where.max() >= n):
            raise IndexError(f"positions must lie in 0..{n - 1}, got {where.min()}..{where.max()}")
        return deliver([fit(image, resize, crop) for image in source.fetch(where)], where, shape, bounds)

    read(np.zeros(1, np.int64))
    return DataSet(name, labels, classes, shape, read, notes)


def checked_labels(labels: Any, count: int, classes: tuple[str, ...] | None = None) -> npt.NDArray[np.int64]:
    """Labels as int64 (n,), or one clear line about what is wrong with them.

    Args:
        labels: integers, one an image.
        count: how many images there are.
        classes: the declared class names; None means that any class number from 0 is fine.

    Raises:
        InputError: no images; labels negative, not integers, of another length, beyond the declared classes.

    Example:
        >>> checked_labels([0, 2, 1], 3)
        array([0, 2, 1])
        >>> checked_labels([0, -1], 2)
        Traceback (most recent call last):
        foolscope.errors.InputError: labels: expected a class number from 0 on for image 1, got -1
    """
    if count == 0:
        raise InputError("DATA", "at least one image", "an empty data set")
    array = np.asarray(labels)
    if array.ndim != 1 or len(array) != count:
        raise InputError("labels", f"{count} labels, one an image", f"shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise InputError("labels", "integers", f"{array.dtype} values")
    most = len(classes) if classes else MOST_CLASSES
    said = f"below {most} ({most} classes are named)" if classes else f"below {most}"
    for wrong, limit in ((array < 0, "from 0 on"), (array >= most, said)):
        if wrong.any():
            at = int(wrong.argmax())
            raise InputError("labels", f"a class number {limit} for image {at}", int(array[at]))
    return array.astype(np.int64)


def fingerprint(data: DataSet, batch: int = 256) -> str:
    """SHA-256 over all images' delivered float32 bytes in order, then the labels' int64 bytes (little-endian both).

    Args:
        data: the data set, streamed.
        batch: images read at a time; the result does not depend on it.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> from foolscope.data import from_tensors
        >>> images = np.zeros((2, 1, 4, 4), np.float32)
        >>> expected = hashlib.sha256(images.tobytes() + np.array([0, 1]).tobytes()).hexdigest()
        >>> fingerprint(from_tensors(images, [0, 1])) == expected
        True
    """
    digest = hashlib.sha256()
    for start in range(0, len(data), batch):
        images = data.read(np.arange(start, min(start + batch, len(data))))
        digest.update(images.contiguous().numpy().astype("<f4", copy=False).tobytes())
    digest.update(data.labels.astype("<i8", copy=False).tobytes())
    return digest.hexdigest()


def _notes_on_samples(labels: npt.NDArray[np.int64], samples: int) -> tuple[str, ...]:
    n = len(labels)
    if samples > n:
        return (f"--samples {samples}: there are only {n} images, all are used",)
    covered, all_classes = len(np.unique(labels[:samples])), len(np.unique(labels))
    if covered < all_classes and bool((np.diff(labels) >= 0).all()):
        return (
            f"sorted by label: the first {samples} of {n} images cover {covered} of {all_classes} classes, "
            "so these numbers don't speak for the whole set",
        )
    return ()
