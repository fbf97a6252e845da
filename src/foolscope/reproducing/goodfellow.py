"""Goodfellow, Shlens & Szegedy (2015), arXiv:1412.6572v3: experiments of the paper that the lecture only alludes to.

Longer than 400 lines: a document is one file, and a third of it is the table of its claims.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foolscope.models.rbf import Rbf
from foolscope.reproducing import recipes
from foolscope.reproducing.claim import Claim, Outcome, Rule, at_least, at_most
from foolscope.reproducing.generative import fit_gaussians
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.lecture import PAPER
from foolscope.reproducing.measuring import (
    EPS,
    Fooled,
    Images,
    confidence,
    error,
    fgsm,
    fooled,
    gaussian,
    mean_interval,
    mean_where,
    outputs,
    perturb,
    rounding,
    rounding_notes,
    share_interval,
    wrong,
)
from foolscope.reproducing.pictures import tile, weights_tile

DOCUMENT = "paper"
SEEDS = 5  # of the largest network
FILTERS = 16  # of the first layer that the picture shows
SHOWN = 12  # images a row of a picture
HIDDEN = (3, 6)  # the layers whose outputs are perturbed
RUBBISH_EPS = 0.1  # of the step that turns noise into a chosen class
NOISE = 2.5  # standard deviations between grey and white in the picture
LONGER, CLEAN = 4, 1000  # beside it: a longer step, and the network's confidence on so many clean images


def logistic(lab: Lab) -> Outcome:
    """Logistic regression on 3 against 7, and the loss of its worst case in closed form."""
    recipe = recipes.logistic(lab)
    images = recipes.threes_and_sevens(lab.images("mnist:test"))
    model = lab.network(recipe)
    result = fooled(model, images, fgsm())
    right = ~wrong(outputs(model, images.inputs), images.labels)  # the others are not perturbed
    exact = copy.deepcopy(model).double()
    weights, bias = recipes.as_hyperplane(exact)
    sign = 2.0 * images.labels - 1
    activation = images.inputs.flatten(1).double() @ weights + bias
    adversarial = perturb(exact, images, fgsm())
    found = outputs(exact, adversarial)
    bent = ((adversarial - result.adversarial).abs() > EPS).flatten(1).any(1)
    loss = F.softplus(-sign * (found[:, 1] - found[:, 0]))
    corrected = F.softplus(EPS * weights.abs().sum() - sign * activation)
    printed = F.softplus(sign * (EPS * weights.abs().sum() - activation))
    values = result.values | {
        "closed_form_gap": float((loss - corrected)[right].abs().max()),
        "printed_form_gap_3": float((loss - printed)[right & (sign < 0)].abs().max()),
        "printed_form_gap_7": float((loss - printed)[right & (sign > 0)].abs().max()),
        "steps_bent_in_float32": mean_where(bent.double(), right),
    }
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in ("clean_error", "fgsm_error")},
        substituted=recipe.remarks,
        notes=(
            "the worst case is softplus(eps |w|_1 - y (w.x + b)); the paper prints softplus(y (eps |w|_1 - w.x - b)), which is the same "
            "for y = +1 (here the 7) alone: the gaps are the largest differences from the loss that FGSM reached, in float64. In float32 a "
            "confident probability rounds to 1, and cross-entropy's gradient with it: steps_bent_in_float32 is the share of right images "
            "on which FGSM then moves some pixels the wrong way",
        ),
        pictures=_threes_and_sevens(weights, images, result),
    )


def _threes_and_sevens(weights: Tensor, images: Images, found: Fooled) -> tuple[dict[str, Any], ...]:
    """The paper's fig. 2: weights, their signs, images before and after."""
    shape = images.inputs.shape[-2:]
    after = zip(found.adversarial[:SHOWN], wrong(found.logits, images.labels)[:SHOWN].tolist(), strict=True)
    return (
        weights_tile("weights", weights.reshape(shape)),
        weights_tile("weights", weights.sign().reshape(shape)),
        *(tile("clean", image, -EPS, 1 + EPS) for image in images.inputs[:SHOWN]),
        *(tile("FGSM", image, -EPS, 1 + EPS, framed=fooled) for image, fooled in after),
    )


