"""Document 004: Jiang, Liu, Chen & Wang, a student report (Sorbonne, 2021-22) on Goodfellow, Shlens & Szegedy (2015), arXiv:1412.6572."""

from __future__ import annotations

import math
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from foolscope.reproducing import recipes
from foolscope.reproducing.cache import Recipe
from foolscope.reproducing.claim import Claim, NotRun, Outcome, Rule, at_least, at_most, between
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.measuring import (
    confidence,
    error,
    fgsm,
    fooled,
    mean_interval,
    mean_where,
    outputs,
    perturb,
    rounding,
    rounding_notes,
    share_interval,
    wrong,
)

DOCUMENT = "004"
SOURCE = "Jiang, Liu, Chen & Wang, report on arXiv:1412.6572, Sorbonne 2021-22"
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
SURE = 0.99  # the confidence of a mistake that an example would show as 100 %
TRAINED_AT = (0.05, 0.1, 0.15, 0.2, 0.3)


def googlenet(lab: Lab) -> Outcome:
    """GoogLeNet learns MNIST."""
    recipe = _googlenet(lab)
    images = lab.images("mnist:test")
    accuracy = 1 - error(outputs(lab.network(recipe), images.inputs), images.labels)
    return Outcome(
        {"accuracy": accuracy},
        n=len(images),
        interval={"accuracy": share_interval(accuracy, len(images))},
        substituted=(*recipe.remarks, "test images for the report's validation images"),
    )


def _googlenet(lab: Lab) -> Recipe:
    if find_spec("torchvision") is None:
        raise NotRun("GoogLeNet comes from torchvision, which is not installed here (pip install torchvision)")
    return recipes.googlenet(lab)


def googlenet_curve(lab: Lab) -> Outcome:
    """FGSM at eps .2 makes the network wrong with full confidence; its accuracy falls to 20 % at eps .3."""
    try:
        recipe, substitute = _googlenet(lab), tuple[str, ...]()
    except NotRun as reason:
        recipe, substitute = recipes.fig5(lab, "cnn", "regular"), (f"a small convolutional network: {reason}",)
    images = lab.images("mnist:test")
    model = lab.network(recipe)
    sign = (perturb(model, images, fgsm(1.0)) - images.inputs).sign()  # without a box the same for every eps
    logits = {eps: outputs(model, images.inputs + eps * sign) for eps in (0.0, *STRENGTHS)}
    clean = wrong(logits[0.0], images.labels)
    on_clean = mean_where(confidence(logits[0.0]), ~clean)
    series = []
    for eps, found in logits.items():
        bad, sure = wrong(found, images.labels), (confidence(found) >= SURE).double()
        row = {"eps": eps, "accuracy": 1 - float(bad.double().mean())}
        row["confidence_on_mistakes"] = mean_where(confidence(found), bad & ~clean)
        row["sure_mistakes"] = mean_where(sure, bad & ~clean)
        series.append(row)
    at = {row["eps"]: row for row in series}
    longer = fooled(lab.network(recipes.twice(recipe)), images, fgsm(0.2))
    return Outcome(
        {
            "accuracy_at_0.3": at[0.3]["accuracy"],
            "confidence_on_mistakes_at_0.2": at[0.2]["confidence_on_mistakes"],
            "confidence_on_mistakes_at_0.3": at[0.3]["confidence_on_mistakes"],
            "sure_mistakes_at_0.2": at[0.2]["sure_mistakes"],
            "clean_accuracy": at[0.0]["accuracy"],
            "confidence_on_clean": on_clean,
            "confidence_on_mistakes_at_0.2_trained_twice": longer.confidence_on_mistakes,
            "confidence_on_clean_trained_twice": longer.confidence_on_clean,
        },
        n=len(images),
        interval={"accuracy_at_0.3": share_interval(at[0.3]["accuracy"], len(images))},
        substituted=(*substitute, *recipe.remarks),
        notes=(
            f"the network's mean confidence is {on_clean:.1%} on the clean images that it gets right and, on its mistakes, "
            + ", ".join(f"{row['confidence_on_mistakes']:.1%} at eps {row['eps']:g}" for row in series[1:])
            + f". The report shows single examples: of the mistakes at eps .2, {at[0.2]['sure_mistakes']:.1%} have a confidence of "
            f"{SURE:.0%} or more (sure_mistakes)",
            "after the same training once more the mean confidence is "
            f"{longer.confidence_on_clean:.1%} on clean images and {longer.confidence_on_mistakes:.1%} on the mistakes at eps .2",
        ),
        series=tuple(series),
    )


