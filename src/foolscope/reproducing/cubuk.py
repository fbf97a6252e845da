"""Document 000: slides on Cubuk, Zoph, Schoenholz & Le, "Intriguing Properties of Adversarial Examples" (2017), arXiv:1711.02846."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from foolscope.reproducing import recipes
from foolscope.reproducing.claim import Claim, Outcome, Rule, at_least
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.measuring import (
    Images,
    linear_distance,
    mean_interval,
    outputs,
    perturb,
    share_interval,
    wrong,
)

DOCUMENT = "000"
PAPER = "Cubuk, Zoph, Schoenholz & Le 2017, arXiv:1711.02846"
RADII = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
ARMS = ("regular", "entropy", "step_ll", "both")
FAMILIES = ("mlp", "cnn")
GAIN = 0.01  # of accuracy, at least, for a way of training to count as a help


def entropy_gaps(lab: Lab) -> Outcome:
    """Minimising the entropy of the outputs moves the gap between the two largest logits up."""
    images = lab.images("mnist:test")
    gaps = {}
    for arm in ("regular", "entropy"):
        top = outputs(lab.network(recipes.fig5(lab, "mlp", arm)), images.inputs).topk(2, dim=1).values
        gaps[arm] = top[:, 0] - top[:, 1]
    shift = gaps["entropy"] - gaps["regular"]
    points = torch.linspace(0, float(torch.cat(list(gaps.values())).quantile(0.99)), 41)
    series = [
        {"training": arm, "gap": float(point), "share below": float((gap <= point).double().mean())}
        for arm, gap in gaps.items()
        for point in points
    ]
    values = {
        "median_gap_regular": float(gaps["regular"].median()),
        "median_gap_entropy": float(gaps["entropy"].median()),
        "mean_shift": float(shift.mean()),
        "share_of_images_shifted_up": float((shift > 0).double().mean()),
    }
    return Outcome(
        values,
        n=len(images),
        interval={
            "mean_shift": mean_interval(shift),
            "share_of_images_shifted_up": share_interval(values["share_of_images_shifted_up"], len(images)),
        },
        substituted=recipes.substituted(*(recipes.fig5(lab, "mlp", arm) for arm in ("regular", "entropy"))),
        series=tuple(series),
    )


def fig5_step_ll(lab: Lab) -> Outcome:
    """Step-l.l. accuracy against eps of networks trained four ways, fully connected and convolutional."""
    images = lab.images("mnist:test")
    series, means = [], {}
    for family in FAMILIES:
        for arm in ARMS:
            model = lab.network(recipes.fig5(lab, family, arm))
            curve = accuracies(model, images, "step_ll:eps={eps},loss=ce")
            series += [{"eps": e, "accuracy": a, "network": family, "training": arm} for e, a in curve.items()]
            means[f"{family}_{arm}"] = sum(curve.values()) / len(curve)
    gains = {
        f"{family}_{arm}_gain": means[f"{family}_{arm}"] - means[f"{family}_regular"]
        for family in FAMILIES
        for arm in ARMS[1:]
    }
    factors = {key: value for family in FAMILIES for key, value in entropy_factors(lab, family).items()}
    return Outcome(
        means | gains | factors,
        n=len(images),
        interval={key: share_interval(value, len(images)) for key, value in means.items()},
        substituted=recipes.substituted(*(recipes.fig5(lab, family, arm) for family in FAMILIES for arm in ARMS)),
        notes=(
            "values are accuracies averaged over eps = .05 to .3; a gain is over the regular network of the same kind",
            *(note for family in FAMILIES for note in _why(family, gains[f"{family}_entropy_gain"], factors)),
        ),
        series=tuple(series),
    )


def fig5_pgd(lab: Lab) -> Outcome:
    """PGD accuracy of the fully connected networks; with the margin loss too, which confidence cannot blunt."""
    images = lab.images("mnist:test", lab.at(small=1000, paper=10_000, tiny=50))
    series, means = [], {}
    for arm in ARMS:
        model = lab.network(recipes.fig5(lab, "mlp", arm))
        for loss in ("ce", "margin"):
            curve = accuracies(model, images, f"pgd:eps={{eps}},steps=20,loss={loss}")
            series += [{"eps": e, "accuracy": a, "loss": loss, "training": arm} for e, a in curve.items()]
            means[f"{arm}_{loss}"] = sum(curve.values()) / len(curve)
    gains = {
        f"{arm}_{loss}_gain": means[f"{arm}_{loss}"] - means[f"regular_{loss}"]
        for arm in ARMS[1:]
        for loss in ("ce", "margin")
    }
    factors = entropy_factors(lab, "mlp")
    return Outcome(
        means | gains | factors,
        n=len(images),
        interval={key: share_interval(value, len(images)) for key, value in means.items()},
        substituted=recipes.substituted(*(recipes.fig5(lab, "mlp", arm) for arm in ARMS)),
        notes=(
            "values are accuracies averaged over eps = .05 to .3 under PGD with 20 steps: `ce` on cross-entropy, as in the paper, `margin` "
            "on the margin, which does not fade on confident outputs",
            *_why("mlp", gains["entropy_ce_gain"], factors),
        ),
        series=tuple(series),
    )


def entropy_factors(lab: Lab, family: str) -> dict[str, float]:
    """By how much the entropy term multiplies the median gap of the two largest logits, and the distance at which it closes linearly."""
    images = lab.images("mnist:test")
    gap, distance = {}, {}
    for arm in ("regular", "entropy"):
        model = lab.network(recipes.fig5(lab, family, arm))
        clean = outputs(model, images.inputs)
        top = clean.topk(2, dim=1).values
        gap[arm] = float((top[:, 0] - top[:, 1]).median())
        distance[arm] = float(linear_distance(model, Images(images.inputs, clean.argmax(1))).median())
    return {
        f"{family}_gap_over_regular": gap["entropy"] / gap["regular"],
        f"{family}_distance_over_regular": distance["entropy"] / distance["regular"],
    }


def _why(family: str, gain: float, factors: Mapping[str, float]) -> tuple[str, ...]:
    """What the factors say of an entropy term that gains too little."""
    if gain >= GAIN:
        return ()
    wider, farther = (factors[f"{family}_{what}_over_regular"] for what in ("gap", "distance"))
    same = (
        ": what the term adds to the gap it adds to the gradient, too"
        if wider > 1 and farther < (1 + wider) / 2
        else ""
    )
    return (
        f"{family}: the entropy term multiplies the median gap of the two largest logits by {wider:.2f}, and the distance at which the "
        f"linearised gap closes, which is the gap over the L1 norm of its gradient, by {farther:.2f}{same}",
    )


def accuracies(model: nn.Module, images: Images, attack: str) -> dict[float, float]:
    """Accuracy under an attack, by its eps, in the box [0, 1]."""
    found = {}
    for eps in RADII:
        adversarial = perturb(model, images, attack.format(eps=eps), bounds=(0.0, 1.0))
        found[eps] = 1 - float(_bad(model, adversarial, images.labels).double().mean())
    return found


def _bad(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return wrong(outputs(model, inputs), labels)


COST = {"small": "25 min", "paper": "15 min on a GPU"}
CLAIMS = (
    Claim(
        "C14",
        "minimising the entropy of the outputs moves the gap of the two largest logits up",
        DOCUMENT,
        {"mean_shift": None},
        f"{PAPER}, sec. 4; no number",
        Rule(
            (
                at_least("median_gap_entropy", 1.1, of="median_gap_regular"),
                at_least("share_of_images_shifted_up", 0.75),
            ),
            n=10_000,
        ),
        {"small": "5 min", "paper": "3 min on a GPU"},
        entropy_gaps,
    ),
    Claim(
        "C15",
        "step-l.l. accuracy: entropy regularisation, step-l.l. training and both together help, in both kinds of network",
        DOCUMENT,
        {f"{family}_{arm}_gain": None for family in FAMILIES for arm in ARMS[1:]},
        f"{PAPER}, fig. 5a, b; plots without numbers",
        Rule(tuple(at_least(f"{family}_{arm}_gain", GAIN) for family in FAMILIES for arm in ARMS[1:]), n=10_000),
        COST,
        fig5_step_ll,
    ),
    Claim(
        "C16",
        "PGD accuracy: step-l.l. training and the entropy term help the fully connected network",
        DOCUMENT,
        {f"{arm}_ce_gain": None for arm in ARMS[1:]},
        f"{PAPER}, fig. 5c; a plot without numbers",
        Rule(tuple(at_least(f"{arm}_ce_gain", GAIN) for arm in ARMS[1:]), n=1000),
        COST,
        fig5_pgd,
    ),
)
