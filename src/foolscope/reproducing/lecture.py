"""Document 001, a lecture after Goodfellow, Shlens & Szegedy (2015), "Explaining and Harnessing Adversarial Examples" (arXiv:1412.6572).

Longer than 400 lines: a document is one file, and a third of it is the table of its claims.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foolscope import rng
from foolscope.models import load_model
from foolscope.oracle import Oracle
from foolscope.reproducing import recipes
from foolscope.reproducing.cache import Recipe, untrained
from foolscope.reproducing.claim import Claim, Outcome, Rule, at_least, at_most, between
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.measuring import (
    Images,
    confidence,
    error,
    fgsm,
    fooled,
    mean_where,
    outputs,
    perturb,
    rounding,
    rounding_notes,
    share_interval,
    wrong,
)
from foolscope.reproducing.pictures import tile
from foolscope.untouched import untouched

DOCUMENT = "001"
PAPER = "Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572v3"
PANDA, PANDA_EPS = 0.577, 0.007  # the confidence with which GoogLeNet recognised it, and the step
CROP = 227  # pixels of a photograph that the network sees
PHOTOGRAPH = "china.jpg"
STEPS = 5  # in the ball, beside the single one of L6
SECONDS = {"small": "seconds", "paper": "seconds"}


def toy(lab: Lab) -> Outcome:
    """Ten inputs, each moved by 0.1, turn a confident no into a confident yes."""
    weights = torch.tensor([3.0, -4, 2, -5, 4, -1, 6, -2, 3, -4])
    model = _linear(weights)
    image = Images(-torch.ones(1, 10), torch.zeros(1, dtype=torch.int64))
    before = outputs(model, image.inputs).softmax(1)[0, 1]
    after = outputs(model, perturb(model, image, fgsm(0.1))).softmax(1)[0, 1]
    return Outcome(
        {"probability": float(before), "probability_attacked": float(after), "l1_norm": float(weights.abs().sum())},
        n=1,
        substituted=(
            "weights and input are ours, with the lecture's w.x = -2 and |w|_1 = 34, on which alone both numbers depend",
        ),
    )


def best_linear_step(lab: Lab) -> Outcome:
    """No random point of the ball raises the linearised loss as much as the sign of the gradient does."""
    count, eps = lab.at(small=10_000, paper=100_000, tiny=500), 0.1
    model = lab.network(recipes.small_digits(lab))
    images = lab.images("digits:test", 120)
    images = images.keep(~wrong(outputs(model, images.inputs), images.labels)).first(100)
    step = (perturb(model, images, fgsm(eps)) - images.inputs).flatten(1)
    with untouched(model):
        oracle = Oracle(model, images.inputs, images.labels, bounds=None)
        gradient = oracle.gradient(images.inputs, oracle.rows_all, "ce").gradient.flatten(1)
    u = 2 * rng.uniform(0, torch.arange(count), 0, tuple(gradient.shape[1:])) - 1
    random = eps * torch.cat([u[: count // 2], u[count // 2 :].sign()])  # half inside the ball, half its corners
    best, ours = (gradient @ random.T).amax(1), (gradient * step).sum(1)
    return Outcome(
        {
            "share_fgsm_wins": float((ours >= best).double().mean()),
            "best_random_over_fgsm": float((best / ours).mean()),
        },
        n=len(images),
        interval={"share_fgsm_wins": share_interval(float((ours >= best).double().mean()), len(images))},
        substituted=("a fully connected network of 2 x 64 units on scikit-learn's digits; the claim names none",),
        notes=(f"{count:,} random points of the ball of radius {eps} for each image, half of them corners",),
    )


def softmax_fgsm(lab: Lab) -> Outcome:
    """FGSM on a softmax regression."""
    return _fgsm_on(lab, recipes.softmax(lab))


def maxout_fgsm(lab: Lab) -> Outcome:
    """FGSM on a maxout network."""
    return _fgsm_on(lab, recipes.maxout(lab))


def _fgsm_on(lab: Lab, recipe: Recipe) -> Outcome:
    images = lab.images("mnist:test")
    model = lab.network(recipe)
    result = fooled(model, images, fgsm())
    values = result.values | rounding(model, images, result)
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in values if "error" in key},
        seeds=(recipe.seed,),
        substituted=recipe.remarks,
        notes=rounding_notes(values),
    )


def _linear(weights: Tensor) -> nn.Module:
    """A two-class linear model whose second logit is w.x and whose first is 0."""
    model = nn.Linear(len(weights), 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([torch.zeros_like(weights), weights]))
    return model


def one_photograph(lab: Lab) -> Outcome:
    """A photograph, recognised with moderate confidence, becomes another class with near certainty at eps .007."""
    n = lab.at(small=100, paper=1000, tiny=4)
    images, classes = _photographs(n)
    model = load_model("squeezenet1_0", weights="imagenet_squeezenet1_0").module
    clean = outputs(model, images.inputs, 20)
    right = ~wrong(clean, images.labels)
    before = confidence(clean)
    logits = outputs(model, perturb(model, images, fgsm(PANDA_EPS), batch=20), 20)
    after, flipped = confidence(logits), right & wrong(logits, images.labels)
    count = int(right.sum())
    share = float(flipped.sum()) / count
    example = int(torch.where(flipped & (before <= PANDA), after, -1).argmax())
    modest, kept = before[right] <= PANDA, images.keep(right)
    stepped = outputs(model, perturb(model, kept, f"bim:eps={PANDA_EPS},steps={STEPS},loss=ce", batch=20), 20)
    shown, pictures = _temple(model, classes)
    several = float((confidence(stepped) * (modest & wrong(stepped, kept.labels))).max())
    return Outcome(
        {
            "flipped": share,
            "flipped_with_more_confidence": float((flipped & (after > before)).sum()) / count,
            "confidence_before": float(before[example]),
            "confidence_after": float(after[example]),
            "mean_confidence_before": mean_where(before, flipped),
            "mean_confidence_after": mean_where(after, flipped),
            "confidence_after_several_steps": several,
        },
        n=count,
        interval={"flipped": share_interval(share, count)},
        substituted=(
            "SqueezeNet 1.0 for GoogLeNet",
            f"the images that it gets right among the first {n} of the ImageNet sample for the one of a panda; confidence_before and "
            f"_after are those of number {example}, the most confident mistake on an image recognised with no more than the panda's "
            f"{PANDA:.1%}",
        ),
        notes=(
            "the paper shows one photograph, chosen by its authors; here the images come as they are",
            f"of the {int(modest.sum())} images recognised with no more than the panda's confidence, {STEPS} steps in the same ball take "
            f"the best one to {several:.1%} in a wrong class, the single step to {float(after[example]):.1%}",
            shown,
        ),
        pictures=pictures,
    )


def _temple(model: nn.Module, classes: Sequence[str]) -> tuple[str, tuple[dict[str, Any], ...]]:
    """The paper's fig. 1 on a photograph that may be shown: what it shows, and its images with every second pixel."""
    from sklearn.datasets import load_sample_image

    whole = torch.from_numpy(load_sample_image(PHOTOGRAPH).copy()).permute(2, 0, 1)[None] / 255
    whole = F.interpolate(whole, scale_factor=256 / min(whole.shape[2:]), mode="bilinear", antialias=True)
    top, left = ((extent - CROP) // 2 for extent in whole.shape[2:])
    image = whole[:, :, top : top + CROP, left : left + CROP]
    before = outputs(model, image)
    moved = perturb(model, Images(image, before.argmax(1)), fgsm(PANDA_EPS))
    after = outputs(model, moved)
    told = [f"{classes[int(logits.argmax())]} ({float(confidence(logits)):.1%})" for logits in (before, after)]
    small = [each[0, :, ::2, ::2] for each in (image, (moved - image).sign(), moved)]
    return (
        f"the picture is not one of them: {PHOTOGRAPH} from scikit-learn (danielbuechele, CC BY 2.0), which has no label. The network "
        f"takes it for {told[0]}, and after the step for {told[1]}",
        tuple(tile("", each, low, 1) for each, low in zip(small, (0, -1, 0), strict=True)),
    )


def _photographs(n: int) -> tuple[Images, tuple[str, ...]]:
    import numpy as np

    from foolscope.data import open_data

    data = open_data("imagenet_sample", samples=n, crop=CROP)
    return Images(data.read(np.arange(len(data))), torch.from_numpy(data.labels)), data.classes


def transfer_matrix(lab: Lab) -> Outcome:
    """Examples made on one network fool another."""
    images = lab.images("mnist:test")
    models = lab.networks(recipes.zoo(lab))
    clean = {name: error(outputs(model, images.inputs), images.labels) for name, model in models.items()}
    series: list[dict[str, Any]] = []
    for source, model in models.items():
        adversarial = perturb(model, images, fgsm())
        for target, other in models.items():
            share = error(outputs(other, adversarial), images.labels)
            series.append({"source": source, "target": target, "error": share, "clean_error": clean[target]})
    crossed = [row for row in series if row["source"] != row["target"]]
    errors = [float(row["error"]) for row in crossed]
    return Outcome(
        {
            "smallest_ratio_to_clean": min(
                float(row["error"]) / max(float(row["clean_error"]), 1e-4) for row in crossed
            ),
            "mean_transferred_error": sum(errors) / len(errors),
            "smallest_transferred_error": min(errors),
            "largest_clean_error": max(clean.values()),
        },
        n=len(images),
        interval={"smallest_transferred_error": share_interval(min(errors), len(images))},
        substituted=recipes.substituted(*recipes.zoo(lab).values()),
        series=tuple(series),
    )


def along_the_sign(lab: Lab) -> Outcome:
    """Logits along the sign of the gradient are piecewise linear in eps, and a linear model's response grows with the dimension."""
    count = lab.at(small=200, paper=1000, tiny=20)
    images = lab.images("mnist:test", count)
    model = lab.network(recipes.maxout(lab))
    right = ~wrong(outputs(model, images.inputs), images.labels)
    images = images.keep(right)
    direction = (perturb(model, images, fgsm(1.0, "margin")) - images.inputs).sign()
    eps = torch.linspace(-10, 10, 81)
    logits = torch.stack([outputs(model, images.inputs + float(e) * direction) for e in eps], 1)  # (n, 81, c)
    sides = [_r_squared(eps[side], logits[:, side]) for side in (eps <= 0, eps >= 0)]
    r_squared = torch.cat([side.flatten() for side in sides])
    predicted = logits.argmax(2)
    beyond = predicted[:, eps >= 0.5]
    stable = (beyond == beyond[:, :1]).all(1) & (beyond[:, 0] != images.labels)
    return Outcome(
        {
            "median_r_squared": float(r_squared.median()),
            "lowest_tenth_r_squared": float(r_squared.quantile(0.1)),
            "wrong_class_stable_to_10": float(stable.double().mean()),
            "growth_exponent": _growth(),
        },
        n=len(images),
        interval={"wrong_class_stable_to_10": share_interval(float(stable.double().mean()), len(images))},
        substituted=recipes.maxout(lab).remarks,
        notes=(
            "a straight line is fitted to each logit on each side of eps = 0; growth_exponent is the slope of log(w.eta) against log(n) "
            "for linear models of n = 10 to 10,000 weights of the same mean size",
        ),
        series=tuple(
            {"eps": float(e), "class": str(k), "logit": float(logits[0, i, k])}
            for i, e in enumerate(eps)
            for k in range(logits.shape[2])
        ),
    )


def _r_squared(x: Tensor, y: Tensor) -> Tensor:
    """Of a straight line fitted to each column: x `(e,)`, y `(n, e, c)` -> `(n, c)`."""
    x, y = (x - x.mean()).double()[None, :, None], (y - y.mean(1, keepdim=True)).double()
    return (x * y).sum(1) ** 2 / ((x * x).sum(1) * (y * y).sum(1)).clamp_min(1e-300)


def _growth() -> float:
    sizes, growth = (10, 100, 1000, 10_000), []
    for n in sizes:
        weights = 2 * rng.uniform(0, torch.tensor([n]), 0, (n,))[0] - 1
        weights *= 0.1 / weights.abs().mean()
        image = Images(-weights.sign()[None] * 0.5, torch.zeros(1, dtype=torch.int64))
        model = _linear(weights)
        moved = perturb(model, image, fgsm(0.01, "margin"))
        growth.append(float((outputs(model, moved) - outputs(model, image.inputs))[0, 1]))
    x, y = torch.tensor(sizes).double().log(), torch.tensor(growth).double().log()
    return float(((x - x.mean()) * y).sum() / ((x - x.mean()) ** 2).sum())


def rbf_fgsm(lab: Lab) -> Outcome:
    """FGSM on a shallow RBF network: wrong often, but then without confidence."""
    recipe = recipes.rbf(lab)
    images = lab.images("mnist:test")
    model = lab.network(recipe)
    clean = outputs(model, images.inputs)
    logits = outputs(model, perturb(model, images, fgsm()))
    was, now = wrong(clean, images.labels), wrong(logits, images.labels)
    values = {
        "clean_error": error(clean, images.labels),
        "fgsm_error": error(logits, images.labels),
        "confidence_on_mistakes": mean_where(recipes.rbf_probability(logits), now & ~was),
        "confidence_on_clean": mean_where(recipes.rbf_probability(clean), ~was),
        "softmax_confidence_on_mistakes": mean_where(confidence(logits), now & ~was),
    }
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in ("clean_error", "fgsm_error")},
        substituted=recipe.remarks,
    )