def worst_case_softmax(lab: Lab) -> Outcome:
    """Softmax regression trained on the worst case in closed form keeps 56 % accuracy at eps .3."""
    images = lab.images("mnist:test")
    before = fooled(lab.network(recipes.softmax(lab)), images, fgsm(0.3))
    series = []
    for eps in TRAINED_AT:
        recipe = recipes.softmax(lab, "worst_case", eps)
        found = fooled(lab.network(recipe), images, fgsm(0.3))
        boxed = fooled(lab.network(recipe), images, fgsm(0.3), bounds=(0.0, 1.0))
        loss = lab.found(recipe).history[-1]["loss"]
        series.append(
            {
                "trained_at_eps": eps,
                "clean_accuracy": 1 - found.clean_error,
                "accuracy_at_0.3": 1 - found.fgsm_error,
                "accuracy_at_0.3_in_the_box": 1 - boxed.fgsm_error,
                "worst_case_loss": loss,
            }
        )
    last = series[-1]
    best = max(row["accuracy_at_0.3"] for row in series)
    values = {key: last[key] for key in ("accuracy_at_0.3", "clean_accuracy", "worst_case_loss")} | {
        "accuracy_at_0.3_best_eps": best,
        "accuracy_at_0.3_best_eps_in_the_box": max(row["accuracy_at_0.3_in_the_box"] for row in series),
        "accuracy_at_0.3_plain": 1 - before.fgsm_error,
    }
    collapsed = last["worst_case_loss"] > math.log(10) - 0.01
    why = (
        f"at eps .3 the worst-case loss stays at that of guessing, log 10 = {math.log(10):.3f}: no weights are better than none, so "
        "training shrinks them to 0 and one class takes all images. That is a property of the objective, which is convex. "
        "Training for a smaller eps keeps the weights, but then at most "
        f"{best:.1%} of the images survive eps .3"
    )
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(value, len(images)) for key, value in values.items() if "accuracy" in key},
        substituted=recipes.softmax(lab, "worst_case", 0.3).remarks,
        notes=(why,) if collapsed else (),
        series=tuple(series),
    )


def label_leak(lab: Lab) -> Outcome:
    """Softmax regression trained on a static adversarial set seems to gain from stronger perturbations; a fresh attack shows otherwise."""
    images = lab.images("mnist:test")
    plain, static = lab.network(recipes.softmax(lab)), lab.network(recipes.softmax(lab, "static"))
    series: list[dict[str, Any]] = []
    stale: list[Tensor] = []  # which images are right, (n,), by eps
    for eps in STRENGTHS:
        stale.append((~wrong(outputs(static, perturb(plain, images, fgsm(eps))), images.labels)).double())
        fresh = 1 - error(outputs(static, perturb(static, images, fgsm(eps))), images.labels)
        series += [
            {"eps": eps, "examples": "of the plain network", "accuracy": float(stale[-1].mean())},
            {"eps": eps, "examples": "fresh", "accuracy": fresh},
        ]
    rise = stale[4] - stale[0]
    values = {
        "clean_accuracy": 1 - error(outputs(static, images.inputs), images.labels),
        "stale_accuracy_at_0.25": float(stale[4].mean()),
        "stale_accuracy_rise": float(rise.mean()),
        "fresh_accuracy_at_0.25": float(series[9]["accuracy"]),
    }
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(values[key], len(images)) for key in values if "rise" not in key}
        | {"stale_accuracy_rise": mean_interval(rise)},
        substituted=recipes.softmax(lab, "static").remarks,
        notes=(
            "stale examples were made on the plain network with the true labels, and so carry the label; stale_accuracy_rise: eps .05 "
            "to .25",
        ),
        series=tuple(series),
    )


