"""How straight the logits are along the sign of the gradient, and how an attack's effect grows with the number of inputs it may touch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foolscope import rng
from foolscope.explaining.explanation import Explanation, unsaid
from foolscope.explaining.one_step import direction_of
from foolscope.explaining.scene import Arrays, Scene, cost_of
from foolscope.explaining.statistics import listed, median_interval
from foolscope.oracle import Oracle

POINTS = 33  # along the ray, an even number of intervals
FOLDS = 8.0  # how far the ray goes, in eps
PARTS = 7  # subsets of the inputs, each twice the one before
SHOWN, CURVES = (
    6,
    5,
)  # images whose logits are kept, and how many of each: those that are the largest somewhere, or nearly
SAME = 1e-3  # of the largest slope on the ray: a slope that differs by less is the same
METHOD = (
    f"Goodfellow et al. 2015 (arXiv:1412.6572): the logits at x + e sign(grad J), J cross-entropy and the box left aside, at {POINTS} "
    f"values of e from -{FOLDS:g} to {FOLDS:g} times the audited eps. Straightness: R^2 of a straight line through the logits on the "
    "side e >= 0, over all logits of an image weighted by their variance, from 0 to eps and from 0 to the end; the median over images "
    "with an interval by order statistics. Linear pieces: intervals between neighbouring points over which a logit's slope, by "
    f"forward-mode differentiation, changes by more than {SAME:g} of the largest, plus 1; a lower bound. Dimension: the change of the "
    "margin when only a random part of the inputs moves by eps along the sign of the margin's gradient, or by a random sign; on a "
    "linear model the first grows as the number of inputs (eps m n, m the mean weight), the second as its root. The exponent is the "
    "slope of a line through the logarithms of the means over images, with a bootstrap interval."
)


def explain(scene: Scene) -> Explanation:
    """R^2 of a line through the logits, pieces crossed, and both exponents of the growth with dimension.

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 3 and fig. 4.
    """
    if scene.case.eps is None or scene.case.norm != "linf":
        return unsaid(
            "Looked at along the sign of the gradient, with an eps in linf; this run has another norm.", METHOD
        )
    eps, seed = scene.case.eps, scene.case.seed
    straight = scene.look("linearity_ray", lambda oracle: along(oracle, eps))
    grown = scene.look("linearity_growth", lambda oracle: growth(oracle, eps, seed))
    return conclude(straight, grown, eps, math.prod(scene.case.data.shape), seed)


def along(oracle: Oracle, eps: float, points: int = POINTS) -> dict[str, Tensor]:
    """Logits and slopes at `points` places from -8 eps to 8 eps along the sign of cross-entropy's gradient.

    Returns:
        `r2_near` and `r2_far` `(b,)`, `pieces` `(b,)`, and of the few `classes` `(b, k)` that come nearest to being the largest the
        `logits` `(b, points, k)`, in the precision of a picture.
    """
    direction, steps = direction_of(oracle, "fgsm"), torch.linspace(-FOLDS * eps, FOLDS * eps, points).tolist()
    seen = [oracle.slope(oracle.inputs + step * direction, oracle.rows_all, direction) for step in steps]
    logits, slopes = (torch.stack(parts, 1) for parts in zip(*seen, strict=True))
    ahead = logits[:, points // 2 :].double()
    changed = (slopes.diff(dim=1).abs() > SAME * slopes.abs().amax((1, 2), keepdim=True)).any(2)
    nearness = (logits - logits.amax(2, keepdim=True)).amax(1)
    classes = nearness.topk(min(CURVES, logits.shape[2])).indices.sort(1).values
    fine = [oracle.logits(oracle.inputs + eps * k / 8 * direction, oracle.rows_all) for k in range(9)]
    return {
        "r2_near": r_squared(torch.stack(fine, 1).double()),
        "r2_far": r_squared(ahead),
        "pieces": changed.sum(1) + 1,
        "classes": classes,
        "logits": logits.gather(2, classes[:, None].expand(-1, points, -1)).float(),
        "still": (direction == 0).flatten(1).all(1),
    }


def r_squared(values: Tensor) -> Tensor:
    """R^2 of straight lines through values at even distances: `(b, m, c) -> (b,)`, the c curves of a row pooled; 1 where none varies.

    Example:
        >>> t = torch.arange(5.0)
        >>> r_squared(torch.stack([t, 1 - 2 * t], 1)[None]), r_squared((t - 2).abs()[None, :, None])
        (tensor([1.]), tensor([0.]))
    """
    t = torch.linspace(-1, 1, values.shape[1], dtype=values.dtype, device=values.device)[:, None]
    centred = values - values.mean(1, keepdim=True)
    slope = (centred * t).sum(1, keepdim=True) / t.square().sum()
    left, whole = (part.square().sum((1, 2)) for part in (centred - slope * t, centred))
    return torch.where(whole > 0, 1 - left / whole.clamp_min(torch.finfo(values.dtype).tiny), 1.0)


def growth(oracle: Oracle, eps: float, seed: int) -> dict[str, Tensor]:
    """How much the margin rises when part of the inputs moves by eps: along the gradient's sign, and by random signs, `(b, PARTS)`.

    The parts are nested and random: d / 2^(PARTS - 1), ..., d / 2, d of the d inputs.
    """
    x, rows = oracle.inputs, oracle.rows_all
    answer = oracle.gradient(x, rows)
    shape = x.shape[1:]
    order = rng.uniform(seed, oracle.index, 0, shape, torch.float32)
    sign = torch.where(rng.uniform(seed, oracle.index, 1, shape, torch.float32) < 0.5, -1.0, 1.0).to(x.dtype)
    ways = {"signed": answer.gradient.sign(), "random": sign}
    found = {}
    for name, way in ways.items():
        rises = []
        for part in parts_of(1):
            moved = x + eps * way * (order < part).to(x.dtype)
            rises.append((oracle.value(moved, rows)[0] - answer.margin).double())
        found[name] = torch.stack(rises, 1)
    return found


def parts_of(components: int) -> list[float]:
    """The sizes of the parts, the whole last.

    Example:
        >>> parts_of(64)
        [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    """
    return [components / 2.0**k for k in range(PARTS - 1, -1, -1)]


def conclude(straight: Arrays, grown: Arrays, eps: float, components: int, seed: int = 0) -> Explanation:
    """What the rays and the parts come to; the estimate is the median R^2 from 0 to eps."""
    moving = ~straight["still"].astype(bool)
    near, far = (median_interval(straight[key][moving]) for key in ("r2_near", "r2_far"))
    exponents = {
        "signed": _exponent(grown["signed"], components, seed),
        "random": _exponent(grown["random"], components, seed, spread=True),
    }
    steps = np.linspace(-FOLDS * eps, FOLDS * eps, straight["logits"].shape[1])
    series: dict[str, Any] = {
        "eps": eps,
        "r2_far": far and {"median": far[0], "interval": list(far[1])},
        "pieces": float(np.median(straight["pieces"])),
        "intervals": int(straight["logits"].shape[1] - 1),
        "steps": listed(steps),
        "classes": straight["classes"][:SHOWN].tolist(),
        "logits": [[listed(curve) for curve in image.T] for image in straight["logits"][:SHOWN]],
        "components": listed(parts_of(components)),
        "rise": {
            "signed": listed(grown["signed"].mean(0)),
            "random": listed(np.sqrt((grown["random"] ** 2).mean(0))),
        },
        "exponents": exponents,
    }
    return Explanation(
        finding=_finding(near, far, series),
        estimate=near[0] if near else None,
        interval=near[1] if near else None,
        n=len(moving),
        cost=cost_of(straight, grown),
        method=METHOD,
        series=series,
    )


def _exponent(
    rise: npt.NDArray[Any], components: int, seed: int, *, spread: bool = False, resamples: int = 1000
) -> dict[str, Any] | None:
    """The slope of log rise against log components; `spread`: of the root mean square, for rises of either sign."""
    draw = np.random.default_rng(seed)
    picks = np.vstack([np.arange(len(rise)), draw.integers(len(rise), size=(resamples, len(rise)))])
    values = rise[picks] ** 2 if spread else rise[picks]
    mean = values.mean(1)
    if not (mean[0] > 0).all():
        return None
    logs = np.log(np.where(mean > 0, mean, np.nan)) / (2 if spread else 1)
    t = np.log(parts_of(components))
    slopes = (logs * (t - t.mean())).sum(1) / ((t - t.mean()) ** 2).sum()
    low, high = np.nanquantile(slopes[1:], [0.025, 0.975])
    return {"value": float(slopes[0]), "interval": [float(low), float(high)]}


def _finding(near: Any, far: Any, series: dict[str, Any]) -> str:
    if near is None:
        return "Too few images with a gradient to say how straight the logits are along it."
    said = (
        f"Along the sign of the gradient a straight line explains {near[0]:.1%} of the logits' change up to eps "
        f"(95% interval {near[1][0]:.1%} to {near[1][1]:.1%})"
    )
    said += f", and {far[0]:.1%} up to {FOLDS:g} eps" if far else ""
    said += f"; the slope changes in {series['pieces'] - 1:.0f} of {series['intervals']} intervals. "
    signed, chance = series["exponents"]["signed"], series["exponents"]["random"]
    if signed and chance:
        said += (
            f"The margin's rise grows with the number n of inputs that move as n^{signed['value']:.2f} (95% interval "
            f"{signed['interval'][0]:.2f} to {signed['interval'][1]:.2f}) along the gradient's sign and as n^{chance['value']:.2f} "
            f"({chance['interval'][0]:.2f} to {chance['interval'][1]:.2f}) for random signs; a linear model has 1 and 1/2."
        )
    return said