def l1_decay(lab: Lab) -> Outcome:
    """L1 weight decay of .0025 on the first layer of a maxout network is too much: it does not even fit the training set."""
    train, test = lab.images("mnist:train", 10_000), lab.images("mnist:test")
    arms = {name: recipes.maxout(lab, name) for name in ("l1_large", "l1_small")}
    models = lab.networks(arms)
    plain = lab.network(recipes.maxout(lab))
    values = {
        "train_error": error(outputs(models["l1_large"], train.inputs), train.labels),
        "clean_error": error(outputs(models["l1_large"], test.inputs), test.labels),
        "clean_error_small_coefficient": error(outputs(models["l1_small"], test.inputs), test.labels),
        "clean_error_plain": error(outputs(plain, test.inputs), test.labels),
    }
    return Outcome(
        values,
        n=len(train),
        interval={key: share_interval(values[key], len(train)) for key in values},
        substituted=recipes.substituted(*arms.values(), recipes.maxout(lab)),
        notes=("the small coefficient is ours, 2.5e-5: the paper says only that smaller ones train, without benefit",),
    )


def large_maxout(lab: Lab) -> Outcome:
    """Wider layers, adversarial training, stopping on adversarial validation error, retrained on everything, five seeds.

    At small scale the networks that were stopped are the results: nothing is retrained.
    """
    images = lab.images("mnist:test")
    arms = {arm: recipes.wide_maxout(lab, arm) for arm in ("plain", "adversarial")}
    plain = lab.networks(arms)["plain"]
    epochs = None if lab.scale == "small" else recipes.best_epoch(lab, arms["adversarial"])
    seeds = range(lab.at(small=SEEDS, paper=SEEDS, tiny=2))
    robust = [lab.network(recipes.wide_maxout(lab, "adversarial", seed, epochs)) for seed in seeds]
    bad = torch.stack([wrong(outputs(model, images.inputs), images.labels).double() for model in (plain, *robust)])
    errors, change = bad[1:].mean(1).tolist(), bad[1:].mean(0) - bad[0]
    values = {
        "clean_error_plain": float(bad[0].mean()),
        "clean_error_adversarial": sum(errors) / len(errors),
        "best": min(errors),
        "worst": max(errors),
        "clean_error_change": float(change.mean()),
        "fgsm_error_plain": fooled(plain, images, fgsm()).fgsm_error,
        "fgsm_error_adversarial": fooled(robust[0], images, fgsm()).fgsm_error,
    }
    shares = ("clean_error_plain", "fgsm_error_plain", "fgsm_error_adversarial")
    histories = {arm: lab.found(recipe).history for arm, recipe in arms.items()}
    return Outcome(
        values,
        n=len(images),
        seeds=tuple(seeds),
        interval={key: share_interval(values[key], len(images)) for key in shares}
        # over images: the networks get the same ones wrong
        | {"clean_error_adversarial": mean_interval(bad[1:].mean(0)), "clean_error_change": mean_interval(change)},
        substituted=recipes.substituted(*arms.values()),
        notes=_short(histories, values["clean_error_plain"]) if epochs is None else (),
        series=tuple(
            {"training": arm} | {key: epoch[key] for key in ("epoch", "loss", "validation_error", "adversarial_error")}
            for arm, history in histories.items()
            for epoch in history
        ),
    )


def _short(histories: Mapping[str, Sequence[Mapping[str, Any]]], plain: float) -> tuple[str, ...]:
    """What was not done as in the paper, and whether the validation error was still falling when training ended."""
    ends = " and ".join(
        f"{arm} from {history[-2]['validation_error']:.2%} to {history[-1]['validation_error']:.2%}"
        for arm, history in histories.items()
    )
    return (
        "nothing was retrained on all 60,000 images; the plain network is one, of seed 0, as many updates long. clean_error_change is the "
        "adversarially trained networks' mean error less the plain one's, on the same images",
        f"{max(map(len, histories.values()))} epochs do not train these networks: the plain one's error is {plain:.2%} for the paper's "
        f"1.14%, and in the last, whose learning rate falls to 0, the validation error of seed 0 goes {ends}",
    )


