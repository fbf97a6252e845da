"""The gaps of independent uniform logits: in closed form and by samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from foolscope import rng

CHUNK = 250_000  # samples at a time
NODES = 20_000  # of the integral


def expected_exponent(rank: int, classes: int, share: float) -> float:
    """The exponent of the density that `fit_tail` gives for independent uniform logits with endless samples.

    The gap of rank j among N logits is Beta(j - 1, N - j + 2). At the limit of a small share the exponent is j - 2.

    Args:
        rank: j, from 2.
        classes: N.
        share: of the gaps that is fitted.

    Example:
        >>> round(expected_exponent(5, 10, 1e-6), 1), round(expected_exponent(5, 10, 0.1), 2)
        (3.0, 2.24)
    """
    from scipy.stats import beta

    inner = beta(rank - 1, classes - rank + 2)
    below = share * (np.arange(NODES) + 0.5) / NODES
    return float(1 / np.log(inner.ppf(share) / inner.ppf(below)).mean() - 1)


def uniform_gaps(samples: int, classes: int = 10, *, seed: int = 0, share: float = 1e-4) -> npt.NDArray[np.float64]:
    """The smallest gaps of each rank among `samples` draws of independent uniform logits, chunk by chunk.

    Args:
        samples: draws, 5,000,000 in the paper's figure.
        classes: N.
        seed: of the draws.
        share: of the gaps that is kept.

    Returns:
        `(round(share * samples), classes - 1)`, each column rising: the smallest gaps of rank 2, 3, ...

    References:
        Cubuk et al. 2017, arXiv:1711.02846, fig. 4b.
    """
    keep = round(share * samples)
    best = torch.full((keep, classes - 1), torch.inf, dtype=torch.float64)
    for first in range(0, samples, CHUNK):
        index = torch.arange(first, min(samples, first + CHUNK))
        # Two draws of 23 bits: the smallest of millions of gaps are closer than one resolves.
        logits = rng.uniform(seed, index, 0, (classes,), torch.float64)
        logits += 2.0**-23 * (rng.uniform(seed, index, 1, (classes,), torch.float64) - 0.5)
        ordered = logits.sort(1, descending=True).values
        gaps = torch.cat([best, ordered[:, :1] - ordered[:, 1:]])
        best = gaps.topk(keep, dim=0, largest=False, sorted=True).values
    return np.asarray(best.numpy())
