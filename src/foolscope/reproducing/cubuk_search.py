"""Document 000, random architectures: the exponents of FGSM's adversarial error of many networks (C4)."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from foolscope.explaining.exponent import Floats
from foolscope.explaining.statistics import rank_correlation
from foolscope.reproducing.claim import Claim, NotRun, Outcome, Rule, at_least, between
from foolscope.reproducing.cubuk import DOCUMENT, PAPER
from foolscope.reproducing.lab import Lab
from foolscope.search import Search, random_architectures
from foolscope.search.architectures import KINDS
from foolscope.search.exponents import INSIDE, histogram
from foolscope.training.draws import derived

FOLDER = "searches"  # in the cache


def random_exponents(lab: Lab) -> Outcome:
    """Trains networks of random architectures, attacks each with FGSM, and looks at the exponents."""
    settings: dict[str, Any] = {
        "count": lab.at(small=120, paper=4000, tiny=8),
        "together": lab.at(small=2, paper=16, tiny=2),
        "widest": lab.at(small=500, paper=2000, tiny=50),
        "channels": lab.at(small=4, paper=16, tiny=4),
        "epochs": lab.at(small=2, paper=10, tiny=10),
    }
    address = f"{derived(0, lab.scale, lab.device, json.dumps(settings)):016x}"
    begun = time.perf_counter()
    found = random_architectures(
        lab.open("mnist:train"),
        lab.open("mnist:test"),
        **settings,
        device=lab.device,
        out=lab.cache / FOLDER / address,
        overwrite=True,
        progress=lab.progress,
    )
    lab.waited.append(time.perf_counter() - begun)
    lab.seconds[address] = float(_column(found, "seconds").sum())
    return _outcome(found, settings)


def _outcome(found: Search, settings: dict[str, Any]) -> Outcome:
    whole, kind = found.distribution, found.networks["kind"]
    exponent, low, high = (_column(found, name) for name in ("exponent", "low", "high"))
    fitted = np.isfinite(exponent)
    if not fitted.any():
        raise NotRun(f"too few images flip under FGSM to fit any of {len(found)} networks")
    values = {
        "median": whole.median,
        "share_inside": whole.inside,
        "share_whose_interval_meets": float(((low <= INSIDE[1]) & (high >= INSIDE[0]))[fitted].mean()),
        "deviation": whole.deviation,
        "deviation_by_sampling": whole.sampling,
        "lowest": float(np.nanmin(exponent)),
        "highest": float(np.nanmax(exponent)),
        "rejected": float((_column(found, "goodness")[fitted] < 0.05).mean()),
        "lowest_clean_accuracy": float(_column(found, "clean_accuracy").min()),
    } | {
        f"median_{name.replace(' ', '_')}": float(np.median(exponent[fitted & (kind == name)]))
        for name in KINDS
        if (fitted & (kind == name)).any()
    }
    upper, flips = _column(found, "upper")[fitted], _column(found, "flips")[fitted]
    return Outcome(
        values,
        n=whole.fitted,
        interval={"median": whole.interval, "share_inside": whole.inside_interval},
        substituted=(
            f"{settings['count']} networks for thousands: {len(set(found.networks['architecture'].tolist()))} architectures drawn, "
            f"{settings['together']} networks of each with weights, dropout rate and masks of their own; hidden layers of at most "
            f"{settings['widest']} units, first convolutions of at most "
            f"{settings['channels']} channels; Adam, {settings['epochs']} epochs, batches of 100: the slides do not state theirs",
        ),
        notes=(
            f"one step along the sign of cross-entropy's gradient, in the box, on all test images that are right; the fits end at eps = "
            f"{upper.min():.3g} to {upper.max():.3g}, where {flips.min():.0f} to {flips.max():.0f} images have flipped "
            f"({len(found) - whole.fitted} networks without enough flips)",
            "the deviation of the exponents beside what sampling alone gives says whether the networks differ at all; all share their test "
            "images, so that the interval of the median is one over architectures and not over images",
            "rank correlation of the exponent with clean accuracy "
            f"{_correlation(exponent, _column(found, 'clean_accuracy'))}, with the number of parameters "
            f"{_correlation(exponent, _column(found, 'parameters'))}, with dropout (convolutional networks) "
            f"{_correlation(exponent[kind == KINDS[1]], _column(found, 'dropout')[kind == KINDS[1]])}",
            f"trained and attacked in {_column(found, 'processor_seconds').sum() / 60:.0f} minutes of processor time",
        ),
        series=tuple(histogram(exponent, kind)),
    )


def _column(found: Search, name: str) -> Floats:
    return np.asarray(found.networks[name], np.float64)


def _correlation(one: Floats, other: Floats) -> str:
    known = np.isfinite(one) & np.isfinite(other)
    value = rank_correlation(one[known], other[known])
    return "not known" if value is None else f"{value:.2f}"


CLAIMS = (
    Claim(
        "C4",
        "under FGSM the adversarial errors of thousands of random architectures on MNIST grow with exponents of 0.9 to 1.1",
        DOCUMENT,
        {"median": 1.0, "share_inside": None},
        f"{PAPER}, slides: 0.9-1.1, the middle of which is the median's; no share",
        # Most of the networks, not all: a fit to some 250 flips has a standard error of 0.06, so that of networks with an exponent of
        # exactly 1 one in ten would lie outside, and of those with 0.95 or 1.05 one in five.
        Rule((*between("median", *INSIDE), at_least("share_inside", 0.5)), n=30),
        # 60 stacks of two; two thirds of it training.
        {"small": "about 25 min of processor time", "paper": "hours on a GPU"},
        random_exponents,
    ),
)
