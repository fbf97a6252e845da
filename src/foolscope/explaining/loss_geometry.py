"""On how many images cross-entropy's gradient is gone, or points elsewhere, where a margin loss still sees."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foolscope.explaining.explanation import Explanation
from foolscope.explaining.response import CE_DIRECTION
from foolscope.explaining.scene import Arrays, Scene, cost_of
from foolscope.explaining.statistics import listed
from foolscope.explaining.subspaces import CONFIDENT, blind_gaps, subspace
from foolscope.intervals import wilson
from foolscope.losses import Loss
from foolscope.oracle import Oracle

ALIGNED = 0.9  # cosine between cross-entropy's gradient as computed and as it should be; below, it points elsewhere
STATES = ("seen", "misled", "blind")
METHOD = (
    "Ozbulak et al. 2020 (arXiv:2006.01456): away from class c, cross-entropy's gradient is sum over i != c of P_i grad(g_i - g_c), P "
    "the softmax of the logits g, so that it shrinks as 1 - P_c. In floating point the confident logit's own part is lost first, then "
    "all of it. On each image that is right when clean, three input gradients in the model's own precision: cross-entropy's, its "
    "direction computed without the factor 1 - P_c, and the margin's (Carlini and Wagner's loss, the paper's M-logit). Blind: "
    f"cross-entropy's is exactly zero and the margin's is not. Misled: its cosine with its own exact direction is below {ALIGNED}. "
    f"Confident (S1, S3) means a probability above {CONFIDENT}, a threshold of ours: the paper gives none. Interval: Wilson."
)


def explain(scene: Scene) -> Explanation:
    """The share of images on which cross-entropy is blind or misled and a margin loss sees.

    References:
        Ozbulak, Gasparyan, De Neve & Van Messem 2020, arXiv:2006.01456, sec. IV.
    """
    return conclude(scene.look("loss_geometry", look))


def look(oracle: Oracle) -> dict[str, Tensor]:
    """What the three gradients of each image are."""
    rows = oracle.rows_all
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loss=ce")  # that it dies is what is asked
        plain, exact, margin = (_flat(oracle, loss) for loss in ("ce", CE_DIRECTION, "margin"))
    sizes = [g.norm(dim=1) for g in (plain, exact)]
    probabilities = oracle.clean.double().softmax(1)
    return {
        "odds": -oracle.value(oracle.inputs, rows, CE_DIRECTION)[1].double(),
        "cosine": (_unit(plain) * _unit(exact)).sum(1),
        "faded": torch.where(sizes[1] > 0, sizes[0] / sizes[1], torch.nan),
        "zero": (plain == 0).all(1),
        "margin_zero": (margin == 0).all(1),
        "subspace": subspace(probabilities, oracle.labels),
        "bits": torch.full_like(rows, torch.finfo(oracle.clean.dtype).bits),
    }


def conclude(seen: Arrays) -> Explanation:
    """What the gradients of all images come to."""
    sees = ~seen["margin_zero"]
    blind = seen["zero"] & sees
    misled = ~seen["zero"] & sees & (seen["cosine"] < ALIGNED)
    n, bad = len(blind), int((blind | misled).sum())
    share, interval = bad / n, wilson(bad, n)
    dtype = {16: torch.float16, 32: torch.float32, 64: torch.float64}[int(seen["bits"][0])]
    own, every = blind_gaps(dtype)
    faded = seen["faded"][np.isfinite(seen["faded"])]
    series: dict[str, Any] = {
        "odds": listed(seen["odds"]),
        "state": np.where(blind, 2, np.where(misled, 1, 0)).tolist(),
        "states": list(STATES),
        "blind": int(blind.sum()),
        "misled": int(misled.sum()),
        "margin_zero": int((~sees).sum()),
        "confident": float((seen["subspace"] == 3).mean()),
        "median_faded": float(np.median(faded)) if len(faded) else None,
        "precision": str(dtype).removeprefix("torch."),
        "gaps": {"own": own, "every": every},
    }
    return Explanation(_finding(series, share, interval, n), share, interval, n, cost_of(seen), METHOD, series)


def _finding(series: dict[str, Any], share: float, interval: tuple[float, float], n: int) -> str:
    ends = f"95% interval {interval[0]:.1%} to {interval[1]:.1%}"
    if share:
        said = (
            f"On {share:.1%} of {n:,} images ({ends}) an attack by cross-entropy starts without a gradient it can trust "
            f"where a margin loss has one: it is exactly zero on {series['blind']:,} and points elsewhere on {series['misled']:,}. "
        )
    else:
        said = f"Cross-entropy sees on all {n:,} images (share on which it is blind or misled: 0; {ends}). "
    if series["median_faded"] is not None:
        said += (
            f"The model is confident (probability above {CONFIDENT}) on {series['confident']:.0%} of them, and the median image's "
            f"gradient is {series['median_faded']:.1g} of what it would be without the factor 1 - P."
        )
    return said + (
        f" The margin's gradient is zero, too, on {series['margin_zero']:,}." if series["margin_zero"] else ""
    )


def _flat(oracle: Oracle, loss: str | Loss) -> Tensor:
    gradient: Tensor = oracle.gradient(oracle.inputs, oracle.rows_all, loss).gradient.flatten(1).double()
    return gradient


def _unit(g: Tensor) -> Tensor:
    # By the largest first: squares of numbers near 1e-200 would underflow.
    g = g / g.abs().amax(1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    unit: Tensor = g / g.norm(dim=1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
    return unit
