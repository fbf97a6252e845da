"""Document 000, the second half: the linear response of the logits, the mean field, and the gaps between logits (C7 to C12)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from foolscope.explaining import linear_response
from foolscope.explaining.logit_gaps import sorted_gaps
from foolscope.explaining.ray import RESOLUTION
from foolscope.explaining.reference_gaps import uniform_gaps
from foolscope.explaining.response import mean_field, respond
from foolscope.explaining.scene import Arrays
from foolscope.explaining.statistics import rank_correlation
from foolscope.explaining.tail import Tail, fit_tail
from foolscope.oracle import Oracle
from foolscope.reproducing import recipes
from foolscope.reproducing.claim import Claim, Outcome, Rule, at_least, at_most, between
from foolscope.reproducing.cubuk import DOCUMENT, PAPER
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.measuring import BATCH, Images, outputs, share_interval, wrong
from foolscope.untouched import untouched

NORM = "l2"  # as the slides have it
GRID = np.linspace(0.02, 0.98, 25)  # of the measured distances' distribution, where two curves are compared
SMALL = 0.1  # share of the images that "small eps" is about
STEP = 1e-2  # L2 length at which the smooth network's residual is taken, and half of it
SAMPLES = 5_000_000
RANKS = range(2, 7)


def crossing_is_error(lab: Lab) -> Outcome:
    """The share of images whose class has changed by eps, from the line search, against the error at eps, measured afresh."""
    model, images = _setting(lab)
    seen = _look(model, images)
    radii = np.quantile(seen["measured"], GRID, method="lower")
    errors = np.zeros(len(radii))
    with untouched(model):
        for oracle in _oracles(model, images):
            direction = respond(oracle, oracle.rows_all, NORM).direction
            for place, eps in enumerate(radii.tolist()):
                moved = oracle.logits(oracle.inputs + eps * direction, oracle.rows_all)
                errors[place] += float((moved.argmax(1) != oracle.labels).sum())
    errors /= len(images)
    shares = np.array([(seen["measured"] <= eps).mean() for eps in radii])
    values = {
        "largest_difference": float(np.abs(shares - errors).max()),
        "share_crossing_back": float(seen["back"].mean()),
        "share_never_crossing": float(np.isinf(seen["measured"]).mean()),
    }
    series = [
        {"curve": name, "eps": eps, "share": share}
        for name, curve in (("P(crossing <= eps)", shares), ("adversarial error", errors))
        for eps, share in zip(radii.tolist(), curve.tolist(), strict=True)
    ]
    note = f"where a class crosses back the identity is an inequality; the line search resolves {RESOLUTION:.1%}, returns on its grid"
    return Outcome(
        values,
        n=len(images),
        interval={"share_crossing_back": share_interval(values["share_crossing_back"], len(images))},
        substituted=_substituted(lab),
        notes=(note,),
        series=tuple(series),
    )


def linear_prediction(lab: Lab) -> Outcome:
    """The linear prediction's residual on a smooth network, and its distances against measured ones on the ReLU network."""
    model, images = _setting(lab)
    seen = _look(model, images)
    finite = np.isfinite(seen["predicted"]) & (seen["predicted"] > 0)
    predicted, measured = seen["predicted"][finite], seen["measured"][finite]
    near = predicted <= np.quantile(predicted, SMALL)
    values = {
        "residual_order": _residual_order(_smoothed(model), images.first(200)),
        "ratio_nearest_tenth": float(np.median(measured[near] / predicted[near])),
        "ratio_all": float(np.median(measured / predicted)),
        "rank_correlation": rank_correlation(predicted, measured) or 0.0,
        "linear_reach": float(np.median(seen["reach"][finite] / predicted)),
    }
    series = [
        {"predicted": float(p), "measured": float(m)}
        for p, m in zip(predicted[:400], measured[:400], strict=True)
        if np.isfinite(m)
    ]
    note = (
        "the residual's order is the median over 200 images, in float64, of the same network with softplus for ReLU; `linear_reach` is the "
        "share of the predicted distance up to which the ReLU network's logits stay within 10 % of linear, on the median image"
    )
    return Outcome(values, n=len(images), substituted=_substituted(lab), notes=(note,), series=tuple(series))


def first_to_cross(lab: Lab) -> Outcome:
    """The rank, on the clean image, of the class that overtakes first: predicted and measured."""
    model, images = _setting(lab)
    seen = _look(model, images)
    order = outputs(model, images.inputs).argsort(dim=1, descending=True).numpy()
    crossed = seen["label"] >= 0
    rank = (order == seen["label"][:, None]).argmax(1) + 1
    values = {
        "predicted_share_rank_2": float((seen["rank"] == 2).mean()),
        "measured_share_rank_2": float((rank[crossed] == 2).mean()),
    }
    series = [
        {
            "rank": place,
            "predicted": float((seen["rank"] == place).mean()),
            "measured": float((rank[crossed] == place).mean()),
        }
        for place in range(2, 11)
    ]
    interval = {key: share_interval(value, len(images)) for key, value in values.items()}
    return Outcome(values, n=len(images), interval=interval, substituted=_substituted(lab), series=tuple(series))


