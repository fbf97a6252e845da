"""Which of four losses reaches a target soonest and with least, on equal footings, and whose examples survive smoothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foolscope.explaining.explanation import Explanation, unsaid
from foolscope.explaining.race import LOSSES, TRACED, drawn_targets, race
from foolscope.explaining.scene import Arrays, Scene, cost_of
from foolscope.explaining.smoothing import gaussian_blur, total_variation
from foolscope.explaining.statistics import listed, median_interval
from foolscope.intervals import wilson
from foolscope.oracle import Oracle

RACED = 32  # images at most
STEPS = 50
STRIDES = 15  # steps that a linear model would take the margin loss to the target of the median image
FOOTINGS = ("perturbation", "multiplier")
NAMES = {"ce": "CE", "ce_sign": "CE-sign", "logit": "logit", "m_logit": "M-logit"}
BLUR, TV = 1.0, 0.1  # standard deviation in pixels; weight in input units
QUANTILES = {"low": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "high": 0.95}
METHOD = (
    "Ozbulak et al. 2020 (arXiv:2006.01456): x <- clip(x + alpha p) towards a target class drawn at random, from the clean image, "
    "with p the gradient of log P (CE), its sign, of the target's logit (logit) or of its lead over the best other logit (M-logit). "
    "Equal perturbation: what a step adds has the same l2 size for all four; equal multiplier: alpha is the same. The paper's "
    f"constants are not known; here a step of equal perturbation is 1/{STRIDES} of the median first-order l2 distance to the target, "
    f"and the multiplier gives CE's first step that size in the median. {STEPS} steps on at most {RACED} images, going on after the "
    f"target is reached. Survival: still the target after a Gaussian blur of {BLUR:g} pixel or total-variation denoising of weight "
    f"{TV:g}, of the examples after the last step. The interval of the median ratio is by order statistics, shares have Wilson's."
)


def explain(scene: Scene) -> Explanation:
    """The race under both footings, on a sample of the images.

    References:
        Ozbulak, Gasparyan, De Neve & Van Messem 2020, arXiv:2006.01456, sec. IV.
    """
    few = np.unique(np.linspace(0, len(scene.positions) - 1, min(RACED, len(scene.positions))).round().astype(int))
    scene = replace(scene, positions=scene.positions[few])
    seed = scene.case.seed
    start = scene.look("loss_race_start", lambda oracle: first_order(oracle, seed))
    stride, multiplier = scales(start)
    if not 0 < stride < float("inf"):
        return unsaid("The gradients towards the targets are zero: there is nothing to race along.", METHOD)
    sizes = {"perturbation": stride, "multiplier": multiplier}
    seen = {
        footing: scene.look(f"loss_race_{footing}", lambda oracle, f=footing: run(oracle, f, sizes[f], seed))  # type: ignore[misc]
        for footing in FOOTINGS
    }
    return conclude(seen, sizes, cost_of(start, *seen.values()))


def first_order(oracle: Oracle, seed: int) -> dict[str, Tensor]:
    """The l2 distance to the target as the margin's gradient has it, and the size of cross-entropy's gradient."""
    aimed = oracle.towards(drawn_targets(oracle, seed))
    margin = aimed.gradient(oracle.inputs, oracle.rows_all, "margin")
    plain = aimed.gradient(oracle.inputs, oracle.rows_all, "ce").gradient
    return {
        "distance": -margin.margin / margin.gradient.flatten(1).norm(dim=1),
        "gradient": plain.flatten(1).norm(dim=1),
    }


def scales(start: Arrays) -> tuple[float, float]:
    """The l2 size of a step of equal perturbation, and the equal multiplier."""
    distance, gradient = start["distance"], start["gradient"]
    stride = (
        float(np.median(distance[np.isfinite(distance)])) / STRIDES if np.isfinite(distance).any() else float("inf")
    )
    size = float(np.median(gradient))
    return stride, stride / size if size > 0 else stride


def run(oracle: Oracle, footing: str, step_size: float, seed: int, steps: int = STEPS) -> dict[str, Tensor]:
    """The four paths of a batch, `LOSS_FIELD` each, and what becomes of their ends."""
    aimed = oracle.towards(drawn_targets(oracle, seed))
    found: dict[str, Tensor] = {}
    for loss in LOSSES:
        began = time.perf_counter()
        trace = race(aimed, loss, footing=footing, step_size=step_size, steps=steps)
        took = (time.perf_counter() - began) / len(oracle) / steps
        found |= {f"{loss}_{key}": value for key, value in asdict(trace).items() if key in TRACED}
        smoothed = {"blur": gaussian_blur(trace.end, BLUR), "tv": total_variation(trace.end, TV)}
        found |= {
            f"{loss}_{how}": aimed.margin(oracle.logits(x, oracle.rows_all), oracle.rows_all) > 0
            for how, x in smoothed.items()
        }
        found[f"{loss}_seconds"] = torch.full((len(oracle),), took, dtype=torch.float64)
    return found


def conclude(seen: Mapping[str, Arrays], sizes: Mapping[str, float], cost: float) -> Explanation:
    """What the races come to; the estimate is how many times as many steps CE-sign takes as CE at equal perturbation."""
    footings = {footing: {loss: _summary(stage, loss) for loss in LOSSES} for footing, stage in seen.items()}
    even = seen["perturbation"]
    steps = {loss: _arrival(even[f"{loss}_reached"]) for loss in LOSSES}
    both = np.isfinite(steps["ce"]) & np.isfinite(steps["ce_sign"]) & (steps["ce"] > 0)
    ratio = median_interval(steps["ce_sign"][both] / steps["ce"][both])
    return Explanation(
        finding=_finding(footings, ratio),
        estimate=ratio[0] if ratio else None,
        interval=ratio[1] if ratio else None,
        n=len(steps["ce"]),
        cost=cost,
        method=METHOD,
        series={"step_sizes": dict(sizes), "footings": footings, "names": NAMES},
    )


def _arrival(reached: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The first step with the target reached, `(n,)`; infinite where it never is."""
    return np.where(reached.any(1), reached.argmax(1), np.inf).astype(np.float64)