def transfer(lab: Lab) -> Outcome:
    """Between a plain and an adversarially trained network: the latter resists foreign examples, its own fool the plain one."""
    images = lab.images("mnist:test")
    plain, robust = (lab.network(recipes.maxout(lab, arm)) for arm in ("plain", "adversarial"))
    briefly = lab.network(recipes.briefer(lab))
    from_plain, from_robust = (fooled(model, images, fgsm()) for model in (plain, robust))
    values = {
        "plain_to_adversarial": error(outputs(robust, from_plain.adversarial), images.labels),
        "adversarial_to_plain": error(outputs(plain, from_robust.adversarial), images.labels),
        "confidence_on_mistakes": from_robust.confidence_on_mistakes,
        f"plain_to_adversarial{recipes.THIRD}": error(outputs(briefly, from_plain.adversarial), images.labels),
    }
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in values if "_to_" in key},
        substituted=recipes.substituted(recipes.maxout(lab), recipes.maxout(lab, "adversarial")),
        notes=recipes.short_training(lab, values),
    )


def noise_training(lab: Lab) -> Outcome:
    """Training on random noise of the same size does not help against FGSM."""
    images = lab.images("mnist:test")
    arms = {arm: recipes.maxout(lab, arm) for arm in ("noise_sign", "noise_uniform", "adversarial")}
    found = {arm: fooled(model, images, fgsm()) for arm, model in lab.networks(arms).items()}
    values = {
        "fgsm_error_sign": found["noise_sign"].fgsm_error,
        "fgsm_error_uniform": found["noise_uniform"].fgsm_error,
        "confidence_on_mistakes_sign": found["noise_sign"].confidence_on_mistakes,
        "confidence_on_mistakes_uniform": found["noise_uniform"].confidence_on_mistakes,
        "fgsm_error_adversarial": found["adversarial"].fgsm_error,
    }
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in values if "error" in key},
        substituted=recipes.substituted(*arms.values()),
    )


def agreement(lab: Lab) -> Outcome:
    """Networks of different kinds that are fooled by the same example tend to name the same wrong class."""
    images = lab.images("mnist:test")
    kinds = {"maxout": recipes.maxout(lab), "softmax": recipes.softmax(lab), "rbf": recipes.rbf(lab)}
    models = lab.networks(kinds)
    adversarial = perturb(models["maxout"], images, fgsm())
    logits = {name: outputs(model, adversarial) for name, model in models.items()}
    named = {name: each.argmax(1) for name, each in logits.items()}
    bad = {name: wrong(each, images.labels) for name, each in logits.items()}

    def agree(one: str, other: str, where: Tensor) -> float:
        return mean_where((named[one] == named[other]).double(), where)

    counts = {
        "rbf_agrees": bad["maxout"],
        "softmax_agrees": bad["maxout"],
        "softmax_agrees_both_wrong": bad["maxout"] & bad["softmax"],
        "rbf_agrees_both_wrong": bad["maxout"] & bad["rbf"],
        "rbf_agrees_with_softmax_both_wrong": bad["softmax"] & bad["rbf"],
    }
    pairs = (("rbf", "maxout"), ("softmax", "maxout"), ("softmax", "maxout"), ("rbf", "maxout"), ("rbf", "softmax"))
    values = {key: agree(*pair, where) for pair, (key, where) in zip(pairs, counts.items(), strict=True)}
    errors = {f"error_{name}": float(each.double().mean()) for name, each in bad.items()}
    counted = torch.bincount(named["rbf"][bad["rbf"]], minlength=10)
    most = int(counted.argmax())
    favourite = float(counted[most]) / max(1, int(bad["rbf"].sum()))
    (unit,) = (module for module in models["rbf"].modules() if isinstance(module, Rbf))
    precision = unit.roughness.detach().exp().sum(1)  # of each class's unit: the smaller, the wider
    wider = int((precision < precision[most]).sum())
    why = (
        f"the RBF network names one and the same class, {most}, on {favourite:.0%} of its own mistakes, and so agrees with others by "
        f"chance only. {9 - wider} of the nine other units are narrower than that class's: its precisions sum to "
        f"{float(precision[most]):.3g}, the median unit's to {float(precision.median()):.3g}; far from every centre the widest unit has "
        "the largest of ten vanishing probabilities, whatever the direction"
    )
    return Outcome(
        values | errors | {"rbf_favourite_class": favourite},
        n=len(images),
        interval={key: share_interval(values[key], int(where.sum())) for key, where in counts.items() if where.any()},
        substituted=recipes.substituted(*kinds.values()),
        notes=(
            "chance, if a wrong class were named at random, is 1/9 where both are wrong",
            *((why,) if favourite > 0.5 else ()),
        ),
    )