def vanishing_gradients(lab: Lab) -> Outcome:
    """With an RBF head, the gradients that reach the first layer are far smaller than with a linear head."""
    images = lab.images("mnist:train", lab.at(small=1000, paper=1000, tiny=50))
    recipe = {"linear": recipes.head(lab, "linear"), "rbf": recipes.head(lab, "rbf")}
    before = {
        name: _first_layer_gradient(untrained(each, lab.open(each.data)), images) for name, each in recipe.items()
    }
    after = {name: _first_layer_gradient(lab.network(each), images) for name, each in recipe.items()}
    test = lab.images("mnist:test")
    errors = {name: error(outputs(lab.network(each), test.inputs), test.labels) for name, each in recipe.items()}
    squared = _squared_error_ratios(lab, recipe, images)
    return Outcome(
        {
            "gradient_ratio_untrained": before["rbf"] / before["linear"],
            "gradient_ratio_trained": after["rbf"] / max(after["linear"], 1e-30),
            "clean_error_linear_head": errors["linear"],
            "clean_error_rbf_head": errors["rbf"],
        }
        | squared,
        n=len(images),
        substituted=recipes.substituted(*recipe.values()),
        notes=(
            "ratios are of the norm of the first layer's gradient, RBF head over linear head, mean over batches of 50 images",
            "the loss decides: trained here is on cross-entropy, the log of the probability, which undoes an RBF unit's exponential; its "
            "gradient with respect to the true class's distance is 1 at any distance. Squared error's carries the probability as a factor: "
            f"with it the ratio before training is {squared['gradient_ratio_squared_error']:.2g}, and "
            f"{squared['gradient_ratio_squared_error_narrow']:.2g} with units of a tenth of the width (mean squared distance at which p is "
            "1/e)",
        ),
    )