def mean_field_curve(lab: Lab) -> Outcome:
    """The mean-field curve is linear near zero, and lies on the measured one."""
    model, images = _setting(lab)
    seen = _look(model, images)
    predicted = mean_field(seen["gap"], seen["gain"])
    small = float(np.quantile(seen["measured"], SMALL, method="lower"))
    fits = {"mean_field": _fitted(predicted), "measured": _fitted(seen["measured"])}
    values = {f"exponent_{name}": fit.exponent for name, fit in fits.items()}
    values |= {f"fitted_share_{name}": fit.share for name, fit in fits.items()}
    values |= {
        "small_eps_ratio": float((predicted <= small).mean() / SMALL),
        "rank_correlation": rank_correlation(predicted, seen["measured"]) or 0.0,
    }
    series = [
        {"curve": name, "eps": float(np.quantile(distances, share, method="lower")), "share": float(share)}
        for name, distances in (("mean field", predicted), ("measured", seen["measured"]))
        for share in GRID
    ]
    note = "`small_eps_ratio` is the mean field's share of images at the eps where a tenth of the images has changed class, over that tenth"
    return Outcome(
        values,
        n=len(images),
        interval={f"exponent_{name}": fit.interval for name, fit in fits.items()},
        substituted=_substituted(lab),
        notes=(note,),
        series=tuple(series),
    )


def gap_exponents(lab: Lab) -> Outcome:
    """The exponents of the density of h1 - hj near zero on a trained network."""
    model, images = _setting(lab)
    gaps = sorted_gaps(outputs(model, images.inputs))
    fits = {f"exponent_rank_{rank}": _fitted(gaps[:, rank - 2]) for rank in RANKS}
    values = {name: fit.exponent - 1 for name, fit in fits.items()}
    values |= {f"p_rank_{rank}": fits[f"exponent_rank_{rank}"].goodness for rank in RANKS}
    values |= {f"share_rank_{rank}": fits[f"exponent_rank_{rank}"].share for rank in RANKS}
    wide = [_fitted(gaps[:, rank - 2], share=0.1) for rank in RANKS]
    return Outcome(
        values,
        n=len(images),
        interval={name: (fit.interval[0] - 1, fit.interval[1] - 1) for name, fit in fits.items()},
        substituted=_substituted(lab),
        notes=(
            "fitted to the smallest gaps of the images that are right, as many (a tenth, half of that, ...) as a power law fits with "
            "p >= .1; the first rule, the smallest tenth whatever the fit, gave exponents of "
            + ", ".join(f"{fit.exponent - 1:.2f} (p = {fit.goodness:.2g})" for fit in wide)
            + f" for ranks {RANKS[0]} to {RANKS[-1]}",
        ),
    )


def independent_logits(lab: Lab) -> Outcome:
    """The exponents of the gaps of independent uniform logits, from the smallest ten-thousandth of five million draws of ten."""
    from scipy.stats import beta, kstest

    samples = lab.at(small=SAMPLES, paper=SAMPLES, tiny=400_000)
    gaps = uniform_gaps(samples, 10)
    fits = {rank: _fitted(gaps[:, rank - 2], share=1.0) for rank in RANKS}
    values = {f"exponent_rank_{rank}": fit.exponent - 1 for rank, fit in fits.items()}
    values["worst_relative_deviation"] = max(abs(fit.exponent / (rank - 1) - 1) for rank, fit in fits.items())
    closed = []
    for rank in RANKS:
        inner, smallest = beta(rank - 1, 12 - rank), gaps[:, rank - 2]
        closed.append(kstest(inner.cdf(smallest[:-1]) / inner.cdf(smallest[-1]), "uniform").pvalue)
    values["smallest_p_of_the_closed_form"] = float(min(closed))
    note = (
        "`worst_relative_deviation` is that of the exponent plus one from the rank minus one; one standard error of it is "
        f"{len(gaps) ** -0.5:.3f}. The closed form is Beta(j - 1, N - j + 2), tested by Kolmogorov-Smirnov below the largest gap kept"
    )
    return Outcome(
        values,
        n=samples,
        interval={f"exponent_rank_{rank}": (fit.interval[0] - 1, fit.interval[1] - 1) for rank, fit in fits.items()},
        notes=(note,),
    )


def _setting(lab: Lab) -> tuple[nn.Module, Images]:
    """The fully connected network of figure 5 and the test images that it gets right."""
    model, images = lab.network(recipes.fig5(lab, "mlp", "regular")), lab.images("mnist:test")
    return model, images.keep(~wrong(outputs(model, images.inputs), images.labels))


def _substituted(lab: Lab) -> tuple[str, ...]:
    return recipes.substituted(recipes.fig5(lab, "mlp", "regular"))


