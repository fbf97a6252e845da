"""The exponents of many networks: of each one its fit, and of all of them the distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope.explaining.error_curve import conclude
from foolscope.explaining.exponent import LEVEL, REPLICATES, Floats, log_grid
from foolscope.intervals import wilson

EPS = log_grid(2.0**-11, 2.0**-3.5, 16)  # rising by the square root of 2; the fit ends where n^0.6 images have flipped
INSIDE = (0.9, 1.1)  # exponents of thousands of random architectures on MNIST, after Cubuk et al. 2017
BIN = 0.05  # of the histogram
WIDE = 2 * 1.959964  # of a normal's 95 % interval, in standard deviations


@dataclass(frozen=True)
class Distribution:
    """How the exponents of many networks are distributed.

    Attributes:
        fitted: networks with an exponent.
        median: of the exponents.
        interval: 95 %, of the median, by a bootstrap that draws architectures, whose networks are alike.
        inside: share of exponents from 0.9 to 1.1.
        inside_interval: Wilson's 95 %.
        deviation: standard deviation of the exponents.
        sampling: what it would be if all had one exponent and only the few flips of each fit made them differ.
    """

    fitted: int
    median: float
    interval: tuple[float, float]
    inside: float
    inside_interval: tuple[float, float]
    deviation: float
    sampling: float


def law_columns(right: npt.NDArray[np.bool_], flipped: npt.NDArray[np.bool_], seed: int = 0) -> dict[str, Floats]:
    """What is known of each network's exponent, `(k,)` a column; NaN where too few images flip for a fit.

    Args:
        right: which images each network gets right, `(k, n)`.
        flipped: which are flipped at which of `EPS`, `(k, n, m)`.
        seed: of the bootstraps.

    Returns:
        `clean_accuracy, exponent, low, high, flips, upper, goodness, returning`.
    """
    rows = [(float(own.mean()), *_law(flips[own], seed)) for own, flips in zip(right, flipped, strict=True)]
    names = ("clean_accuracy", "exponent", "low", "high", "flips", "upper", "goodness", "returning")
    return dict(zip(names, np.array(rows, np.float64).T, strict=True))


def histogram(exponent: Floats, kind: npt.ArrayLike, width: float = BIN) -> list[dict[str, Any]]:
    """How many networks of each kind have an exponent in each bin, from the lowest to the highest; a row a bin and kind.

    Example:
        >>> histogram(np.array([0.91, 0.93, 0.96, np.nan]), ["a", "a", "b", "b"])
        [{'exponent': 0.925, 'networks': 2, 'kind': 'a'}, {'exponent': 0.975, 'networks': 1, 'kind': 'b'}]
    """
    known = np.isfinite(exponent)
    bins = np.floor(exponent[known] / width + 1e-9).astype(int)
    names, counts = np.unique(np.rec.fromarrays([np.asarray(kind)[known].astype(str), bins]), return_counts=True)
    return [
        {"exponent": round((place + 0.5) * width, 6), "networks": int(many), "kind": str(name)}
        for (name, place), many in zip(names.tolist(), counts, strict=True)
    ]


def _law(flipped: npt.NDArray[np.bool_], seed: int) -> tuple[float, ...]:
    curve = conclude("fgsm", EPS, flipped, seed=seed) if len(flipped) else None
    if curve is None or curve.law is None:
        return (float("nan"),) * 7
    law = curve.law
    return law.exponent, *law.interval, law.events, law.upper, law.goodness, curve.returning


def distribution(
    exponent: Floats, low: Floats, high: Floats, architecture: npt.ArrayLike, seed: int = 0
) -> Distribution:
    """The distribution of exponents `(n,)` with their intervals' ends; NaN where there was no fit.

    Args:
        exponent, low, high: `(n,)`.
        architecture: which one each network has, `(n,)`.
        seed: of the bootstrap.

    Returns:
        NaN throughout where there is no exponent at all.

    Example:
        >>> b = np.array([0.95, 1.0, 1.05, 1.2])
        >>> found = distribution(b, b - 0.1, b + 0.1, [0, 0, 1, 1])
        >>> found.fitted, found.median, found.inside, found.interval
        (4, 1.025, 0.75, (0.975, 1.125))
    """
    known = np.isfinite(exponent)
    if not known.any():
        nan = float("nan")
        return Distribution(0, nan, (nan, nan), nan, (nan, nan), nan, nan)
    order = np.argsort(exponent[known])
    b, (_, of) = exponent[known][order], np.unique(np.asarray(architecture)[known][order], return_inverse=True)
    count = int(of.max()) + 1
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=REPLICATES)[:, of].cumsum(1)
    # Of each resample, in which an exponent stands as often as its architecture was drawn, the two in the middle.
    middle = [b[(2 * times > times[:, -1:] - odd).argmax(1)] for odd in (1, 0)]
    low_high = np.quantile(np.mean(middle, 0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    within = int(((b >= INSIDE[0]) & (b <= INSIDE[1])).sum())
    return Distribution(
        fitted=len(b),
        median=float(np.median(b)),
        interval=(float(low_high[0]), float(low_high[1])),
        inside=within / len(b),
        inside_interval=wilson(within, len(b)),
        deviation=float(b.std(ddof=1)) if len(b) > 1 else float("nan"),
        sampling=float(np.sqrt((((high - low)[known] / WIDE) ** 2).mean())),
    )