def _squared_error_ratios(lab: Lab, recipe: Mapping[str, Recipe], images: Images) -> dict[str, float]:
    """The ratio before training under squared error on the probabilities, as the units start and with a tenth of their width."""
    linear, rbf = (untrained(recipe[name], lab.open(recipe[name].data)) for name in ("linear", "rbf"))

    def loss(logits: Tensor, wanted: Tensor) -> Tensor:
        return F.mse_loss(logits.sigmoid(), wanted)

    base, wide = (_first_layer_gradient(model, images, loss) for model in (linear, rbf))
    with torch.no_grad():
        rbf.head.roughness.add_(math.log(10))  # type: ignore[union-attr, operator]
    narrow = _first_layer_gradient(rbf, images, loss)
    return {"gradient_ratio_squared_error": wide / base, "gradient_ratio_squared_error_narrow": narrow / base}


def _first_layer_gradient(
    model: nn.Module,
    images: Images,
    loss_of: Callable[[Tensor, Tensor], Tensor] = F.binary_cross_entropy_with_logits,
) -> float:
    """Norm of the mean loss's gradient with respect to the first layer's weights, over batches of 50."""
    first = next(p for p in model.parameters() if p.ndim > 1)
    first.requires_grad_()
    norms = []
    for x, y in zip(torch.split(images.inputs, 50), torch.split(images.labels, 50), strict=True):
        with torch.enable_grad():
            logits = model(x)
            loss = loss_of(logits, F.one_hot(y, logits.shape[1]).to(logits))
        norms.append(float(torch.autograd.grad(loss, first)[0].norm()))
    return sum(norms) / len(norms)