def _summary(stage: Arrays, loss: str) -> dict[str, Any]:
    arrival, n = _arrival(stage[f"{loss}_reached"]), len(stage[f"{loss}_reached"])
    there = np.isfinite(arrival)
    at = arrival[there].astype(int)
    final = stage[f"{loss}_reached"][:, -1].astype(bool)
    numbers: dict[str, Any] = {
        "reached": int(there.sum()),
        "steps": _quantiles(arrival[there]),
        "stalled": int((stage[f"{loss}_gradient"] == 0).any(1).sum()),
        "milliseconds": 1000 * float(np.median(stage[f"{loss}_seconds"])),
    }
    for size in ("l2", "linf"):
        numbers[size] = _quantiles(stage[f"{loss}_{size}"][there, at])
    for how in ("blur", "tv"):
        kept, of = int(stage[f"{loss}_{how}"][final].sum()), int(final.sum())
        numbers[how] = {"kept": kept, "of": of, "interval": list(wilson(kept, of)) if of else None}
    traces = {key: listed(np.median(stage[f"{loss}_{key}"], 0)) for key in TRACED if key != "reached"}
    return numbers | {"n": n, "trace": traces}


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float] | None:
    if not len(values):
        return None
    return dict(zip(QUANTILES, map(float, np.quantile(values, list(QUANTILES.values()))), strict=True))


def _finding(footings: Mapping[str, Any], ratio: tuple[float, tuple[float, float]] | None) -> str:
    even, same = footings["perturbation"], footings["multiplier"]
    steps = {loss: even[loss]["steps"]["median"] for loss in LOSSES if even[loss]["steps"]}
    if not steps:
        return "No loss reached its target on any image."
    order = sorted(steps, key=steps.__getitem__)
    said = "With equal perturbation a step, the target is reached after " + ", ".join(
        f"{steps[loss]:.0f} ({NAMES[loss]}, on {even[loss]['reached']} of {even[loss]['n']})" for loss in order
    )
    said += " steps, in the median of the images on which a loss reaches it. "
    if ratio:
        said += (
            f"CE-sign takes {ratio[0]:.2f} times as many as CE (95% interval {ratio[1][0]:.2f} to {ratio[1][1]:.2f}). "
        )
    else:
        said += "How many times as many CE-sign takes as CE is not known: too few images on which both arrive. "
    added = {loss: same[loss]["l2"]["median"] for loss in LOSSES if same[loss]["l2"]}
    if "ce" in added and "ce_sign" in added:
        times = added["ce_sign"] / added["ce"]
        counts = f"{same['ce_sign']['reached']} images against {same['ce']['reached']}"
        said += f"With an equal multiplier CE-sign's perturbation is {times:.1f} times CE's in l2 when it arrives ({counts}). "
    rise = {loss: _late_rise(even[loss]["trace"]["target_logit"]) for loss in ("ce", "logit")}
    if all(value is not None for value in rise.values()):
        said += (
            f"In the second half of the path the target's logit gains {rise['ce']:.0%} of its whole rise under CE and {rise['logit']:.0%} "
            "under the logit loss."
        )
    return said


def _late_rise(trace: list[float | None]) -> float | None:
    """Which share of the rise of a median trace falls into its second half."""
    first, middle, last = trace[0], trace[len(trace) // 2], trace[-1]
    if first is None or middle is None or last is None or last <= first:
        return None
    return (last - middle) / (last - first)
