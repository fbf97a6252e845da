"""How good minimal distances are: local and global optimality as AttackBench defines them, from exact rectangles.

References:
    Cinà et al. 2025, arXiv:2404.19460 (AttackBench), sec. 3. The published implementation joined the points of the curve by straight lines,
    which credits an attack that never succeeds with about 0.6; here the curve is the step function that it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def reference(distances: Sequence[Floats]) -> Floats:
    """The best of all attacks, image by image.

    Args:
        distances: for each attack `(n,)`: the smallest size of a fooling perturbation; 0 where the clean image is misclassified, inf
            where none was found.

    Returns:
        `(n,)`.
    """
    best: Floats = np.min([np.asarray(d, np.float64) for d in distances], axis=0)
    return best


def local_optimality(distance: Floats, best: Floats) -> float:
    """How much of the robustness that the reference takes away an attack takes away too: 1 as good as the reference, 0 nothing.

    With AUC(d) the area under the robust-accuracy curve up to eps0, the reference's largest finite distance: the area of a survival curve
    is a mean, ``AUC(d) = mean(min(d, eps0))``, so ``LO = (rho0 * eps0 - AUC(d)) / (rho0 * eps0 - AUC(best))``.

    Args:
        distance: `(n,)`, of the attack.
        best: `(n,)`, of the reference.

    Returns:
        A number in [0, 1]; NaN where the reference fools no image that is right when clean.

    Example:
        >>> import numpy as np
        >>> best = np.array([0.0, 1.0, 2.0, 4.0])  # the first image is misclassified as it is
        >>> local_optimality(best, best), local_optimality(np.array([0.0, np.inf, np.inf, np.inf]), best)
        (1.0, 0.0)
        >>> local_optimality(np.array([0.0, 2.0, 2.0, 4.0]), best)  # areas, times 4: 12 - 8 and 12 - 7
        0.8
    """
    distance, best = np.asarray(distance, np.float64), np.asarray(best, np.float64)
    finite = best[np.isfinite(best)]
    eps0 = float(finite.max()) if len(finite) else 0.0
    if eps0 == 0:
        return float("nan")
    whole = float((best > 0).mean()) * eps0
    taken = whole - float(np.minimum(distance, eps0).mean())
    return taken / (whole - float(np.minimum(best, eps0).mean()))


def median(distance: Floats) -> float:
    """The median over images that are right when clean; inf if more than half of them were never fooled, NaN if there are none."""
    right = np.sort(np.asarray(distance, np.float64)[np.asarray(distance) > 0])
    if not len(right):
        return float("nan")
    low, high = right[(len(right) - 1) // 2], right[len(right) // 2]
    return float(low if low == high else (low + high) / 2)


def success(distance: Floats) -> float:
    """The share of images that are right when clean and were fooled at whatever distance."""
    right = np.asarray(distance)[np.asarray(distance) > 0]
    return float(np.isfinite(right).mean()) if len(right) else float("nan")
