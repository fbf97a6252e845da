"""Data sets that claims make of others: both splits in one, shuffled labels, images of noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from foolscope import rng
from foolscope.data import DataSet
from foolscope.reproducing.whitening import fit, whitened
from foolscope.training.draws import derived

Opened = Callable[[str], DataSet]
LABELS, PIXELS = 0, 1  # draws
FEW = {"shuffled": 10_000, "noise": 2_500}  # images at most: as many as a small network learns by heart


def made(text: str, opened: Opened) -> DataSet | None:
    """The data set of a text such as ``shuffled/mnist:train``; None where the text names none that is made.

    Args:
        text: ``KIND/DATA``, with a kind from `KINDS`.
        opened: opens a DATA text.
    """
    kind, slash, data = text.partition("/")
    return KINDS[kind](data, opened) if slash and kind in KINDS else None


def joined(text: str, opened: Opened) -> DataSet:
    """The training images, then the test images."""
    first, second = opened(f"{text}:train"), opened(f"{text}:test")

    def read(positions: np.ndarray) -> Tensor:
        late = torch.from_numpy(positions >= len(first))
        images = torch.empty(len(positions), *first.shape)
        images[~late] = first.read(positions[~late.numpy()])
        images[late] = second.read(positions[late.numpy()] - len(first))
        return images

    return replace(first, name=f"{text}:train+test", labels=np.concatenate([first.labels, second.labels]), read=read)


def shuffled(text: str, opened: Opened) -> DataSet:
    """The first images, their labels dealt out anew: as many of each class, none with anything to do with its image."""
    data = opened(text)
    labels = data.labels[: FEW["shuffled"]]
    order = rng.uniform(0, torch.arange(len(labels)), LABELS, (), torch.float64).argsort(stable=True).numpy()
    return replace(data, name=f"{data.name}, labels shuffled", labels=labels[order])


def noise(text: str, opened: Opened) -> DataSet:
    """Images of as many independent pixels, uniform between 0 and 1 and others for every text, with the shuffled labels."""
    data, seed = shuffled(text, opened), derived(0, text)

    def read(positions: np.ndarray) -> Tensor:
        return rng.uniform(seed, torch.from_numpy(positions), PIXELS, data.shape)

    return replace(data, name=f"noise like {text}", labels=data.labels[: FEW["noise"]], read=read)


_fitted = lru_cache(maxsize=1)(fit)  # to the training images, which both splits are whitened by


def _whitened(text: str, opened: Opened) -> DataSet:
    return whitened(opened(text), *_fitted(opened(text.partition(":")[0] + ":train")))


KINDS: Mapping[str, Callable[[str, Opened], DataSet]] = MappingProxyType(
    {"joined": joined, "shuffled": shuffled, "noise": noise, "whitened": _whitened}
)
