"""The columns of `samples.parquet` as arrays, whatever shape they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope.ledger import median_of

Column = npt.NDArray[Any] | Sequence[Any]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """One entry an image; classes are -1 and floats NaN where there is none.

    Attributes:
        outcome: `fooled`, `resisted` or `already_wrong`.
        adversarial: the class of the nearest adversarial image found, be it within eps or not.
        mistaken: the wrong class: that of the adversarial image of a fooled one, the clean prediction of one already wrong, else -1.
        distance: of the smallest adversarial perturbation found, in the audited norm.
    """

    index: Integers
    label: Integers
    outcome: npt.NDArray[np.str_]
    adversarial: Integers
    mistaken: Integers
    confidence: Floats
    distance: Floats
    attack: tuple[str, ...]
    survives: tuple[bool | None, ...]

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Right before any attack."""
        return np.asarray(self.outcome != "already_wrong")

    @property
    def fooled(self) -> npt.NDArray[np.bool_]:
        """Right before, wrong within eps."""
        return np.asarray(self.outcome == "fooled")


def read_samples(columns: Mapping[str, Column], norm: str) -> Samples:
    """The columns a report needs, from the file or from the arrays it is written from (where NaN, -1 and "" stand for null)."""
    outcome = np.array([str(value) for value in _list(columns["outcome"])], dtype=np.str_)
    clean, adversarial = _integers(columns["clean_prediction"]), _integers(columns["adversarial_prediction"])
    mistaken = np.where(outcome == "already_wrong", clean, np.where(outcome == "fooled", adversarial, -1))
    return Samples(
        index=_integers(columns["index"]),
        label=_integers(columns["label"]),
        outcome=outcome,
        adversarial=adversarial,
        mistaken=mistaken,
        confidence=_floats(columns["confidence"]),
        distance=_floats(columns[f"distance_{norm}"]),
        attack=tuple(str(value or "") for value in _list(columns["attack"])),
        survives=tuple(
            None if value is None or value < 0 else bool(value) for value in _list(columns["survives_8bit"])
        ),
    )


def median_distance(distances: Floats) -> float | None:
    """The median with images never fooled (NaN) counted as infinitely far; None if that is where the median lies."""
    if not distances.size:
        return None
    median = median_of(np.where(np.isnan(distances), np.inf, distances))
    return median if np.isfinite(median) else None


def _list(column: Column) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def _floats(column: Column) -> Floats:
    floats = np.array([np.nan if value is None else value for value in _list(column)], dtype=np.float64)
    return np.where(np.isfinite(floats), floats, np.nan)


def _integers(column: Column) -> Integers:
    floats = _floats(column)
    return np.where(np.isnan(floats), -1, floats).astype(np.int64)
