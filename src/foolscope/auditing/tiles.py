"""The pictures an audit hands to its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.floating[Any]]  # (C, H, W), values in [0, 1]


@dataclass(frozen=True)
class Shot:
    """One image attacked within one eps.

    Attributes:
        eps: the radius allowed, in input units of the audited norm.
        adversarial: the attacked image `(C, H, W)`, scaled to [0, 1] for display.
        prediction: the class the model gives it.
        confidence: the softmax probability of that class, in [0, 1].
        fooled: whether that class is wrong.
        distance: how far it lies from the original, in input units of the audited norm.
    """

    eps: float
    adversarial: Image
    prediction: int
    confidence: float
    fooled: bool
    distance: float


@dataclass(frozen=True)
class Tile:
    """One image of the gallery and its attacked versions.

    Attributes:
        index: its place in the data set.
        label: its true class.
        image: the original `(C, H, W)`, scaled to [0, 1] for display.
        prediction: the class the model gives the original.
        confidence: the softmax probability of that class, in [0, 1].
        why: why it is shown, in words ("smallest distance").
        shots: one for each eps of the selector.
    """

    index: int
    label: int
    image: Image
    prediction: int
    confidence: float
    why: str
    shots: tuple[Shot, ...]