def ensemble(lab: Lab) -> Outcome:
    """An ensemble of maxout networks is fooled almost as much as one."""
    members = [recipes.maxout(lab, seed=seed) for seed in range(lab.at(small=3, paper=12, tiny=2))]
    models = [lab.network(recipe) for recipe in members]
    images = lab.images("mnist:test")
    whole = recipes.ensemble(models)
    on_all = fooled(whole, images, fgsm())
    on_one = error(outputs(whole, perturb(models[0], images, fgsm())), images.labels)
    values = {"fgsm_error_whole": on_all.fgsm_error, "fgsm_error_one_member": on_one, "clean_error": on_all.clean_error}
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in values},
        seeds=tuple(range(len(members))),
        substituted=(
            *((f"{len(members)} members for 12",) if lab.scale != "paper" else ()),
            *recipes.substituted(*members),
        ),
    )


def rubbish(lab: Lab) -> Outcome:
    """Gaussian noise is taken for a digit with confidence, except by the RBF network."""
    n = lab.at(small=10_000, paper=10_000, tiny=200)
    noise = gaussian(tuple(lab.images("mnist:test", 1).inputs.shape[1:]), n)
    maxout, sigmoids, softmax, rbf = kinds = (
        recipes.maxout(lab),
        recipes.maxout(lab, "sigmoids"),
        recipes.softmax(lab),
        recipes.rbf(lab),
    )
    shown = {
        "maxout": confidence(outputs(lab.network(maxout), noise)),
        "sigmoids": outputs(lab.network(sigmoids), noise).sigmoid().amax(1),
        "softmax": confidence(outputs(lab.network(softmax), noise)),
        "rbf": recipes.rbf_probability(outputs(lab.network(rbf), noise)),
    }
    values = {f"error_{name}": float((p > 0.5).double().mean()) for name, p in shown.items()}
    intervals = {key: share_interval(value, n) for key, value in values.items()}
    means = {f"confidence_{name}": mean_where(p, p > 0.5) for name, p in shown.items() if bool((p > 0.5).any())}
    return Outcome(
        values | means,
        n=n,
        interval=intervals,
        substituted=recipes.substituted(*kinds),
        notes=(
            "an error is a sample of N(0, I) that some class claims with p > .5; confidences are means over those. The rule judges the "
            "softmax and RBF networks and the maxout network with softmax; the one with independent sigmoids is shown beside the paper's",
        ),
    )


