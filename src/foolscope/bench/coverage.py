"""How often the interval of a power law's exponent contains the true one, on planted data: `python -m foolscope.bench.coverage [TRIALS]`.

Prints Markdown: a row a planted law and number of images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foolscope.explaining.error_curve import HANDFUL, MOST, POINTS
from foolscope.explaining.exponent import Floats, fit_power_law, log_grid

REPLICATES = 600

# What becomes of a uniform number u: e^B where e is the image's flip, so that P(e <= eps) starts as eps^B.
PLANTED: dict[str, Callable[[Floats], Floats]] = {
    "eps^B": lambda u: u,
    "1 - exp(-eps^B)": lambda u: -np.log1p(-u),
    "eps^B / (1 + eps^B)": lambda u: u / (1 - u),
}
EXPONENT = 1.2  # any other gives the same table: the grid's ends are counts of flips, so that eps^c changes nothing but the unit of log eps
IMAGES = (200, 500, 2000, 10_000)


@dataclass(frozen=True)
class Coverage:
    """What the fits to many samples of one planted law came to.

    Attributes:
        covered: share of the intervals that contain the planted exponent.
        bias: mean of the fitted exponent over the planted one, less 1.
        events: flips in the fitted range, on average.
        rejected: share with a goodness below 0.05.
        unfitted: share with too few flips to fit.
        trials: samples.
    """

    covered: float
    bias: float
    events: float
    rejected: float
    unfitted: float
    trials: int


def coverage(planted: str, exponent: float, n: int, *, trials: int, seed: int = 0) -> Coverage:
    """Fits a power law to `trials` samples of n flips under the planted law, on the grid that `ray_curve` would take."""
    draw = np.random.default_rng(seed)
    laws = []
    for trial in range(trials):
        flips = np.sort(PLANTED[planted](draw.random(n)) ** (1 / exponent))
        grid = log_grid(flips[HANDFUL - 1], flips[int(MOST * n)], POINTS)
        counts = np.diff(np.searchsorted(flips, grid * (1 + 1e-12), side="right"), prepend=0)
        laws.append(fit_power_law(grid, counts, n, seed=trial, replicates=REPLICATES))
    fitted = [law for law in laws if law]
    return Coverage(
        covered=float(np.mean([law.interval[0] <= exponent <= law.interval[1] for law in fitted])),
        bias=float(np.mean([law.exponent for law in fitted]) / exponent - 1),
        events=float(np.mean([law.events for law in fitted])),
        rejected=float(np.mean([law.goodness < 0.05 for law in fitted])),
        unfitted=1 - len(fitted) / trials,
        trials=trials,
    )


def main(trials: int = 4000) -> None:
    """Prints the table."""
    print(
        "| planted P(e <= eps) | B | n | flips fitted | coverage | bias of B | p < 0.05 | not fitted |\n|" + "---|" * 8
    )
    for planted in PLANTED:
        for n in IMAGES:
            row = coverage(planted, EXPONENT, n, trials=trials, seed=n)
            print(
                f"| {planted} | {EXPONENT} | {n:,} | {row.events:.0f} | {row.covered:.1%} | {row.bias:+.1%} | {row.rejected:.1%} "
                f"| {row.unfitted:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
