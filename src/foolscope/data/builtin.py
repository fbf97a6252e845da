"""The data sets known by name: what they are, where they come from, how they are opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foolscope.data.dataset import Source
from foolscope.data.hub import fetch_split
from foolscope.data.parquet import choose_split, open_parquet, parquet_splits
from foolscope.errors import InputError


@dataclass(frozen=True)
class BuiltIn:
    """One row of the table.

    Attributes:
        what: one phrase.
        size: height x width, grey or RGB.
        splits: split -> number of images as published.
        source: who made it, or where it is kept.
        licence: as the source states it.
        hub: (repository, configuration) on the Hugging Face hub, None where it isn't fetched.
        lossless: whether the pixels were published without loss, so that a JPEG copy is worth a warning.
    """

    what: str
    size: str
    splits: Mapping[str, int]
    source: str
    licence: str
    hub: tuple[str, str] | None = None
    lossless: bool = True


BUILTIN: dict[str, BuiltIn] = {
    "digits": BuiltIn(
        "handwritten digits, bundled with scikit-learn",
        "8x8 grey",
        {"train": 1297, "test": 500},
        "UCI Optical Recognition of Handwritten Digits",
        "CC BY 4.0",
    ),
    "mnist": BuiltIn(
        "handwritten digits",
        "28x28 grey",
        {"train": 60_000, "test": 10_000},
        "hub: ylecun/mnist",
        "MIT",
        hub=("ylecun/mnist", "mnist"),
    ),
    "fashion_mnist": BuiltIn(
        "articles of clothing",
        "28x28 grey",
        {"train": 60_000, "test": 10_000},
        "hub: zalando-datasets/fashion_mnist",
        "MIT",
        hub=("zalando-datasets/fashion_mnist", "fashion_mnist"),
    ),
    "cifar10": BuiltIn(
        "small photographs, 10 classes",
        "32x32 RGB",
        {"train": 50_000, "test": 10_000},
        "hub: uoft-cs/cifar10",
        "none stated",
        hub=("uoft-cs/cifar10", "plain_text"),
    ),
    "svhn": BuiltIn(
        "house numbers, cropped digits",
        "32x32 RGB",
        {"train": 73_257, "test": 26_032, "extra": 531_131},
        "hub: ufldl-stanford/svhn",
        "non-commercial use",
        hub=("ufldl-stanford/svhn", "cropped_digits"),
    ),
    "cifar10_lossless": BuiltIn(
        "a part of CIFAR-10 in its original pixels",
        "32x32 RGB",
        {"train": 4000, "test": 300},
        "CIFAR-10",
        "none stated",
    ),
    "fashion_mnist_sample": BuiltIn(
        "a part of Fashion-MNIST's test split",
        "28x28 grey",
        {"test": 1000},
        "Fashion-MNIST",
        "MIT",
    ),
    "imagenet_sample": BuiltIn(
        "one ImageNet photograph a class",
        "256x256 RGB",
        {"validation": 1000},
        "EliSchwartz/imagenet-sample-images",
        "non-commercial research",
        lossless=False,
    ),
}


def listing() -> list[dict[str, str]]:
    """The table for ``foolscope data``: a row a data set, all text.

    Returns:
        Rows with the keys name, what, size, splits, source, licence and where (where it would be read from now).

    Example:
        >>> row = listing()[0]
        >>> row["name"], row["splits"], row["where"]
        ('digits', 'train 1,297, test 500', 'bundled')
    """
    return [
        {
            "name": name,
            "what": row.what,
            "size": row.size,
            "splits": ", ".join(f"{split} {count:,}" for split, count in row.splits.items()),
            "source": row.source,
            "licence": row.licence,
            "where": _where(name, row),
        }
        for name, row in BUILTIN.items()
    ]


def open_builtin(name: str, asked: str | None) -> tuple[str, Source]:
    """Open a built-in data set: bundled, else under ``$FOOLSCOPE_DATA``, else from the hub.

    Args:
        name: a key of ``BUILTIN``.
        asked: the split, None for test, else validation, else the only one.

    Returns:
        The split's name, and the opened source.

    Raises:
        InputError: no such split, or the files are neither there nor to be fetched.
    """
    row = BUILTIN[name]
    if name == "digits":
        split = choose_split(list(row.splits), asked, name)
        return split, _digits(split)
    folder = _local(name)
    if folder is not None:
        shards = parquet_splits(folder)
        if not shards:
            raise InputError("DATA", f"Parquet files in $FOOLSCOPE_DATA/{name}", None)
        split = choose_split(list(shards), asked, name)
        files = shards[split]
    elif row.hub is not None:
        split = choose_split(list(row.splits), asked, name)
        files = fetch_split(*row.hub, split)
    else:
        got = "no such folder" if os.environ.get("FOOLSCOPE_DATA") else "FOOLSCOPE_DATA is not set"
        raise InputError("DATA", f"a folder {name} with Parquet files under $FOOLSCOPE_DATA", got)
    source = open_parquet(files)
    return split, replace(source, notes=source.notes + _notes(name, row, split, asked, source))


def _digits(split: str) -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = slice(0, 1297) if split == "train" else slice(1297, None)
    images = (bunch.images[chosen, None] / 16).astype(np.float32)
    return Source(bunch.target[chosen], len(images), tuple("0123456789"), lambda positions: list(images[positions]))


def _local(name: str) -> Path | None:
    root = os.environ.get("FOOLSCOPE_DATA")
    folder = Path(root) / name if root else None
    return folder if folder is not None and folder.is_dir() else None


def _where(name: str, row: BuiltIn) -> str:
    if name == "digits":
        return "bundled"
    if _local(name) is not None:
        return f"$FOOLSCOPE_DATA/{name}"
    return "fetched from the hub" if row.hub else "not here: set $FOOLSCOPE_DATA"


def _notes(name: str, row: BuiltIn, split: str, asked: str | None, source: Source) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if row.lossless and source.encoding == "JPEG":
        notes += (f"a lossy JPEG copy of {name}: don't compare its numbers with published ones",)
    published = row.splits.get(split)
    if published is not None and source.count < published:
        notes += (f"only {source.count:,} of the {published:,} images of {name}:{split}",)
    if split == "train" and asked is None:
        notes += (f"{name} holds no test split here: these are training images, which a network may have seen",)
    return notes