def fooling(lab: Lab) -> Outcome:
    """One step from noise makes any class appear, most classes easily."""
    model, clean = lab.network(recipes.conv_maxout(lab)), lab.images(recipes.CIFAR_TEST, CLEAN)
    n = lab.at(small=200, paper=1000, tiny=20)
    noise = gaussian(tuple(clean.inputs.shape[1:]), n)
    before = outputs(model, noise)
    images = Images(noise, before.argmin(1))

    def moved(which: Images, target: int, eps: float) -> Tensor:
        return perturb(model, which, fgsm(eps), targets=torch.full((len(which),), target))

    def after(target: int, eps: float) -> Tensor:
        return outputs(model, moved(images, target, eps)).softmax(1)

    steps = [after(target, RUBBISH_EPS) for target in range(10)]
    appears = torch.stack([p[:, k] > 0.5 for k, p in enumerate(steps)]).double()  # (10, n)
    likeliest = torch.stack([p.argmax(1) == k for k, p in enumerate(steps)]).double()
    longer = torch.stack([after(k, LONGER * RUBBISH_EPS)[:, k] > 0.5 for k in range(10)]).double()
    rubbish_error = float((confidence(before) > 0.5).double().mean())
    values = {
        "rubbish_error": rubbish_error,
        "average": float(appears.mean()),
        "airplane": float(appears[0].mean()),
        "frog": float(appears[6].mean()),
        "truck": float(appears[9].mean()),
        "likeliest": float(likeliest.mean()),
        "average_at_four_times_eps": float(longer.mean()),
        "confident_on_clean": float((confidence(outputs(model, clean.inputs)) > 0.5).double().mean()),
    }
    return Outcome(
        values,
        n=n,
        interval={
            "rubbish_error": share_interval(rubbish_error, n),
            "average": mean_interval(appears.mean(0)),  # over images: the ten classes share them
            "likeliest": mean_interval(likeliest.mean(0)),
            "average_at_four_times_eps": mean_interval(longer.mean(0)),
            "confident_on_clean": share_interval(values["confident_on_clean"], len(clean)),
        },
        substituted=recipes.colour_substituted(lab),
        notes=(
            f"a class appears where its probability exceeds .5. The step of {RUBBISH_EPS:g} makes the target the likeliest class in "
            f"{values['likeliest']:.1%} of the tries, and brings it above .5 in {values['average']:.1%}; one of {LONGER * RUBBISH_EPS:g} "
            f"does so in {values['average_at_four_times_eps']:.1%}. On the first {len(clean):,} clean test images a class gets "
            f"more than .5 in {values['confident_on_clean']:.1%}",
        ),
        pictures=tuple(
            tile(name, image, -NOISE, NOISE, framed=bool(found))
            for name, target in (("airplane", 0), ("frog", 6), ("truck", 9))
            for image, found in zip(moved(images.first(SHOWN), target, RUBBISH_EPS), appears[target], strict=False)
        ),
    )


def generative(lab: Lab) -> Outcome:
    """A generative model is fooled like the others."""
    train, images = lab.images("mnist:train"), lab.images("mnist:test")
    model = fit_gaussians(train)
    values = fooled(model, images, fgsm()).values
    few = images.first(lab.at(small=1000, paper=10_000, tiny=50))
    values |= rounding(model, few, fooled(model, few, fgsm()))
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in ("clean_error", "fgsm_error")}
        | {"fgsm_error_margin_loss": share_interval(values["fgsm_error_margin_loss"], len(few))},
        substituted=(
            "a Gaussian with its own mean and shrunken covariance for each class, classified by Bayes' rule, for the multi-prediction "
            "deep Boltzmann machine",
        ),
        notes=(f"the last four values are of the first {len(few):,} images", *rounding_notes(values)),
    )


def hidden_layers(lab: Lab) -> Outcome:
    """Perturbing hidden layers in training helps less than perturbing the input, the last one least; weights become localised."""
    images = lab.images("mnist:test")
    arms = {arm: recipes.maxout(lab, arm) for arm in ("plain", "adversarial", "hidden", "last_hidden")}
    models = lab.networks(arms)
    values = {f"fgsm_error_{arm}": fooled(model, images, fgsm()).fgsm_error for arm, model in models.items()}
    values |= {
        f"fgsm_error_margin_loss_{arm}": error(
            outputs(model, perturb(model, images, fgsm(loss="margin"))), images.labels
        )
        for arm, model in models.items()
    }
    intervals = {key: share_interval(value, len(images)) for key, value in values.items()}
    networks = {arm: models[arm] for arm in ("plain", "adversarial")} | {
        f"adversarial{recipes.THIRD}": lab.network(recipes.briefer(lab))
    }
    values |= {f"weights_spread_{name}": _spread(model) for name, model in networks.items()}
    values |= {f"rms_layer_{layer}": _rms(models["plain"], layer, images) for layer in HIDDEN}
    return Outcome(
        values,
        n=len(images),
        interval=intervals,
        substituted=recipes.substituted(*arms.values()),
        notes=(
            "weights_spread is the mean participation ratio of the first layer's filters, (sum w^2)^2 / (784 sum w^4): smaller is more "
            "localised",
            _unlike(values),
            *recipes.short_training(lab, values),
        ),
        pictures=tuple(
            weights_tile(arm, row.unflatten(0, images.inputs.shape[-2:]))
            for arm in ("plain", "adversarial")
            for row in _first_layer(models[arm])[:FILTERS]
        ),
    )


