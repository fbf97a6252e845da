"""The first-order distance to the nearest rivals, beside the distance that an attack finds: what a few backward passes buy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foolscope.attacks import NEAREST
from foolscope.explaining.explanation import Explanation
from foolscope.explaining.scene import Scene, cost_of
from foolscope.explaining.statistics import listed, median_interval, rank_correlation
from foolscope.norms import get_norm
from foolscope.oracle import Oracle

RIVALS = (1, 3, 10)  # numbers of rivals looked at, rising
REACHED = 0.999  # share of the gap to be made up that counts as made up within the box
METHOD = (
    "Own, after Cubuk et al. 2017 (arXiv:1711.02846) and Moosavi-Dezfooli et al. 2016 (arXiv:1511.04599, eq. 8): for each of the k classes "
    "with the largest logits after the label, one gradient of the gap; the first-order distance is the gap over the gradient's dual "
    "norm where the box is out of the way, and the exact solution of the linearised problem within the box in general; the smallest of "
    "k counts. Settled: a single step of size eps towards that rival, checked by one more forward pass, which proves the verdict "
    "fooled. Held against the nearest fooling image known: {reference}. The interval of the median ratio is by order statistics. On "
    "images that are right when clean."
)


def explain(scene: Scene) -> Explanation:
    """Min over k rivals of (h_1 - h_j) / |grad (h_1 - h_j)|_dual, box included, against the distance found by attacks, for k = 1, 3, 10.

    References:
        Cubuk et al. 2017, arXiv:1711.02846; Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, eq. 8.
    """
    case = scene.case
    seen = scene.look("first_order", lambda oracle: look(oracle, case.norm, case.eps or 0.0))
    battery = {stage.name for stage in scene.ledger.stages} & {NEAREST[case.norm]}
    reference = "by the audit's battery" if battery else f"FMN of the effort {scene.effort}, not counted in the cost"
    return conclude(
        seen["distance"],
        seen["free"],
        seen["settled"],
        scene.distances(),
        norm=case.norm,
        eps=case.eps or 0.0,
        cost=cost_of(seen),
        reference=reference,
    )


def look(oracle: Oracle, norm: str, eps: float) -> dict[str, Tensor]:
    """First-order distances of a batch and what single steps settle.

    Args:
        oracle: over the batch.
        norm: linf, l2, l1 or l0.
        eps: size of the single steps.

    Returns:
        `distance` `(b, k)` of the k nearest rivals in order of their logits, box included, infinite where the box forbids the crossing;
        `free` `(b, k)`, gap over dual norm; `settled` `(b, len(RIVALS))`, whether the step towards the nearest of the first 1, 3, 10 fools.
    """
    rivals = oracle.rivals(RIVALS[-1])
    # All rivals of some images at once: as many rows a pass as the batch has, however many rivals.
    size = max(1, len(oracle) // rivals.shape[1])
    parts = [_rivals(oracle, part, rivals[part], norm, eps) for part in torch.split(oracle.rows_all, size)]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _rivals(oracle: Oracle, rows: Tensor, rivals: Tensor, norm: str, eps: float) -> dict[str, Tensor]:
    row, (count, many) = get_norm(norm), rivals.shape
    pairs = rows.repeat_interleave(many)
    x, box = oracle.inputs[pairs], oracle.box(pairs)
    lead, gradient = oracle.lead(x, pairs, rivals.flatten())
    crossing = row.cross(gradient, -lead, *box)
    made_up = (crossing * gradient).flatten(1).sum(1) >= REACHED * -lead
    distance = torch.where(made_up, row.size(crossing), torch.inf).view(count, many)
    # At a tie the boundary is here, whatever the gradient; infinite logits have it nowhere.
    free = torch.where(lead == 0, 0, -lead / row.dual(gradient)).nan_to_num(torch.inf, torch.inf).view(count, many)
    nearest = torch.stack([distance[:, :k].argmin(1) for k in RIVALS])
    chosen = (nearest + many * torch.arange(count, device=x.device)).flatten()
    step = row.steepest(gradient[chosen], eps, *(side[chosen] for side in box))
    at = oracle.clip(x[chosen] + step)
    settled = oracle.value(at, rows.repeat(len(RIVALS)))[0] > 0
    return {"distance": distance, "free": free, "settled": settled.view(len(RIVALS), count).T}


def conclude(
    distance: npt.NDArray[np.floating[Any]],
    free: npt.NDArray[np.floating[Any]],
    settled: npt.NDArray[np.bool_],
    found: npt.NDArray[np.float64],
    *,
    norm: str,
    eps: float,
    cost: float,
    reference: str,
) -> Explanation:
    """What the distances of `look` come to beside those that were found."""
    fooled = found <= eps
    columns = {
        min(k, distance.shape[1]): column for column, k in enumerate(RIVALS)
    }  # fewer where there are fewer classes
    by_rivals = [
        {"rivals": k} | _compared(distance[:, :k].min(1), free[:, :k].min(1), settled[:, column], found, eps)
        for k, column in columns.items()
    ]
    last = by_rivals[-1]
    estimate, interval = last["ratio"], last["interval"]
    series = {
        "norm": norm,
        "eps": eps,
        "reference": reference,
        "fooled": float(fooled.mean()),
        "by_rivals": by_rivals,
        "first_order": listed(distance.min(1)),
        "found": listed(found),
        "settled": settled[:, -1].tolist(),
    }
    said = _finding(series, len(found))
    between = None if interval is None else (interval[0], interval[1])
    return Explanation(said, estimate, between, len(found), cost, METHOD.format(reference=reference), series)


def _compared(
    first: npt.NDArray[Any], free: npt.NDArray[Any], settled: npt.NDArray[np.bool_], found: npt.NDArray[Any], eps: float
) -> dict[str, Any]:
    """A number of rivals: ratio, rank correlation and verdicts at eps."""
    fooled, within, known = found <= eps, first <= eps, np.isfinite(first) & (first > 0)
    middle = median_interval(found[known] / first[known])
    return {
        "correlation": rank_correlation(first, found),
        "correlation_without_box": rank_correlation(free, found),
        "ratio": None if middle is None else middle[0],
        "interval": None if middle is None else list(middle[1]),
        "within": float(within.mean()),
        "agree": float((within == fooled).mean()),
        "settled": float(settled.mean()),
        "settled_of_fooled": float(settled[fooled].mean()) if fooled.any() else None,
    }


def _finding(series: dict[str, Any], n: int) -> str:
    rows = series["by_rivals"]
    few, last = rows[min(1, len(rows) - 1)], rows[-1]
    within = f"{series['norm']} {series['eps']:.4g}"
    said = (
        f"To first order, with the gradients of {_rivals_in_words(few)}, {few['within']:.1%} of {n:,} images lie within {within} of "
        f"another class; attacks find {series['fooled']:.1%}, and the two agree on {few['agree']:.1%} of the images. "
    )
    if few["settled_of_fooled"] is not None:
        said += (
            f"One step each proves {few['settled']:.1%} of the images fooled: {few['settled_of_fooled']:.1%} of those that attacks "
            "fool are settled so. "
        )
    if last["correlation"] is not None:
        said += f"Over {_rivals_in_words(last)}, the rank correlation with the distance found is {last['correlation']:.2f}. "
    if last["ratio"] is None:
        said += "The median ratio of found to first order is not known: too few images, or too many that nothing was found for."
    else:
        low, high = last["interval"]
        said += (
            f"The median ratio of found to first order is {last['ratio']:.2f} (95% interval {low:.2f} to {high:.2f})."
        )
    return said


def _rivals_in_words(row: dict[str, Any]) -> str:
    return "1 rival" if row["rivals"] == 1 else f"{row['rivals']} rivals"
