"""CIFAR-10 as Goodfellow et al. had it: global contrast normalisation and ZCA whitening, fitted on the training images (pylearn2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from foolscope.data import DataSet

SCALE = 55.0  # every image's norm after contrast normalisation
BIAS = 0.1  # added to the variances before their roots are divided by
BATCH = 1000


def normalised(images: Tensor) -> Tensor:
    """Each image minus its mean, brought to the norm `SCALE`: `(b, ...)`, from pixels in [0, 1].

    Example:
        >>> x = normalised(torch.rand(2, 3, 4, 4))
        >>> torch.allclose(x.flatten(1).norm(dim=1), torch.tensor(55.0)), bool((x.flatten(1).mean(1).abs() < 1e-4).all())
        (True, True)
    """
    flat = images.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    found: Tensor = (SCALE * centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-8)).view_as(images)
    return found


def fit(data: DataSet) -> tuple[Tensor, Tensor]:
    """Mean `(d,)` and whitening matrix `(d, d)` of contrast-normalised images: ``V diag((lambda + BIAS)^-1/2) V^T`` of their covariance."""
    size = int(np.prod(data.shape))
    total, product, n = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64), len(data)
    for x in _normalised(data):
        total += x.sum(0)
        product += x.T @ x
    mean = total / n
    values, vectors = torch.linalg.eigh(product / n - torch.outer(mean, mean))
    return mean, (vectors * (values.clamp_min(0) + BIAS).rsqrt()) @ vectors.T


def whitened(data: DataSet, mean: Tensor, matrix: Tensor) -> DataSet:
    """The data set as the network sees it; about one standard deviation of 0.5 a component."""
    mean, matrix = mean.float(), matrix.float()

    def read(positions: np.ndarray) -> Tensor:
        x = normalised(data.read(positions))
        return ((x.flatten(1) - mean) @ matrix).view_as(x)

    return replace(data, name=f"{data.name}, whitened", read=read)


def _normalised(data: DataSet) -> Iterator[Tensor]:
    for first in range(0, len(data), BATCH):
        places = np.arange(first, min(first + BATCH, len(data)))
        yield normalised(data.read(places)).flatten(1).double()