def _unlike(values: Mapping[str, float]) -> str:
    """The errors where rounding does not decide, and how large eps is beside a hidden layer's activations."""
    margin = {arm: values[f"fgsm_error_margin_loss_{arm}"] for arm in ("plain", "hidden", "last_hidden", "adversarial")}
    first, last = (values[f"rms_layer_{layer}"] for layer in HIDDEN)
    return (
        "on cross-entropy rounding decides which images resist, as L4 measures; on the margin loss the errors are "
        + ", ".join(f"{arm} {value:.2%}" for arm, value in margin.items())
        + f". Hidden layers were perturbed by eps {EPS:g}, where the plain network's activations have the root mean square {first:.3g} "
        f"(first) and {last:.3g} (last)"
    )


def _rms(model: nn.Module, layer: int, images: Images) -> float:
    """The root mean square of what a network's layer gives out on untouched images."""
    assert isinstance(model, nn.Sequential)
    return float(outputs(model[: layer + 1], images.inputs).double().square().mean().sqrt())


def _first_layer(model: nn.Module) -> Tensor:
    return next(p for p in model.parameters() if p.ndim > 1).detach().flatten(1).double()


def _spread(model: nn.Module) -> float:
    weights = _first_layer(model)
    ratio = (weights**2).sum(1) ** 2 / (weights**4).sum(1).clamp_min(1e-300) / weights.shape[1]
    return float(ratio.mean())


