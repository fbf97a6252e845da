"""How the gaps between the largest logit and the others are distributed near zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foolscope.explaining.explanation import Explanation
from foolscope.explaining.reference_gaps import expected_exponent
from foolscope.explaining.scene import Scene
from foolscope.explaining.tail import FEWEST, REJECTED, SHARE, fit_tail

RANKS = 6  # up to this rank
POINTS = 60  # of a curve
METHOD = (
    "Cubuk et al. 2017 (arXiv:1711.02846): the logits of each image that is right when clean, sorted by size, h1 >= h2 >= ...; "
    "the gap of rank j is h1 - hj, and its density near zero goes as a power of the gap. The exponent b of the density is fitted by "
    f"maximum likelihood (the share of gaps up to t goes as t^(b + 1)) to the smallest {SHARE:.0%} of the gaps, or where a power law is "
    f"rejected there (p below {REJECTED:g}), to half as many, and so on; never to fewer than {FEWEST}, else nothing is fitted. Interval by "
    "1,000 bootstrap resamples of the images; goodness by Kolmogorov-Smirnov with its null simulated. The reference is independent "
    "uniform logits, whose gap of rank j among N classes is distributed as Beta(j - 1, N - j + 2), over the same share; at the limit "
    "of small gaps its exponent is j - 2."
)


def explain(scene: Scene) -> Explanation:
    """P(h1 - hj) near zero: its exponent for each rank, beside that of independent logits.

    A flat density of h1 - h2 (exponent 0) makes the adversarial error of a small perturbation proportional to its size.

    References:
        Cubuk et al. 2017, arXiv:1711.02846, sec. on logit differences and fig. 4.
    """
    gaps = sorted_gaps(scene.logits)
    return conclude(gaps, scene.logits.shape[1], scene.case.seed)


def sorted_gaps(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """h1 - hj for j = 2 ..., `(n, c - 1)`, of rows whose logits are all finite.

    Example:
        >>> sorted_gaps([[1.0, 4.0, 3.5]])
        array([[0.5, 3. ]])
    """
    values = np.asarray(logits, np.float64)
    ordered = -np.sort(-values[np.isfinite(values).all(1)], axis=1)
    return np.asarray(ordered[:, :1] - ordered[:, 1:])


def conclude(gaps: npt.NDArray[np.float64], classes: int, seed: int = 0) -> Explanation:
    """The fits of these gaps, `(n, classes - 1)`."""
    n, ranks = len(gaps), []
    for rank in range(2, min(RANKS, classes) + 1):
        gap = gaps[:, rank - 2]
        fit = fit_tail(gap, seed=seed)
        row: dict[str, Any] = {"rank": rank, "limit": rank - 2}
        if fit is not None:
            row |= {
                "exponent": fit.exponent - 1,
                "interval": [end - 1 for end in fit.interval],
                "points": fit.points,
                "fitted_share": fit.share,
                "reference": expected_exponent(rank, classes, fit.share),
                "until": fit.until,
                "goodness": fit.goodness,
            }
        ranks.append(row | _curve(gap))
    first = ranks[0]
    estimate = first.get("exponent")
    return Explanation(
        finding=_finding(ranks, n),
        estimate=estimate,
        interval=None if estimate is None else (first["interval"][0], first["interval"][1]),
        n=n,
        cost=0.0,
        method=METHOD,
        series={"ranks": ranks, "classes": classes},
    )


def _finding(ranks: list[dict[str, Any]], n: int) -> str:
    first, fitted = ranks[0], [row for row in ranks[1:] if "exponent" in row]
    if "exponent" not in first:
        return (
            f"Too few images to fit: the smallest {SHARE:.0%} of {n:,} gaps are fewer than the {FEWEST} that a fit takes, "
            "or equal to each other."
        )
    low, high = first["interval"]
    flat = low <= 0 <= high
    told = "that cannot be told from flat" if flat else "that is not flat"
    said = (
        f"The gap between the two largest logits has a density near zero {told}: exponent {first['exponent']:.2f} "
        f"(95% interval {low:.2f} to {high:.2f}), {_fits(first)}. Where it is flat, the share of images within reach of a small "
        "perturbation grows in proportion to its size."
    )
    if fitted:
        listed = ", ".join(f"{row['exponent']:.2f} (rank {row['rank']})" for row in fitted)
        said += f" Exponents of the lower ranks: {listed}; independent logits would give " + (
            ", ".join(f"{row['reference']:.2f}" for row in fitted) + " over the same shares."
        )
    return said


def _fits(row: dict[str, Any]) -> str:
    kind = "a good fit" if row["goodness"] >= REJECTED else "though no range is well fitted by a power"
    return f"fitted to the smallest {row['points']} gaps, {row['fitted_share']:.2g} of all, {kind} (p = {row['goodness']:.2g})"


def _curve(gap: npt.NDArray[np.float64]) -> dict[str, list[float]]:
    """The share of gaps up to t, at `POINTS` of them evenly spread in logarithm of the share."""
    ordered = np.sort(gap)
    places = (
        np.unique(np.geomspace(1, len(ordered), POINTS).round().astype(int)) - 1 if len(ordered) else np.zeros(0, int)
    )
    places = places[ordered[places] > 0]
    return {"gap": ordered[places].tolist(), "share": ((places + 1) / len(ordered)).tolist()}
