"""Where the linear response of the logits says that the class changes, beside where it does."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foolscope.explaining.explanation import Explanation, unsaid
from foolscope.explaining.ray import FAITHFUL, OCTAVES_ABOVE, OCTAVES_BELOW, PER_OCTAVE, RESOLUTION, search
from foolscope.explaining.response import cross, mean_field, respond
from foolscope.explaining.scene import Arrays, Scene, cost_of
from foolscope.explaining.statistics import listed, median_interval, rank_correlation
from foolscope.oracle import Oracle

DIRECTIONS = {"linf": "FGSM direction", "l2": "L2 gradient direction", "l1": "steepest L1 direction"}
LEAST = 1e-6  # a guess where the two largest logits are equal
METHOD = (
    "Cubuk et al. 2017 (arXiv:1711.02846): along cross-entropy's gradient, in the norm asked for and of size 1, the logits h move by "
    "eps * Gamma, with Gamma from one gradient and one forward-mode pass. The class of rank j overtakes at "
    "(h1 - hj) / (Gamma_j - Gamma_1), and the prediction is the smallest of these. The mean field replaces the slopes by their "
    "averages over the images and looks at rank 2 alone. Measured: the first change of class on the same ray, the box left aside, on "
    f"a grid of {(OCTAVES_BELOW + OCTAVES_ABOVE) * PER_OCTAVE + 1} points from 1/{2**OCTAVES_BELOW} to {2**OCTAVES_ABOVE} times the "
    f"prediction (neighbours a factor of {2 ** (1 / PER_OCTAVE):.2f} apart), then bisected to {RESOLUTION:.1%}. The interval of the "
    "median ratio is by order statistics. On images that are right when clean."
)


def explain(scene: Scene) -> Explanation:
    """Predicted and measured distance to a change of class along the gradient: median ratio, rank correlation, both curves.

    References:
        Cubuk et al. 2017, arXiv:1711.02846, sec. on the linear response and mean field theory.
    """
    norm = scene.case.norm
    if norm not in DIRECTIONS:
        return unsaid(f"There is no direction to follow in {norm}, where a step is all or nothing.", METHOD)
    seen = scene.look("linear_response", lambda oracle: look(oracle, norm))
    return conclude(seen, norm)


def look(oracle: Oracle, norm: str) -> dict[str, Tensor]:
    """The response of a batch and what is seen along the rays."""
    rows = oracle.rows_all
    answer = respond(oracle, rows, norm)
    at = cross(answer.logits.cpu().double(), answer.slope.cpu().double())
    spread = answer.slope - answer.slope.gather(1, oracle.labels[:, None])
    steepest = spread.abs().amax(1).cpu().double().clamp_min(torch.finfo(torch.float32).tiny)
    guess = np.where(np.isfinite(at.eps), at.eps, at.gap / steepest.numpy()).clip(LEAST, 1 / LEAST)
    ray = search(oracle, rows, answer.direction, torch.from_numpy(guess).to(answer.slope), answer.slope)
    predicted = {"predicted": at.eps, "rank": at.rank, "predicted_label": at.label, "gap": at.gap, "gain": at.gain}
    measured = {"measured": ray.eps, "label": ray.label, "back": ray.back, "reach": ray.reach}
    return {key: torch.from_numpy(value) for key, value in predicted.items()} | measured


def conclude(seen: Arrays, norm: str) -> Explanation:
    """What a look at every image comes to."""
    predicted, measured, n = seen["predicted"], seen["measured"].astype(np.float64), len(seen["measured"])
    moving = np.isfinite(predicted) & (predicted > 0)
    if not moving.any():
        why = "On no image does a class gain on the largest along its gradient: the gradients are zero or not finite."
        return unsaid(why, METHOD)
    field = mean_field(seen["gap"], seen["gain"])
    ratio = measured[moving] / predicted[moving]
    middle = median_interval(ratio)
    agreed = np.isfinite(measured) & moving
    shares = {
        "no_prediction": float((~moving).mean()),
        "not_crossed": float(np.isinf(measured).mean()),
        "back": float(seen["back"][np.isfinite(measured)].mean()) if np.isfinite(measured).any() else 0.0,
        "same_class": float((seen["predicted_label"] == seen["label"])[agreed].mean()) if agreed.any() else None,
    }
    numbers = {
        "median_predicted": _median(predicted),
        "median_measured": _median(measured),
        "median_mean_field": _median(field),
        "correlation": rank_correlation(predicted, measured),
        "correlation_mean_field": rank_correlation(field, measured),
        "median_reach": _median((seen["reach"] / predicted)[moving]),
    }
    ranks = {str(rank): float((seen["rank"] == rank).mean()) for rank in (2, 3, 4)}
    ranks |= {"5+": float((seen["rank"] > 4).mean()), "none": float((seen["rank"] == 0).mean())}
    series = {
        "norm": norm,
        "direction": DIRECTIONS[norm],
        **numbers,
        **shares,
        "first_rank": ranks,
        "predicted": listed(predicted),
        "measured": listed(measured),
        "mean_field": listed(field),
        "rank": seen["rank"].tolist(),
    }
    estimate, interval = middle or (None, None)
    return Explanation(_finding(series, estimate, interval), estimate, interval, n, cost_of(seen), METHOD, series)


def _median(values: np.ndarray) -> float | None:
    middle = float(np.median(values))
    return middle if np.isfinite(middle) else None


def _finding(series: dict[str, object], estimate: float | None, interval: tuple[float, float] | None) -> str:
    """The numbers in words."""

    def say(key: str, form: str = ".3g") -> str:
        value = series[key]
        return "none" if value is None else format(value, form)

    said = (
        f"Along the {series['direction']}, one gradient and one forward-mode pass put the median image's change of class at a distance of "
        f"{say('median_predicted')}; measured along the same ray, it is at {say('median_measured')}. "
    )
    if estimate is not None and interval is not None:
        said += f"The median ratio of measured to predicted is {estimate:.2f} (95% interval {interval[0]:.2f} to {interval[1]:.2f})"
    else:
        said += "The median ratio of measured to predicted is not known: too few images, or too many never change class"
    said += (
        f", the rank correlation {say('correlation', '.2f')}; the mean field's {say('correlation_mean_field', '.2f')}. "
    )
    ranks: dict[str, float] = series["first_rank"]  # type: ignore[assignment]
    said += (
        f"The runner-up is predicted to overtake first on {ranks['2']:.0%} of the images, and the class that does overtake first is "
        f"the predicted one on {say('same_class', '.0%')}. The logits stay linear within {FAITHFUL:.0%} up to "
        f"{say('median_reach', '.2f')} of the predicted distance on the median image. {say('back', '.1%')} of the images that changed "
        "class change back further out."
    )
    if series["no_prediction"]:
        said += f" On {say('no_prediction', '.1%')} of the images no class gains on the largest."
    return said