SMALL_GPU = {"small": "15 min", "paper": "10 min on a GPU"}
CLAIMS = (
    Claim(
        "P1",
        "logistic regression on 3 against 7 falls from 1.6 % to 99 % error; its worst case has a closed form",
        DOCUMENT,
        {"clean_error": 0.016, "fgsm_error": 0.99},
        f"{PAPER}, sec. 5",
        Rule((at_most("clean_error", 0.026), at_least("fgsm_error", 0.98), at_most("closed_form_gap", 1e-4)), n=2000),
        {"small": "1 min", "paper": "1 min"},
        logistic,
    ),
    Claim(
        "P2",
        "L1 decay of .0025 on the first maxout layer keeps the training error above 5 %",
        DOCUMENT,
        {"train_error": 0.05},
        f'{PAPER}, sec. 5 ("stuck with over 5 % error on the training set")',
        Rule((at_least("train_error", 0.05),), n=10_000),
        {"small": "10 min", "paper": "5 min on a GPU"},
        l1_decay,
    ),
    Claim(
        "P3",
        "1,600 maxout units a layer with adversarial training reach 0.78 % clean error",
        DOCUMENT,
        {"clean_error_plain": 0.0114, "clean_error_adversarial": 0.00782, "best": 0.0077, "worst": 0.0083},
        f"{PAPER}, sec. 6",
        Rule(
            (at_most("clean_error_adversarial", 0.0098), at_most("clean_error_adversarial", 1, of="clean_error_plain")),
            n=10_000,
            seeds=SEEDS,
        ),
        {"small": "2 h", "paper": "2 h on a GPU"},
        large_maxout,
    ),
    Claim(
        "P4",
        "the adversarially trained network resists the plain one's examples; its own fool the plain one less than that one's do",
        DOCUMENT,
        {"plain_to_adversarial": 0.196, "adversarial_to_plain": 0.409, "confidence_on_mistakes": 0.814},
        f"{PAPER}, sec. 6",
        Rule(
            (at_most("plain_to_adversarial", 0.296), at_least("adversarial_to_plain", 1, of="plain_to_adversarial")),
            n=10_000,
        ),
        SMALL_GPU,
        transfer,
    ),
    Claim(
        "P5",
        "training on noise of the same size does not help",
        DOCUMENT,
        {
            "fgsm_error_sign": 0.862,
            "fgsm_error_uniform": 0.904,
            "confidence_on_mistakes_sign": 0.973,
            "confidence_on_mistakes_uniform": 0.978,
        },
        f"{PAPER}, sec. 7",
        Rule((at_least("fgsm_error_sign", 0.762), at_least("fgsm_error_uniform", 0.804)), n=10_000),
        SMALL_GPU,
        noise_training,
    ),
    Claim(
        "P6",
        "networks of different kinds agree on the wrong class, linear ones most",
        DOCUMENT,
        {
            "rbf_agrees": 0.160,
            "softmax_agrees": 0.546,
            "softmax_agrees_both_wrong": 0.846,
            "rbf_agrees_both_wrong": 0.543,
            "rbf_agrees_with_softmax_both_wrong": 0.536,
        },
        f"{PAPER}, sec. 8",
        Rule(
            (
                at_least("softmax_agrees", 1.5, of="rbf_agrees"),
                at_least("softmax_agrees_both_wrong", 0.5),
                at_least("rbf_agrees_both_wrong", 0.333),
            ),
            n=10_000,
        ),
        {"small": "1 min after L3, L4, L9", "paper": "1 min after L3, L4, L9"},
        agreement,
    ),
    Claim(
        "P7",
        "an ensemble is fooled almost as much as one network",
        "paper, 004",
        {"fgsm_error_whole": 0.911, "fgsm_error_one_member": 0.879},
        f"{PAPER}, sec. 9",
        Rule((at_least("fgsm_error_whole", 0.811), at_least("fgsm_error_one_member", 0.7)), n=10_000, seeds=3),
        {"small": "15 min, 3 members", "paper": "20 min on a GPU"},
        ensemble,
    ),
    Claim(
        "P8",
        "noise is taken for a digit, but not by the RBF network",
        DOCUMENT,
        {
            "error_maxout": 0.9835,
            "error_sigmoids": 0.68,
            "error_softmax": 0.598,
            "error_rbf": 0.0,
            "confidence_maxout": 0.928,
            "confidence_sigmoids": 0.879,
            "confidence_softmax": 0.708,
        },
        f"{PAPER}, appendix A",
        Rule((at_least("error_maxout", 0.8), at_least("error_softmax", 0.4), at_most("error_rbf", 0.01)), n=10_000),
        {"small": "5 min after L3, L4, L9", "paper": "3 min on a GPU"},
        rubbish,
    ),
    Claim(
        "P9",
        "one step from noise makes most CIFAR-10 classes appear",
        DOCUMENT,
        {"rubbish_error": 0.934, "average": 0.753, "airplane": 0.247, "frog": 1.0, "truck": 1.0},
        f"{PAPER}, appendix A",
        Rule((at_least("rubbish_error", 0.8), at_least("average", 0.6)), n=200),
        {"small": "2 min after L5", "paper": "1 min after L5"},
        fooling,
    ),
    Claim(
        "P10",
        "a generative model is fooled like the others",
        "paper, 004",
        {"fgsm_error": 0.975},
        f"{PAPER}, sec. 9 (multi-prediction deep Boltzmann machine)",
        Rule((at_least("fgsm_error", 0.875),), n=10_000),
        {"small": "1 min", "paper": "1 min"},
        generative,
    ),
    Claim(
        "P11",
        "perturbing hidden layers in training helps less than perturbing the input; the robust weights are more localised",
        "paper, 004",
        {"fgsm_error_hidden": None, "fgsm_error_last_hidden": None, "weights_spread_adversarial": None},
        f"{PAPER}, sec. 6, figs. 3; no numbers",
        Rule(
            (
                at_least("fgsm_error_hidden", 1.5, of="fgsm_error_adversarial"),
                at_least("fgsm_error_last_hidden", 1, of="fgsm_error_hidden"),
                at_most("weights_spread_adversarial", 1, of="weights_spread_plain"),
            ),
            n=10_000,
        ),
        {"small": "20 min", "paper": "15 min on a GPU"},
        hidden_layers,
    ),
)
