"""Numbers that several explanations end with: a median with its interval, a share with its interval, a rank correlation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]


def median_interval(values: npt.ArrayLike) -> tuple[float, Interval] | None:
    """The median and its 95 % interval by order statistics, which assumes nothing of the distribution; values may be infinite.

    Returns:
        None where there are fewer than 6 values (no order statistics enclose the median that surely), or the median or an end is infinite.

    Example:
        >>> median_interval([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
        (6.0, (2.0, 10.0))
    """
    from scipy.stats import binom

    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    if n < 6:
        return None
    below = int(binom.ppf(0.025, n, 0.5))  # P(fewer than this many lie below the median) <= 2.5 %
    middle, low, high = (float(v) for v in (np.median(ordered), ordered[below - 1], ordered[n - below]))
    return (middle, (low, high)) if np.isfinite([middle, low, high]).all() else None


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> float | None:
    """Spearman's; infinite values rank last, together. None where one of the two does not vary.

    Example:
        >>> rank_correlation([1, 2, 3, np.inf], [1, 4, 9, 16])
        1.0
    """
    from scipy.stats import rankdata

    ranks = [rankdata(np.asarray(values, np.float64)) for values in (one, other)]
    if any(len(r) < 3 or r.std() == 0 for r in ranks):
        return None
    return float(np.round(np.corrcoef(*ranks)[0, 1], 12))


def listed(values: Iterable[float]) -> list[float | None]:
    """Numbers for a record, in six digits; what is not finite is None.

    Example:
        >>> listed([0.12345678, np.inf])
        [0.123457, None]
    """
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in map(float, values)]
