"""The exponent of a distribution near zero, P(X <= t) ~ t^a, from its smallest values: estimate, bootstrap interval, goodness of fit.

Rule: the smallest tenth of the values is fitted; where a power law is rejected there (p below `REJECTED`), half as many, and so on, since a
power law near zero does not say how far it reaches; never fewer than `FEWEST`, else nothing is fitted. With t the k-th smallest, the
exponent is a = (k - 2) / sum_{i<k} ln(t / x_i), unbiased where the power law holds up to t (Hill 1975 turned towards zero; the range chosen
by goodness as in Clauset et al. 2009, arXiv:0706.1062).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHARE = 0.1
FEWEST = 30
REJECTED = 0.1
RESAMPLES = 1000
CELLS = 2**21  # numbers drawn at a time


@dataclass(frozen=True)
class Tail:
    """A fitted exponent.

    Attributes:
        exponent: a of P(X <= t) ~ t^a.
        interval: 95 %, by bootstrap.
        points: values that it was fitted to, k.
        share: of all values.
        until: t, the largest of them.
        goodness: p-value: how often a true power law would fit as badly as this (Kolmogorov-Smirnov, by simulation).
    """

    exponent: float
    interval: tuple[float, float]
    points: int
    share: float
    until: float
    goodness: float


def fit_tail(values: npt.ArrayLike, *, share: float | None = None, seed: int = 0) -> Tail | None:
    """Fits the exponent of P(X <= t) ~ t^a to the smallest values.

    Args:
        values: `(n,)`, not negative.
        share: of the values that is fitted; None: by the rule above.
        seed: of the bootstrap and of the goodness test.

    Returns:
        The fit, the last one tried where a power law is rejected in every range; None where fewer than `FEWEST` values are in the first,
        or ties leave no spread among them.

    Example:
        >>> planted = ((np.arange(10_000) + 0.5) / 10_000) ** (1 / 3)  # P(X <= t) = t^3
        >>> round(fit_tail(planted).exponent, 2)
        3.0
    """
    ordered = np.sort(np.asarray(values, np.float64))
    fit, part = None, SHARE if share is None else share
    while (found := _fitted(ordered, part, seed)) is not None:
        fit, part = found, part / 2
        if share is not None or fit.goodness >= REJECTED:
            break
    return fit


def _fitted(ordered: Floats, share: float, seed: int) -> Tail | None:
    """The fit to this share of the values."""
    k = round(share * len(ordered))
    if k < FEWEST or not 0 < ordered[k // 2] < ordered[k - 1] < np.inf:
        return None
    # Zeros (ties of logits) have no logarithm; they count as the smallest positive value.
    logs = np.log(np.maximum(ordered, ordered[ordered > 0][0]))
    draws = np.random.default_rng(seed)
    low, high = np.quantile(_resampled(logs, k, draws), (0.025, 0.975))
    return Tail(
        exponent=float((k - 2) / (logs[k - 1] - logs[: k - 1]).sum()),
        interval=(float(low), float(high)),
        points=k,
        share=k / len(ordered),
        until=float(ordered[k - 1]),
        goodness=_goodness(logs[k - 1] - logs[: k - 1], draws),
    )


def _resampled(logs: Floats, k: int, draws: np.random.Generator) -> Floats:
    """The exponent in each of `RESAMPLES` resamples: every value counts a Poisson(1) number of times, and the k smallest are fitted."""
    reach = min(len(logs), k + 8 * int(k**0.5) + 50)  # the k smallest of a resample lie within

    def exponents(count: int) -> Floats:
        counted = draws.poisson(1.0, (count, reach)).cumsum(1).clip(max=k)
        weight = np.diff(counted, axis=1, prepend=0)
        last = logs[np.argmax(counted, axis=1)]  # where the count first reaches its end
        total = counted[:, -1]
        return np.asarray((total - 2) / np.maximum(total * last - weight @ logs[:reach], np.finfo(float).tiny))

    return _by_blocks(exponents, reach)


def _goodness(excess: Floats, draws: np.random.Generator) -> float:
    """The p-value of `excess` being exponential with its own mean: Lilliefors' test, its null by simulation."""
    null = _by_blocks(lambda count: _discrepancy(draws.exponential(size=(count, len(excess)))), len(excess))
    return float((1 + (null >= _discrepancy(excess[None])).sum()) / (1 + RESAMPLES))


def _by_blocks(simulated: Callable[[int], Floats], width: int) -> Floats:
    """What `simulated` makes of `RESAMPLES` rows of this width, as many at a time as `CELLS` allows: the same draws, in bounded memory."""
    at_once = max(1, CELLS // width)
    return np.concatenate([simulated(min(at_once, RESAMPLES - first)) for first in range(0, RESAMPLES, at_once)])


def _discrepancy(excess: Floats) -> Floats:
    """Kolmogorov's distance of each row from the exponential distribution with the row's mean, `(r,)`."""
    n = excess.shape[1]
    model = 1 - np.exp(-np.sort(excess, axis=1) / excess.mean(1, keepdims=True))
    steps = np.arange(n + 1) / n
    return np.asarray(np.maximum(steps[1:] - model, model - steps[:-1]).max(1))
