"""Images that a Python program already has: arrays, tensors, a DataLoader."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope.data.dataset import DataSet, Source, assemble
from foolscope.data.mapped import map_rows
from foolscope.data.pixels import Array
from foolscope.errors import InputError


def from_tensors(
    images: Any,
    labels: Any,
    *,
    name: str = "tensors",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    samples: int | None = None,
) -> DataSet:
    """A data set over images in memory; they are not copied.

    Args:
        images: float tensor or array (N, C, H, W), in ``bounds``.
        labels: integers (N,), tensor, array or list.
        name: as the report names it.
        bounds: (lowest, highest) pixel value accepted, None for any finite one.
        samples: use only the first so many.

    Raises:
        InputError: wrong shape or type, no images, bad labels, a first image outside the bounds.

    Example:
        >>> data = from_tensors(np.full((5, 3, 8, 8), 0.5), [0, 1, 2, 0, 1])
        >>> len(data), data.shape, data.classes
        (5, (3, 8, 8), ('0', '1', '2'))
    """
    check_float_shape(tuple(getattr(images, "shape", ())), _kind(images))

    def fetch(positions: npt.NDArray[np.int64]) -> list[Array]:
        if isinstance(images, np.ndarray):
            return list(images[positions])
        import torch

        rows = images[torch.as_tensor(positions, device=images.device)]
        return list(rows.detach().to("cpu", torch.float32).numpy())

    source = Source(_numpy_labels(labels), len(images), None, fetch)
    return assemble(name, source, samples=samples, bounds=bounds)


def from_loader(
    loader: Iterable[Any],
    *,
    name: str = "loader",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    samples: int | None = None,
) -> DataSet:
    """A data set over the batches of a DataLoader, in the order in which one pass yields them.

    The images are spooled to an unnamed temporary file (under ``$TMPDIR``), so memory does not grow; the file is gone
    when the data set is.

    Args:
        loader: yields (images, labels): float (b, C, H, W) in ``bounds``, integers (b,).
        name: as the report names it.
        bounds: (lowest, highest) pixel value accepted, None for any finite one.
        samples: stop after the first so many.

    Raises:
        InputError: something else than such batches, no images, bad labels, no room for the temporary file.

    Example:
        >>> import torch
        >>> data = from_loader([(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])), (torch.ones(1, 1, 4, 4), [1])])
        >>> data.read(np.array([2, 0])).amax((1, 2, 3))
        tensor([1., 0.])
    """
    if samples is not None and samples < 1:
        raise InputError("--samples", "a whole number of at least 1", samples)
    shape: tuple[int, ...] = ()
    labels: list[Array] = []
    count = 0
    with tempfile.TemporaryFile(prefix="foolscope-") as spool:
        for batch in loader:
            images, own = _batch(batch, count)
            if shape and images.shape[1:] != shape:
                raise InputError("loader", f"images of shape {shape} at image {count} too", f"shape {images.shape[1:]}")
            shape = images.shape[1:]
            if samples is not None:
                images, own = images[: samples - count], own[: samples - count]
            _write(spool, images)
            labels.append(own)
            count += len(images)
            if count == samples:
                break
        if not count:
            raise InputError("DATA", "at least one image", "an empty loader")
        spool.flush()
        rows = map_rows(spool.fileno(), np.dtype(np.float32), (count, *shape))
    return assemble(name, Source(np.concatenate(labels), count, None, lambda at: list(rows(at))), bounds=bounds)


def check_float_shape(shape: tuple[int, ...], kind: str) -> None:
    """Refuse float images that are not (N, C, H, W), and those that look like (N, H, W, C).

    Raises:
        InputError: naming what came.
    """
    if kind != "f":
        raise InputError("images", "floats (N, C, H, W) in the bounds", _named(kind))
    if len(shape) != 4 or 0 in shape[1:]:
        raise InputError("images", "four dimensions (N, C, H, W)", f"shape {shape}")
    if shape[1] > 4 >= shape[3]:
        raise InputError("images", "channels first, (N, C, H, W)", f"shape {shape}, which looks like (N, H, W, C)")


def _kind(images: Any) -> str:
    if isinstance(images, np.ndarray):
        return str(images.dtype.kind)
    import torch

    if not isinstance(images, torch.Tensor):
        return type(images).__name__
    return "f" if images.is_floating_point() else str(images.dtype)


def _named(kind: str) -> str:
    names = {"u": "unsigned integers", "i": "integers", "b": "booleans", "O": "an object array", "c": "complex numbers"}
    return names.get(kind, kind)


def _numpy_labels(labels: Any) -> Array:
    try:
        return np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    except (ValueError, TypeError) as error:  # lists of unequal length
        raise InputError("labels", "integers, one an image", str(error)) from error


def _batch(batch: Any, count: int) -> tuple[npt.NDArray[np.float32], Array]:
    """One batch as (float32 array, labels), its form checked."""
    import torch

    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise InputError("loader", "batches (images, labels)", type(batch).__name__)
    images, labels = batch
    check_float_shape(tuple(getattr(images, "shape", ())), _kind(images))
    if isinstance(images, torch.Tensor):
        images = images.detach().to("cpu", torch.float32).numpy()
    own = _numpy_labels(labels)
    if own.shape != (len(images),):
        raise InputError("labels", f"{len(images)} labels in the batch from image {count} on", f"shape {own.shape}")
    return images.astype(np.float32, copy=False), own


def _write(spool: Any, images: npt.NDArray[np.float32]) -> None:
    try:
        spool.write(np.ascontiguousarray(images).data)
    except OSError as error:
        raise InputError("TMPDIR", "room for the loader's images", f"{tempfile.gettempdir()}: {error}") from error