def maxout_clean(lab: Lab) -> Outcome:
    """A maxout network reaches 98.4 %; with adversarial loss and early stopping its error falls from 1.7 % to 1.35 %."""
    images = lab.images("mnist:test")
    arms = {arm: recipes.maxout(lab, arm) for arm in ("plain", "adversarial")} | {"briefer": recipes.briefer(lab)}
    errors = {arm: error(outputs(model, images.inputs), images.labels) for arm, model in lab.networks(arms).items()}
    values = {
        "accuracy": 1 - errors["plain"],
        "clean_error_plain": errors["plain"],
        "clean_error_adversarial": errors["adversarial"],
        f"clean_error_adversarial{recipes.THIRD}": errors["briefer"],
    }
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(value, len(images)) for key, value in values.items()},
        substituted=(
            *recipes.substituted(arms["plain"], arms["adversarial"]),
            "one adversarial training for the report's several",
        ),
        notes=recipes.short_training(lab, values),
    )


def maxout_robust(lab: Lab) -> Outcome:
    """Adversarial training brings the FGSM error at eps .2 from 89.4 % to 19.6 %."""
    images = lab.images("mnist:test")
    plain, robust = (
        fooled(lab.network(recipes.maxout(lab, arm)), images, fgsm(0.2)) for arm in ("plain", "adversarial")
    )
    values = {"fgsm_error_plain": plain.fgsm_error, "fgsm_error_adversarial": robust.fgsm_error}
    rounded = rounding(lab.network(recipes.maxout(lab)), images, plain, 0.2)
    values |= {f"{key}_plain": value for key, value in rounded.items()}
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(value, len(images)) for key, value in values.items() if "error" in key},
        substituted=recipes.substituted(recipes.maxout(lab), recipes.maxout(lab, "adversarial")),
        notes=(
            *(f"the plain network: {note}" for note in rounding_notes(plain.values | rounded)),
            "both claimed numbers stand in the paper too, for eps .25 and for another experiment (transfer): the report may have copied "
            "them",
        ),
    )


def static_retraining(lab: Lab) -> Outcome:
    """Retraining on a static adversarial set, compared with perturbing anew in every step."""
    images = lab.images("mnist:test")
    arms = [recipes.maxout(lab, arm) for arm in ("plain", "static", "adversarial")]
    plain, static, online = (lab.network(recipe) for recipe in arms)
    stale = perturb(plain, images, fgsm())
    fresh = {"static": fooled(static, images, fgsm()), "online": fooled(online, images, fgsm())}
    values = {f"fgsm_error_{name}": found.fgsm_error for name, found in fresh.items()}
    values |= {f"clean_error_{name}": found.clean_error for name, found in fresh.items()}
    values["stale_error_static"] = error(outputs(static, stale), images.labels)
    return Outcome(
        values,
        n=len(images),
        interval={key: share_interval(value, len(images)) for key, value in values.items()},
        substituted=recipes.substituted(*arms),
    )


def training_time(lab: Lab) -> Outcome:
    """Adversarial training takes about twice the time."""
    rounds, count = lab.at(small=3, paper=3, tiny=1), lab.at(small=5000, paper=50_000, tiny=200)
    recipe = {arm: recipes.maxout(lab, arm) for arm in ("plain", "adversarial")}
    clock = time.process_time if lab.device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {arm: [] for arm in recipe}
    for number in range(rounds + 1):  # interleaved, so that a busy machine slows both; the first to get going
        for arm, each in recipe.items():
            with tempfile.TemporaryDirectory(prefix="foolscope-") as folder:
                begun = clock()
                recipes.train_briefly(each, lab, count, Path(folder))
                if number:
                    seconds[arm].append(clock() - begun)
    ratios = [a / b for a, b in zip(seconds["adversarial"], seconds["plain"], strict=True)]
    return Outcome(
        {
            "ratio": min(seconds["adversarial"]) / min(seconds["plain"]),
            "lowest_ratio": min(ratios),
            "highest_ratio": max(ratios),
        },
        n=count,
        substituted=(
            f"one epoch of {count:,} images, {rounds} times in turn after one to get going, the fastest of each",
        ),
        notes=(
            "the inner attack asks for the input's gradient alone, with frozen parameters, which is cheaper than a full backward pass",
            "processor time" if clock is time.process_time else "time by the clock",
        ),
    )


