"""What the claims about exponents share: a network's curve of the adversarial error, its power law, and the record of several."""

from __future__ import annotations

import math

import torch
from torch import nn

from foolscope.explaining.error_curve import ErrorCurve, over, ray_curve
from foolscope.explaining.exponent import PowerLaw
from foolscope.explaining.one_step import RAYS
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.reproducing.claim import Check, NotRun, Outcome, at_least, at_most
from foolscope.reproducing.lab import TINY, Lab
from foolscope.reproducing.measuring import Images, outputs, wrong

SLACK = 0.15  # about the numbers of one network, which the slides give in one decimal


def curve_of(model: nn.Module, images: Images, attack: str) -> ErrorCurve:
    """The curve of a one-step attack on the images that the network gets right, in the box [0, 1]."""
    largest = NORMS[RAYS[attack][0]].largest(math.prod(images.inputs.shape[1:]), 1.0)
    return ray_curve(over(oracles_of(model, images)), attack, largest)


def oracles_of(model: nn.Module, images: Images) -> list[Oracle]:
    """Batches of the images that the network gets right."""
    size = max(8, min(500, 2**20 // images.inputs[0].numel()))
    kept = images.keep(~wrong(outputs(model, images.inputs, size), images.labels))
    parts = zip(*(torch.split(t, size) for t in (kept.inputs, kept.labels)), strict=True)
    model.eval().requires_grad_(False)
    return [Oracle(model, x, y, index=torch.arange(size * k, size * k + len(x))) for k, (x, y) in enumerate(parts)]


def law_of(lab: Lab, curve: ErrorCurve) -> PowerLaw:
    """The curve's law.

    Raises:
        NotRun: too few images flip, at any scale but the tests'.
    """
    if curve.law is not None:
        return curve.law
    if lab.scale == TINY:  # whose few digits are enough for no exponent
        nan = float("nan")
        return PowerLaw(nan, (nan, nan), nan, float(curve.eps[0]), float(curve.eps[-1]), 0, curve.n, nan)
    raise NotRun(f"too few of {curve.n} images flip under {curve.attack} to fit an exponent")


def outcome_of(lab: Lab, curves: dict[str, ErrorCurve], substituted: tuple[str, ...]) -> Outcome:
    """The exponents, how far their intervals reach, and the curves."""
    laws = {name: law_of(lab, curve) for name, curve in curves.items()}
    return Outcome(
        {name: law.exponent for name, law in laws.items()}
        | {f"{name}_from": law.interval[0] for name, law in laws.items()}
        | {f"{name}_to": law.interval[1] for name, law in laws.items()}
        | {f"{name}_p": law.goodness for name, law in laws.items()},
        n=min(curve.n for curve in curves.values()),
        interval={name: law.interval for name, law in laws.items() if law.events},
        substituted=substituted,
        notes=tuple(
            f"{name}: {law.events} of {law.n} images flip up to eps = {law.upper:.3g}, where the fit ends"
            for name, law in laws.items()
        ),
        series=tuple(
            {"curve": name, "eps": eps, "adversarial error": share}
            for name, curve in curves.items()
            for eps, share in zip(curve.eps.tolist(), curve.share.tolist(), strict=True)
        ),
    )


def steeper(found: Outcome, seen: str, unseen: str) -> tuple[str, ...]:
    """A note where the exponent over images that were trained on exceeds the one over unseen images by more than both intervals."""
    if found.interval.get(unseen, (0, math.inf))[1] >= found.interval.get(seen, (0, 0))[0]:
        return ()
    return (
        f"{seen}: training on the very images that are attacked moves them away from the boundary: the exponent is "
        f"{found.measured[seen]:.2f} over them and {found.measured[unseen]:.2f} over images that were not trained on",
    )


def meets(name: str, low: float, high: float) -> tuple[Check, Check]:
    """The interval of `name` meets [low, high]."""
    return at_most(f"{name}_from", high), at_least(f"{name}_to", low)
