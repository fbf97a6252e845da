"""What a DATA text means: a built-in name, Parquet, an image folder, an ``.npz``."""

from __future__ import annotations

import os
from pathlib import Path

from foolscope.data.builtin import BUILTIN, open_builtin
from foolscope.data.dataset import DataSet, Source, assemble
from foolscope.data.folder import open_folder
from foolscope.data.npz import open_npz
from foolscope.data.parquet import choose_split, open_parquet, parquet_splits
from foolscope.errors import InputError


def open_data(
    text: str,
    *,
    samples: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> DataSet:
    """Open DATA as the command line understands it; images stay on disk until they are read.

    Args:
        text: ``NAME[:split]`` from ``BUILTIN`` (a name wins over a folder called the same; write ``./NAME`` for that),
            a Parquet file, ``FOLDER[:split]`` of Parquet files, a folder with one folder a class, or an ``.npz``.
        samples: use only the first so many, in file order.
        resize: the shorter side in pixels after bilinear resizing.
        crop: the side in pixels of the central square cut out after that.
        bounds: (lowest, highest) pixel value accepted, None for any finite one.

    Returns:
        The data set. Images are checked as they are read, the first one now.

    Raises:
        InputError: nothing of that name, no such split, a damaged or unsuitable file, ``samples`` below 1.

    Example:
        >>> data = open_data("digits:test", samples=100)
        >>> data.name, len(data), data.shape
        ('digits:test', 100, (1, 8, 8))
    """
    try:
        name, source = _open(text)
    except OSError as error:
        raise InputError("DATA", "a file or folder that can be read", f"{text}: {error.strerror or error}") from error
    return assemble(name, source, samples=samples, resize=resize, crop=crop, bounds=bounds)


def _open(text: str) -> tuple[str, Source]:
    name, colon, split = text.partition(":")
    if name in BUILTIN:
        split, source = open_builtin(name, split if colon else None)
        return f"{name}:{split}", source
    path, asked = Path(text), None
    if not path.exists() and ":" in text:
        before, _, asked = text.rpartition(":")
        path = Path(before) if before else path
    if not text or not path.exists():
        raise _unknown(text)
    title = path.resolve().name
    if path.is_dir():
        splits = parquet_splits(path)
        if splits:
            chosen = choose_split(list(splits), asked, title)
            return f"{title}:{chosen}", open_parquet(splits[chosen])
    if asked is not None:
        raise InputError("DATA", f"no :split after {title}, which has none (only Parquet folders do)", asked)
    if path.is_dir():
        return title, open_folder(path)
    if path.suffix.lower() == ".parquet":
        return title, open_parquet([path])
    if path.suffix.lower() == ".npz":
        return title, open_npz(path)
    raise InputError("DATA", "a .parquet or .npz file, a folder, or a built-in name", title)


def _unknown(text: str) -> InputError:
    if os.sep in text or Path(text).suffix:
        return InputError("DATA", "an existing file or folder, or a built-in name", text)
    return InputError(
        "DATA", "a built-in name, or an existing file or folder", text.partition(":")[0], accepted=BUILTIN
    )
