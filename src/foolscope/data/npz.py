"""An ``.npz`` with ``images`` and ``labels``, mapped into memory where it is not compressed."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from foolscope.data.arrays import check_float_shape
from foolscope.data.dataset import Source
from foolscope.data.mapped import map_rows
from foolscope.data.pixels import Array
from foolscope.errors import InputError

LOCAL_HEADER = struct.Struct("<4s22xHH")
"""A zip member's own header: signature ... length of the name, length of the extra field; the data follow them."""

Rows = Callable[[npt.NDArray[np.int64]], Array]


def open_npz(path: Path) -> Source:
    """Open ``images`` (uint8 N×H×W or N×H×W×C, or float N×C×H×W) and ``labels`` (integers, N).

    Uncompressed images stay on disk; compressed ones are loaded whole, which a note says. Either way the archive's
    checksums are verified once.

    Raises:
        InputError: not such a file, damaged, or an object array (reading one would need pickle).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            for key in ("images", "labels"):
                if key not in keys:
                    raise InputError("DATA", f"an .npz with images and labels (no {key} here)", ", ".join(keys))
            labels = _load(archive, "labels")
            compressed = archive.getinfo("images.npy").compress_type != zipfile.ZIP_STORED
            rows, dtype, shape = _loaded(archive) if compressed else _mapped(archive, path)
            fetch = _channels_first(rows, dtype, shape)
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise InputError("DATA", f"an undamaged .npz at {path.name}", str(error) or type(error).__name__) from error
    notes = (f"{path.name} is compressed: loaded whole ({math.prod(shape) * dtype.itemsize / 1e6:.0f} MB)",)
    return Source(labels, shape[0], None, fetch, notes if compressed else ())


def _header(file: Any, key: str, size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, Fortran order, dtype) of the array in an open member of ``size`` bytes, read up to its first number."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise InputError(key, "a plain array of numbers", f".npy version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except (SyntaxError, TokenError, TypeError) as error:  # numpy lets them through from a header that is no literal
        raise ValueError(f"{key}: no .npy header") from error
    if dtype.hasobject:
        raise InputError(key, "numbers", "an object array (to read it would take pickle, which can run code)")
    if shape[:1] == (0,):
        raise InputError("DATA", "at least one image", f"{key} of shape {shape}")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{key}: {size} bytes are not {dtype} of shape {shape}")
    return shape, fortran, dtype


def _load(archive: zipfile.ZipFile, key: str) -> Array:
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file, key, info.file_size)
        # The archive compares its checksum when the member has been read to the end, which this does.
        array = np.frombuffer(file.read(), dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _loaded(archive: zipfile.ZipFile) -> tuple[Rows, np.dtype[Any], tuple[int, ...]]:
    images = _load(archive, "images")
    return lambda positions: images[positions], images.dtype, images.shape


def _mapped(archive: zipfile.ZipFile, path: Path) -> tuple[Rows, np.dtype[Any], tuple[int, ...]]:
    info = archive.getinfo("images.npy")
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file, "images", info.file_size)
        before = file.tell()
        while file.read(1 << 20):  # verifies the checksum without keeping anything
            pass
    with path.open("rb") as raw:
        raw.seek(info.header_offset)
        _, name_length, extra_length = LOCAL_HEADER.unpack(raw.read(LOCAL_HEADER.size))
        offset = info.header_offset + LOCAL_HEADER.size + name_length + extra_length + before
        order: Literal["C", "F"] = "F" if fortran else "C"
        return map_rows(raw.fileno(), dtype, shape, offset=offset, order=order), dtype, shape


def _channels_first(rows: Rows, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Callable[[Array], list[Array]]:
    """Positions -> (C, H, W) each, or one clear line about the array's form."""
    if dtype != np.uint8:
        if dtype.kind != "f":
            raise InputError("images", "uint8 or floats", f"{dtype} values")
        check_float_shape(shape, dtype.kind)
        return lambda positions: list(rows(positions))
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise InputError("images", "uint8 (N, H, W) or (N, H, W, C)", f"shape {shape}")
    if len(shape) == 3:
        return lambda positions: list(rows(positions)[:, None])
    if shape[3] > 4 >= shape[1]:
        raise InputError(
            "images", "uint8 with channels last, (N, H, W, C)", f"shape {shape}, which looks channels first"
        )
    return lambda positions: list(rows(positions).transpose(0, 3, 1, 2))