def adversarial_training(lab: Lab) -> Outcome:
    """Training on J(x) and J(x + eps sign) in equal parts makes the network resist FGSM, and does not cost clean accuracy."""
    images = lab.images("mnist:test")
    plain = fooled(lab.network(recipes.maxout(lab)), images, fgsm())
    recipe = recipes.maxout(lab, "adversarial")
    model = lab.network(recipe)
    robust = fooled(model, images, fgsm())
    values = {
        "clean_error_plain": plain.clean_error,
        "clean_error_adversarial": robust.clean_error,
        "fgsm_error_plain": plain.fgsm_error,
        "fgsm_error_adversarial": robust.fgsm_error,
        "confidence_on_mistakes_adversarial": robust.confidence_on_mistakes,
    }
    values |= {f"{key}_adversarial": value for key, value in rounding(model, images, robust).items()}
    briefly = fooled(lab.network(recipes.briefer(lab)), images, fgsm())
    values[f"clean_error_adversarial{recipes.THIRD}"] = briefly.clean_error
    values[f"fgsm_error_adversarial{recipes.THIRD}"] = briefly.fgsm_error
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in values if "error" in key},
        substituted=recipes.substituted(recipes.maxout(lab), recipe),
        notes=recipes.short_training(lab, values),
    )


def fgsm_on_colour(lab: Lab) -> Outcome:
    """FGSM on a convolutional maxout network in the whitened CIFAR-10 of the paper."""
    recipe = recipes.conv_maxout(lab)
    images = lab.images(recipes.CIFAR_TEST, lab.at(small=1000, paper=10_000, tiny=50))
    found = lab.found(recipe)
    values = fooled(found.module, images, fgsm(0.1)).values
    right = max(1 / len(images), 1 - values["clean_error"])
    values["fooled_of_those_right"] = (values["fgsm_error"] - values["clean_error"]) / right
    first, last = (float(found.history[place]["train_error"]) for place in (0, -1))
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in ("clean_error", "fgsm_error")}
        | {"fooled_of_those_right": share_interval(values["fooled_of_those_right"], round(right * len(images)))},
        substituted=recipes.colour_substituted(lab),
        notes=(
            f"training error {first:.1%} after the first epoch, {last:.1%} after the last of {len(found.history)}. The FGSM error counts "
            f"the images that are wrong without an attack; of those that are right the step turns {values['fooled_of_those_right']:.1%}. "
            f"On these the network's mean confidence is {values['confidence_on_clean']:.1%} before the step, and "
            f"{values['confidence_on_mistakes']:.1%} in the wrong class after it",
        ),
    )


