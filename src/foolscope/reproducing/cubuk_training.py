"""Document 000, what the exponent of the adversarial error owes to training: trained to perfection (C5), otherwise, or not at all (C13)."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from foolscope.reproducing import recipes
from foolscope.reproducing.cache import Recipe, untrained
from foolscope.reproducing.claim import Claim, Outcome, Rule, at_least, at_most, between
from foolscope.reproducing.cubuk import DOCUMENT, PAPER
from foolscope.reproducing.exponents import SLACK, curve_of, law_of, outcome_of
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.measuring import Images, outputs

RANDOM = {"random_labels": "shuffled", "random_data": "noise"}


def perfect(lab: Lab) -> Outcome:
    """FGSM's exponent of a fully connected network that gets every test image right, on the test images and on all it was trained on."""
    recipe = recipes.perfect(lab)
    model, test = lab.network(recipe), lab.images("mnist:test")
    seen = {"fgsm": test, "training_and_test": lab.images(recipe.data)}
    curves = {name: curve_of(model, images, "fgsm") for name, images in seen.items()}
    found = outcome_of(lab, curves, recipe.remarks)
    return replace(found, measured={**found.measured, "test_errors": len(test) - curves["fgsm"].n})


def whatever_the_training(lab: Lab) -> Outcome:
    """FGSM's exponents of networks that are trained in different ways, for different times, on different things."""
    rows = []
    for name, (model, images) in _conditions(lab).items():
        curve = curve_of(model, images, "fgsm")
        law = law_of(lab, curve)
        rows.append((name, law, curve.n / len(images)))
    laws = {name: law for name, law, _ in rows}
    exponents = {name: law.exponent for name, law in laws.items()}
    return Outcome(
        exponents
        | {
            "smallest": min(exponents.values()),
            "largest": max(exponents.values()),
            "smallest_to": min(law.interval[1] for law in laws.values()),
            "largest_from": max(law.interval[0] for law in laws.values()),
        },
        n=min(law.n for law in laws.values()),
        interval={name: law.interval for name, law in laws.items() if law.events},
        substituted=(
            "one network a condition",
            "untrained: over the network's own predictions, because labels mean nothing to it and it gets a tenth of them right by luck; "
            "the network's weights are those that the snapshots along training begin with",
            "random_labels and random_data: over the images that were trained on, as nothing else has the same labels",
            *recipes.substituted(*_trained(lab).values()),
        ),
        series=tuple(
            {
                "network": name,
                "images": law.n,
                "accuracy": accuracy,
                "flips": law.events,
                "up to eps": law.upper,
                "exponent": law.exponent,
                "from": law.interval[0],
                "to": law.interval[1],
                "p of a power law": law.goodness,
            }
            for name, law, accuracy in rows
        ),
    )


def _trained(lab: Lab) -> dict[str, Recipe]:
    return {
        **{f"after_{epoch}_epochs": recipe for epoch, recipe in recipes.along_training(lab).items()},
        "linear": recipes.softmax(lab),
        "cnn": recipes.fig5(lab, "cnn", "regular"),
        "step_ll_trained": recipes.fig5(lab, "mlp", "step_ll"),
        "pgd_trained": recipes.minmax(lab),
        **{name: recipes.learnt_by_heart(lab, data) for name, data in RANDOM.items()},
    }


def _conditions(lab: Lab) -> dict[str, tuple[nn.Module, Images]]:
    """The networks, each with the images that its exponent is over."""
    test, trained = lab.images("mnist:test"), _trained(lab)
    fresh = untrained(recipes.along_training(lab)[1], lab.open("mnist:train")).to(lab.device)
    own = Images(test.inputs, outputs(fresh, test.inputs).argmax(1))
    images = {name: lab.images(trained[name].data) for name in RANDOM}
    return {"untrained": (fresh, own)} | {
        name: (lab.network(recipe), images.get(name, test)) for name, recipe in trained.items()
    }


CLAIMS = (
    Claim(
        "C5",
        "under FGSM a fully connected MNIST network trained until its test accuracy is perfect has an exponent of 1.2",
        DOCUMENT,
        {"fgsm": 1.2, "test_errors": 0},
        f"{PAPER}, slides",
        Rule((*between("fgsm", 1.2 - SLACK, 1.2 + SLACK), at_most("test_errors", 0)), n=9000),
        {"small": "6 min", "paper": "3 min on a GPU"},
        perfect,
    ),
    Claim(
        "C13",
        "FGSM's exponent is the same for untrained, linear and adversarially trained networks, for random labels and random data, and all "
        "along training",
        DOCUMENT,
        {"smallest": None, "largest": None},
        f"{PAPER}, abstract: independent of architecture, dataset, training protocol, and it does not change during training; no number "
        "for these networks, so the rule asks that every interval meets 0.9-1.1, the slides' range for others",
        Rule(
            (at_most("largest_from", 1.1), at_least("smallest_to", 0.9), at_most("largest", 1.5, of="smallest")), n=2000
        ),
        {"small": "12 min", "paper": "10 min on a GPU"},
        whatever_the_training,
    ),
)