MINUTES = {"small": "20 min", "paper": "10 min on a GPU"}
CLAIMS = (
    Claim(
        "R1",
        "GoogLeNet learns MNIST to 98 %",
        DOCUMENT,
        {"accuracy": 0.98},
        SOURCE,
        Rule((at_least("accuracy", 0.98),), n=10_000),
        {"small": "5 min", "paper": "5 min on a GPU"},
        googlenet,
    ),
    Claim(
        "R2",
        "FGSM makes it wrong with full confidence at eps .2; 20 % accuracy are left at eps .3",
        DOCUMENT,
        {"accuracy_at_0.3": 0.2, "confidence_on_mistakes_at_0.2": 1.0},
        SOURCE,
        Rule((at_most("accuracy_at_0.3", 0.3), at_least("confidence_on_mistakes_at_0.2", 0.9)), n=10_000),
        {"small": "7 min after R1", "paper": "5 min on a GPU"},
        googlenet_curve,
    ),
    Claim(
        "R3",
        "softmax regression trained with -eps |w|_1 in its margin keeps 56 % at eps .3",
        DOCUMENT,
        {"accuracy_at_0.3": 0.56},
        SOURCE,
        Rule((at_least("accuracy_at_0.3", 0.46),), n=10_000),
        {"small": "2 min", "paper": "2 min"},
        worst_case_softmax,
    ),
    Claim(
        "R4",
        "softmax regression trained on a static adversarial set: the stronger the perturbation, the higher the accuracy",
        DOCUMENT,
        {"stale_accuracy_rise": None, "fresh_accuracy_at_0.25": None},
        SOURCE,
        Rule(
            (at_least("stale_accuracy_rise", 0.0), at_most("fresh_accuracy_at_0.25", 0.5, of="stale_accuracy_at_0.25")),
            n=10_000,
        ),
        {"small": "2 min", "paper": "2 min"},
        label_leak,
    ),
    Claim(
        "R5",
        "maxout reaches 98.4 %; adversarial training brings its clean error from 1.7 % to 1.35 %",
        DOCUMENT,
        {"accuracy": 0.984, "clean_error_plain": 0.017, "clean_error_adversarial": 0.0135},
        SOURCE,
        Rule((at_least("accuracy", 0.98), at_most("clean_error_adversarial", 1, of="clean_error_plain")), n=10_000),
        MINUTES,
        maxout_clean,
    ),
    Claim(
        "R6",
        "adversarial training brings the FGSM error at eps .2 from 89.4 % to 19.6 %",
        DOCUMENT,
        {"fgsm_error_plain": 0.894, "fgsm_error_adversarial": 0.196},
        SOURCE,
        Rule((at_most("fgsm_error_adversarial", 0.246), at_least("fgsm_error_plain", 0.794)), n=10_000),
        MINUTES,
        maxout_robust,
    ),
    Claim(
        "R7",
        "retraining on a static adversarial set against perturbing anew in every step",
        DOCUMENT,
        {"fgsm_error_static": None, "fgsm_error_online": None},
        f"{SOURCE}; described, no number",
        Rule((at_least("fgsm_error_static", 1.5, of="fgsm_error_online"),), n=10_000),
        MINUTES,
        static_retraining,
    ),
    Claim(
        "R8",
        "adversarial training takes about twice the time",
        DOCUMENT,
        {"ratio": 2.0},
        SOURCE,
        Rule((*between("ratio", 1.5, 3.5),), n=5000),
        {"small": "1 min", "paper": "2 min"},
        training_time,
    ),
)