def _oracles(model: nn.Module, images: Images) -> list[Oracle]:
    parts = [images.keep(part) for part in torch.arange(len(images)).split(BATCH)]  # type: ignore[no-untyped-call]
    return [Oracle(model, part.inputs, part.labels, bounds=None) for part in parts]


def _look(model: nn.Module, images: Images) -> Arrays:
    """Prediction and measurement of every image, along cross-entropy's gradient in L2."""
    with untouched(model):
        seen = [linear_response.look(oracle, NORM) for oracle in _oracles(model, images)]
    return {key: torch.cat([part[key].cpu() for part in seen]).numpy() for key in seen[0]}


def _smoothed(model: nn.Module) -> nn.Module:
    """A copy in float64 with softplus in the place of every ReLU."""
    smooth = copy.deepcopy(model).double()
    for part in list(smooth.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU):
                setattr(part, name, nn.Softplus(beta=10))
    return smooth


def _residual_order(model: nn.Module, images: Images) -> float:
    """log2 of the residual at `STEP` over that at half of it, the median over images: 2 where it is O(eps^2)."""
    with untouched(model):
        labels = outputs(model, images.inputs.double()).argmax(1)
        oracle = Oracle(model, images.inputs.double(), labels, bounds=None)
        rows = oracle.rows_all
        answer = respond(oracle, rows, NORM)
        sizes = [
            (oracle.logits(oracle.inputs + eps * answer.direction, rows) - answer.logits - eps * answer.slope).norm(
                dim=1
            )
            for eps in (STEP, STEP / 2)
        ]
    return float(torch.log2(sizes[0] / sizes[1]).nanmedian())


def _fitted(values: np.ndarray, **rule: float) -> Tail:
    """A fit, or one without numbers where there is too little to fit."""
    nothing = Tail(float("nan"), (float("nan"), float("nan")), 0, float("nan"), float("nan"), float("nan"))
    return fit_tail(values, **rule) or nothing  # type: ignore[arg-type]


RIGHT = 9_000  # images that must be right, of 10,000
COST = {"small": "3 min", "paper": "2 min on a GPU"}
CLAIMS = (
    Claim(
        "C7",
        "on images that are right, the adversarial error at eps is the share of images whose class has changed by eps",
        DOCUMENT,
        {"largest_difference": 0.0},
        f"{PAPER}, sec. 2",
        Rule((at_most("largest_difference", 0.01),), n=RIGHT),
        COST,
        crossing_is_error,
    ),
    Claim(
        "C8",
        "the linear response predicts the logits up to O(eps^2), and where the class changes",
        DOCUMENT,
        {"residual_order": 2.0, "ratio_nearest_tenth": 1.0},
        f"{PAPER}, sec. 2",
        Rule(
            (
                *between("residual_order", 1.9, 2.1),
                *between("ratio_nearest_tenth", 0.95, 1.05),
                at_least("rank_correlation", 0.8),
            ),
            n=RIGHT,
        ),
        COST,
        linear_prediction,
    ),
    Claim(
        "C9",
        "the second largest logit is almost always the first to overtake",
        DOCUMENT,
        {"measured_share_rank_2": None},
        f"{PAPER}, sec. 2; no number",
        Rule((at_least("predicted_share_rank_2", 0.75), at_least("measured_share_rank_2", 0.75)), n=RIGHT),
        COST,
        first_to_cross,
    ),
    Claim(
        "C10",
        "the mean field predicts an adversarial error that is linear in a small eps",
        DOCUMENT,
        {"exponent_mean_field": 1.0},
        f"{PAPER}, sec. 2",
        Rule((*between("exponent_mean_field", 0.8, 1.2), *between("small_eps_ratio", 2 / 3, 1.5)), n=RIGHT),
        COST,
        mean_field_curve,
    ),
    Claim(
        "C11",
        "the gap of the two largest logits has a flat density near zero; those of lower ranks follow powers, not always whole ones",
        DOCUMENT,
        {"exponent_rank_2": 0.0} | {f"exponent_rank_{rank}": None for rank in RANKS if rank > 2},
        f"{PAPER}, fig. 4a and 13; the fitted values of j > 2 are not printed",
        Rule(
            (
                *between("exponent_rank_2", -0.2, 0.2),
                at_least("exponent_rank_3", 0.5),
                at_least("exponent_rank_4", 1, of="exponent_rank_3"),
                at_least("exponent_rank_5", 1, of="exponent_rank_4"),
            ),
            n=RIGHT,
        ),
        COST,
        gap_exponents,
    ),
    Claim(
        "C12",
        "for independent logits the density of the gap of rank j goes as its power j - 2",
        DOCUMENT,
        {f"exponent_rank_{rank}": float(rank - 2) for rank in RANKS},
        f"{PAPER}, fig. 4b",
        Rule((at_most("worst_relative_deviation", 0.15), at_least("smallest_p_of_the_closed_form", 0.01)), n=SAMPLES),
        {"small": "1 min", "paper": "1 min"},
        independent_logits,
    ),
)
