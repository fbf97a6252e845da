"""Rows of a big array on disk, without its pages staying in memory."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from foolscope.data.pixels import Array


def map_rows(
    handle: int, dtype: np.dtype[Any], shape: tuple[int, ...], *, offset: int = 0, order: Literal["C", "F"] = "C"
) -> Callable[[npt.NDArray[np.int64]], Array]:
    """Map a file and return a function that copies out the rows asked for.

    Pages that were read are handed back after each call, so resident memory stays at one batch; they remain in the
    kernel's cache, where the next call finds them.

    Args:
        handle: an open file's descriptor; it may be closed afterwards.
        dtype: of the numbers.
        shape: (n, ...).
        offset: bytes before the first number.
        order: "C" for rows one after another, "F" for Fortran's order.

    Returns:
        positions (b,) -> rows (b, ...), a copy.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     _ = file.write(np.arange(6, dtype=np.uint8).tobytes())
        ...     file.flush()
        ...     rows = map_rows(file.fileno(), np.dtype(np.uint8), (3, 2))
        >>> rows(np.array([2, 0])).tolist()
        [[4, 5], [0, 1]]
    """
    view = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
    array = np.frombuffer(view, dtype, count=math.prod(shape), offset=offset).reshape(shape, order=order)

    def rows(positions: npt.NDArray[np.int64]) -> Array:
        found = array[positions]
        if hasattr(mmap, "MADV_DONTNEED"):
            view.madvise(mmap.MADV_DONTNEED)
        return found

    return rows