CLAIMS = (
    Claim(
        "L1",
        "a step of 0.1 on ten inputs takes a logistic unit from 12 % to 80 %",
        DOCUMENT,
        {"probability": 0.119, "probability_attacked": 0.802},
        "the lecture's example: w.x = -2, |w|_1 = 34",
        Rule((*between("probability", 0.1185, 0.1195), *between("probability_attacked", 0.8015, 0.8025)), n=1),
        SECONDS,
        toy,
    ),
    Claim(
        "L2",
        "FGSM maximises the linearised loss in the linf ball",
        DOCUMENT,
        {"share_fgsm_wins": 1.0},
        f"{PAPER}, sec. 3-4",
        Rule((at_least("share_fgsm_wins", 1.0),), n=100),
        SECONDS,
        best_linear_step,
    ),
    Claim(
        "L3",
        "softmax regression at eps .25 is wrong almost always",
        DOCUMENT,
        {"fgsm_error": 0.999, "confidence_on_mistakes": 0.793},
        f"{PAPER}, sec. 4",
        Rule((at_least("fgsm_error", 0.99),), n=10_000),
        {"small": "1 min", "paper": "1 min"},
        softmax_fgsm,
    ),
    Claim(
        "L4",
        "a maxout network at eps .25 is wrong on 89 % of the images, and confident",
        DOCUMENT,
        {"fgsm_error": 0.894, "confidence_on_mistakes": 0.976},
        f"{PAPER}, sec. 4 (the lecture's eps of .255 is a slip)",
        Rule(
            (
                at_most("clean_error", 0.015),
                *between("fgsm_error", 0.844, 0.944),
                *between("confidence_on_mistakes", 0.926, 1.0),
            ),
            n=10_000,
        ),
        {"small": "5 min", "paper": "3 min on a GPU"},
        maxout_fgsm,
    ),
    Claim(
        "L5",
        "convolutional maxout on whitened CIFAR-10 at eps .1 is wrong on 87 % of the images",
        DOCUMENT,
        {"fgsm_error": 0.8715, "confidence_on_mistakes": 0.966},
        f"{PAPER}, sec. 4 (the lecture's eps of .15 is a slip)",
        Rule((*between("fgsm_error", 0.8215, 0.9215), *between("confidence_on_mistakes", 0.916, 1.0)), n=1000),
        {"small": "20 min", "paper": "2 h on a GPU"},
        fgsm_on_colour,
    ),
    Claim(
        "L6",
        "eps .007 turns a photograph recognised with 58 % into another class with 99 %",
        "001, 003",
        {"confidence_before": 0.577, "confidence_after": 0.993},
        f"{PAPER}, fig. 1",
        Rule((at_least("flipped", 0.5), at_least("confidence_after", 0.99)), n=50),
        {"small": "1 min", "paper": "5 min"},
        one_photograph,
    ),
    Claim(
        "L7",
        "examples made on one network fool others",
        "001, 004",
        {"mean_transferred_error": None},
        f"{PAPER}, sec. 8",
        Rule((at_least("smallest_ratio_to_clean", 3),), n=10_000),
        {"small": "15 min", "paper": "30 min"},
        transfer_matrix,
    ),
    Claim(
        "L8",
        "logits are piecewise linear along the sign of the gradient; the response grows with the dimension",
        DOCUMENT,
        {"growth_exponent": 1.0, "median_r_squared": None},
        f"{PAPER}, sec. 3 and fig. 4",
        Rule((at_least("median_r_squared", 0.98), *between("growth_exponent", 0.99, 1.01)), n=100),
        {"small": "1 min after L4", "paper": "1 min after L4"},
        along_the_sign,
    ),
    Claim(
        "L9",
        "a shallow RBF network is not confident when it is fooled",
        DOCUMENT,
        {"fgsm_error": 0.554, "confidence_on_mistakes": 0.012, "confidence_on_clean": 0.606},
        f"{PAPER}, sec. 7",
        Rule((at_most("confidence_on_mistakes", 0.2, of="confidence_on_clean"),), n=10_000),
        {"small": "3 min", "paper": "2 min on a GPU"},
        rbf_fgsm,
    ),
    Claim(
        "L10",
        "gradients vanish behind an RBF head",
        DOCUMENT,
        {"gradient_ratio_untrained": None, "gradient_ratio_trained": None},
        f'{PAPER}, sec. 7 ("RBF networks are difficult to train"); no number',
        Rule((at_most("gradient_ratio_untrained", 0.1),), n=1000),
        {"small": "3 min", "paper": "2 min on a GPU"},
        vanishing_gradients,
    ),
    Claim(
        "L11",
        "adversarial training brings the FGSM error down and does not cost clean accuracy",
        "001, 004",
        {
            "clean_error_plain": 0.0094,
            "clean_error_adversarial": 0.0084,
            "fgsm_error_plain": 0.894,
            "fgsm_error_adversarial": 0.179,
        },
        f"{PAPER}, sec. 6",
        Rule(
            (
                at_most("fgsm_error_adversarial", 0.25),
                at_most("clean_error_adversarial", 1, of="clean_error_plain"),
            ),
            n=10_000,
        ),
        {"small": "20 min", "paper": "10 min on a GPU"},
        adversarial_training,
    ),
)
