"""The whole robustness curve from distances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

POINTS = 100  # of the curve, between 0 and the largest distance found


def curve_of(
    correct: npt.NDArray[np.bool_], distance: npt.NDArray[np.float64], eps: float | None
) -> dict[str, list[float]]:
    """Robust accuracy at every radius: the share of images that are right and not fooled within it.

    Args:
        correct: right when clean, `(n,)`.
        distance: of the nearest fooling image, `(n,)`; infinite where none is known.
        eps: a radius that must be a point of the curve.

    Returns:
        `eps` from 0 to a little beyond the distances of 99 % of the images and to 2 eps at least, rising, and `robust_accuracy`
        there.
    """
    known = distance[correct & np.isfinite(distance)]
    furthest = max(float(known.max(initial=0.0)) * 1.05, 2 * (eps or 0.0)) or 1.0
    if eps is not None and len(known):
        furthest = min(
            furthest, max(2 * eps, float(np.quantile(known, 0.99)) * 1.2)
        )  # one stubborn image must not flatten the rest
    radii = np.unique(np.concatenate([np.linspace(0, furthest, POINTS), [] if eps is None else [eps]]))
    standing = np.sort(np.where(correct, distance, -1.0))
    above = len(standing) - np.searchsorted(standing, radii, side="right")
    return {"eps": radii.tolist(), "robust_accuracy": (above / len(standing)).tolist()}
