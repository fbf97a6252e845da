"""How the adversarial error grows with small eps: as a power of it, and with which exponent."""

from __future__ import annotations

import math
from typing import Any

from foolscope.explaining.error_curve import COARSE, HANDFUL, POINTS, ErrorCurve, pgd_curve, ray_curve
from foolscope.explaining.explanation import Explanation
from foolscope.explaining.exponent import FEWEST, REPLICATES, SHARE, log_grid
from foolscope.explaining.one_step import RAYS
from foolscope.explaining.scene import Scene
from foolscope.explaining.statistics import listed
from foolscope.norms import NORMS

PGD_STEPS, PGD_POINTS = 10, 8
NAMES = {"fgsm": "FGSM", "l2": "L2", "step_ll": "step l.l.", "pgd": "PGD"}
METHOD = (
    "Cubuk et al. 2017 (arXiv:1711.02846): the adversarial error, clean minus adversarial accuracy, grows as A eps^B at small eps. "
    "One-step attacks on cross-entropy (FGSM and L2 away from the label, step l.l. towards the least likely class, in linf) follow one "
    f"gradient inside the box; {POINTS} eps, log-spaced from where at most {HANDFUL} images flip, share it and one batch (a scout a "
    f"factor of {COARSE:g} apart finds the ends). PGD, {PGD_STEPS} steps, runs anew at each of {PGD_POINTS} eps. Fitted is where each "
    f"image flips first, up to the last grid point by which at most n^{SHARE} images have: by maximum likelihood, with a bootstrap 95% "
    f"interval over images ({REPLICATES:,} resamples, turned around on the logarithm) and the p-value of the likelihood ratio against "
    f"free shares; fewer than {FEWEST} flips are not fitted. How often the interval holds on planted laws: docs/explain.md."
)


def explain(scene: Scene) -> Explanation:
    """The exponents of FGSM, L2, step l.l. and (unless the effort is quick) PGD.

    References:
        Cubuk et al. 2017, arXiv:1711.02846.
    """
    bounds = scene.case.bounds or (0.0, 1.0)
    components, width = math.prod(scene.case.data.shape), bounds[1] - bounds[0]
    seed = scene.case.seed
    curves = [
        ray_curve(scene.look, attack, NORMS[norm].largest(components, width), seed=seed)
        for attack, (norm, _) in RAYS.items()
    ]
    law = curves[0].law
    if law and scene.effort != "quick":  # PGD needs less than FGSM, but hardly less than half
        grid = log_grid(max(law.lower, law.upper / 64) / 2, law.upper, PGD_POINTS)
        curves.append(pgd_curve(scene.look, grid, steps=PGD_STEPS, seed=seed))
    correct = scene.ledger.correct(scene.case.data.labels)
    return conclude(curves, float(correct.mean()))


def conclude(curves: list[ErrorCurve], clean_accuracy: float) -> Explanation:
    """What the curves come to; the first one's exponent is the estimate."""
    law = curves[0].law
    return Explanation(
        finding=_finding(curves),
        estimate=law.exponent if law else None,
        interval=law.interval if law else None,
        n=curves[0].n,
        cost=sum(curve.cost for curve in curves),
        method=METHOD,
        series={"clean_accuracy": clean_accuracy, "curves": [_record(curve, clean_accuracy) for curve in curves]},
    )


def _record(curve: ErrorCurve, clean_accuracy: float) -> dict[str, Any]:
    law = curve.law
    fitted = law and {
        "exponent": law.exponent,
        "interval": list(law.interval),
        "amplitude": clean_accuracy * law.amplitude,
        "lower": law.lower,
        "upper": law.upper,
        "flips": law.events,
        "goodness": law.goodness,
    }
    return {
        "attack": curve.attack,
        "name": NAMES[curve.attack],
        "eps": listed(curve.eps),
        "error": listed(clean_accuracy * curve.share),
        "returning": curve.returning,
        "law": fitted,
    }


def _finding(curves: list[ErrorCurve]) -> str:
    law = curves[0].law
    if law is None:
        return f"Too few images to fit: of {curves[0].n:,}, fewer than {FEWEST} flip in the range of small eps, so no exponent is given."
    low, high = law.interval
    fits = "fits" if law.goodness >= 0.05 else "does not fit"
    others = [
        f"{NAMES[curve.attack]} {curve.law.exponent:.2f} ({_between(curve)})" for curve in curves[1:] if curve.law
    ]
    return (
        f"Under FGSM the adversarial error grows as eps^{law.exponent:.2f} (95% interval {low:.2f} to {high:.2f}; {law.events} flips up to "
        f"eps = {law.upper:.3g}); a power law {fits} (p = {law.goodness:.2g}). Halving eps divides the error by about "
        f"{2**law.exponent:.1f}." + (f" Exponents of other attacks: {', '.join(others)}." if others else "")
    )


def _between(curve: ErrorCurve) -> str:
    assert curve.law is not None
    return f"{curve.law.interval[0]:.2f} to {curve.law.interval[1]:.2f}"
