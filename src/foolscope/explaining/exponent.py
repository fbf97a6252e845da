"""A power law through the first part of a curve: exponent, interval and goodness from counts on a log-spaced grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foolscope.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEWEST = 20  # events in the range; with fewer the interval spans more than a factor of 2.5, and holds too often
SHARE = 0.6  # the range ends where n^SHARE events have happened
REPLICATES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """P(e <= eps) = amplitude * eps^exponent for eps up to `upper`.

    Attributes:
        exponent: B.
        interval: 95 %, by the bootstrap.
        amplitude: A, in units of eps to the power of -B.
        lower, upper: the range of eps that was fitted.
        events: how many happened in the range.
        n: out of how many.
        goodness: the share of samples of the fitted law that lie further from it than the data; below 0.05 the curve is no power law.
    """

    exponent: float
    interval: tuple[float, float]
    amplitude: float
    lower: float
    upper: float
    events: int
    n: int
    goodness: float

    def __call__(self, eps: npt.ArrayLike) -> Floats:
        """The fitted law at these eps."""
        return np.asarray(self.amplitude * np.asarray(eps, np.float64) ** self.exponent)


def fit_power_law(
    eps: npt.ArrayLike, counts: npt.ArrayLike, n: int, *, seed: int = 0, replicates: int = REPLICATES
) -> PowerLaw | None:
    """The power law of small eps, by maximum likelihood from how many of n images flip first at each eps of a log-spaced grid.

    With N_j images flipped by grid point j, a power law multiplies N by the same factor 1/q from each point to the next; the likelihood
    of the counts (a geometric distribution, censored at the first point) is largest at
    ``q = (N_1 + ... + N_{J-1}) / (N_2 + ... + N_J)``, and ``B = -log q / log(eps_2 / eps_1)``.

    The range: J is the last grid point by which at most n^0.6 images have flipped. A curve that starts as a power law leaves it in
    proportion to N / n, while the exponent's standard error falls as N^(-1/2): n^(2/3) would balance the two, and below that the bias
    vanishes beside the standard error, as an interval needs.

    The interval: images are drawn anew, the range is chosen and the exponent fitted anew, and the distribution of ``log B* - log B``
    is turned around. What was tried instead, and how often each contains the true exponent: docs/decisions/0045.

    Args:
        eps: the grid `(m,)`, rising by a constant factor.
        counts: `(m,)`: images whose first flip lies at each grid point, that is in (eps_{j-1}, eps_j]; the first: in (0, eps_1].
        n: images in all.
        seed: of the bootstrap.
        replicates: of the bootstrap, and of the test of goodness.

    Returns:
        The law; None where fewer than `FEWEST` images flip in the range beyond the first grid point, or the range has less than three.

    Raises:
        InputError: a grid that is not log-spaced, or counts that don't fit.

    Example:
        >>> eps = 2.0 ** np.arange(-8, 0)
        >>> counts = np.diff(10_000 * eps, prepend=0).round().astype(int)  # the share flipped is eps itself
        >>> law = fit_power_law(eps, counts, 10_000)
        >>> round(law.exponent, 2), law.upper, law.events, law.goodness > 0.5
        (1.0, 0.015625, 156, True)

    References:
        Cubuk, Zoph, Schoenholz & Le 2017, arXiv:1711.02846 (the law); Hill 1975, Ann. Stat. 3, 1163 (the estimator without a grid);
        Hall 1982, J. R. Stat. Soc. B 44, 37 (the number of events).
    """
    grid, seen = np.asarray(eps, np.float64), np.asarray(counts, np.int64)
    factor = _checked(grid, seen, n)
    first, last, events = (a[0] for a in _range(seen[None], n))
    exponent = _exponent(seen[None], n, factor)[0]
    if events - seen[0] < FEWEST or last < 2 or not np.isfinite(exponent):
        return None
    draw = np.random.default_rng(seed)
    shares = np.append(seen, n - seen.sum()) / n
    again = _exponent(draw.multinomial(n, shares, size=replicates)[:, :-1], n, factor)
    low, high = np.quantile(again[np.isfinite(again) & (again > 0)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    upper = float(grid[last])
    return PowerLaw(
        exponent=float(exponent),
        interval=(float(exponent**2 / high), float(exponent**2 / low)),
        amplitude=float(events / n / upper**exponent),
        lower=float(grid[first]),
        upper=upper,
        events=int(events),
        n=n,
        goodness=_goodness(seen[: last + 1], factor, draw, replicates),
    )


def log_grid(lowest: float, highest: float, points: int) -> Floats:
    """`points` values from `lowest` to `highest`, rising by a constant factor.

    Example:
        >>> log_grid(0.001, 1.0, 4).round(4).tolist()
        [0.001, 0.01, 0.1, 1.0]
    """
    return np.geomspace(lowest, highest, points)


def _range(counts: Ints, n: int) -> tuple[Ints, Ints, Ints]:
    """Of each row of counts `(r, m)`: the first grid point with an event, the last of the range, and the events up to there."""
    flipped = counts.cumsum(1)
    points = (flipped <= n**SHARE).sum(1)
    last = np.maximum(points - 1, 0)
    events = np.where(points > 0, np.take_along_axis(flipped, last[:, None], 1)[:, 0], 0)
    return (counts > 0).argmax(1), last, events


def _exponent(counts: Ints, n: int, factor: float) -> Floats:
    """The maximum-likelihood exponent of each row of counts `(r, m)`; infinite or NaN where there are too few."""
    flipped = counts.cumsum(1)
    _, last, events = _range(counts, n)
    within = np.where(np.arange(counts.shape[1]) <= last[:, None], flipped, 0)
    total = within.sum(1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log((total - within[:, 0]) / (total - events)) / np.log(factor))


def _goodness(counts: Ints, factor: float, draw: np.random.Generator, replicates: int) -> float:
    """The share of samples from the fitted law whose likelihood ratio against free shares is at least that of `counts` `(m,)`."""
    samples = draw.multinomial(counts.sum(), _shares(counts[None])[0], size=replicates)
    return float((_deviance(samples) >= _deviance(counts[None])[0] - 1e-9).mean())


def _shares(counts: Ints) -> Floats:
    """The share of each bin under the law fitted to each row of counts `(r, m)`, given the row's sum."""
    flipped = counts.cumsum(1).astype(np.float64)
    q = flipped[:, :-1].sum(1, keepdims=True) / flipped[:, 1:].sum(1, keepdims=True)
    below = q ** np.arange(counts.shape[1] - 1, -1, -1)
    return np.diff(below, axis=1, prepend=0)


def _deviance(counts: Ints) -> Floats:
    """Twice the log-likelihood ratio of free shares to the fitted law's, of each row `(r, m)`."""
    expected = _shares(counts) * counts.sum(1, keepdims=True)
    ratio = np.where(counts > 0, counts, 1) / np.where(counts > 0, expected, 1)
    return np.asarray(2 * (counts * np.log(ratio)).sum(1))


def _checked(eps: Floats, counts: Ints, n: int) -> float:
    """The grid's factor."""
    if eps.ndim != 1 or len(eps) < 3 or not (eps > 0).all() or not np.isfinite(eps).all():
        raise InputError("eps", "at least three positive numbers", f"shape {eps.shape}")
    steps = np.diff(np.log(eps))
    if steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-6):
        raise InputError("eps", "a grid that rises by a constant factor", np.exp(steps).round(6).tolist())
    if counts.shape != eps.shape or (counts < 0).any() or counts.sum() > n:
        raise InputError("counts", f"{len(eps)} counts with a sum of at most {n}", counts.tolist())
    return float(np.exp(steps[0]))
