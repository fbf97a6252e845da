"""A folder with one folder a class, images directly inside."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foolscope.data.dataset import Source
from foolscope.data.pixels import Array, decode, inspect
from foolscope.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
WANTED = "a folder with one folder a class and the images directly inside"


def open_folder(folder: Path) -> Source:
    """Open a folder of class folders; classes and files are sorted by name, as torchvision's ImageFolder does.

    Raises:
        InputError: no class folders, a class without images, folders inside a class folder, a bad first image.
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise InputError("DATA", f"Parquet files, or {WANTED}", f"{folder.name}, which holds no folders")
    files: list[str] = []
    labels: list[int] = []
    left_out = 0
    for label, name in enumerate(classes):
        entries = sorted((e for e in os.scandir(folder / name) if not e.name.startswith(".")), key=lambda e: e.name)
        if any(entry.is_dir() for entry in entries):
            raise InputError("DATA", WANTED, f"folders inside {folder.name}/{name}")
        images = [f"{name}/{entry.name}" for entry in entries if os.path.splitext(entry.name)[1].lower() in SUFFIXES]
        if not images:
            raise InputError("DATA", WANTED, f"{folder.name}/{name}, which holds no image")
        left_out += len(entries) - len(images)
        files += images
        labels += [label] * len(images)
    mode, encoding = inspect(folder / files[0], files[0])

    def fetch(positions: npt.NDArray[np.int64]) -> list[Array]:
        return [decode(folder / files[at], mode, f"image {at}, {files[at]}") for at in positions]

    return Source(np.array(labels), len(files), tuple(classes), fetch, _notes(classes, left_out), encoding)


def _notes(classes: list[str], left_out: int) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if left_out:
        notes += (f"{left_out} files that are no images were left out",)
    if all(name.isdecimal() for name in classes) and sorted(classes, key=int) != classes:
        odd = next(
            k for k, (name, other) in enumerate(zip(classes, sorted(classes, key=int), strict=True)) if name != other
        )
        notes += (f"class folders are sorted by name, not by number: folder {classes[odd]} is class {odd}",)
    return notes
