"""Document 000, what the exponent of the adversarial error owes to training: trained to perfection (C5), otherwise, or not at all (C13)."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from foolscope.reproducing import recipes
from foolscope.reproducing.cache import Recipe, untrained
from foolscope.reproducing.claim import Claim, Outcome, Rule, at_least, at_most, between
from foolscope.reproducing.cubuk import DOCUMENT, PAPER
from foolscope.reproducing.exponents import SLACK, curve_of, law_of, outcome_of, steeper
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.measuring import Images, outputs

UNSEEN = "unseen_images"
RANDOM = {"random_labels": "shuffled", "random_data": "noise"}


def perfect(lab: Lab) -> Outcome:
    """FGSM's exponent of a fully connected network that gets every test image right, and on all that it was trained on.

    Beside them that of a network that never saw the test images.
    """
    recipe, other = recipes.perfect(lab), recipes.unseeing(lab)
    model, test = lab.network(recipe), lab.images("mnist:test")
    curves = {
        "fgsm": curve_of(model, test, "fgsm"),
        "training_and_test": curve_of(model, lab.images(recipe.data), "fgsm"),
        UNSEEN: curve_of(lab.network(other), test, "fgsm"),
    }
    found = outcome_of(lab, curves, recipes.substituted(recipe, other))
    return replace(
        found,
        measured={**found.measured, "test_errors": len(test) - curves["fgsm"].n},
        notes=(*found.notes, *steeper(found, "fgsm", UNSEEN)),
    )


def whatever_the_training(lab: Lab) -> Outcome:
    """FGSM's exponents of networks that are trained in different ways, for different times, on different things."""
    conditions = _conditions(lab)
    rows, laws = [], {}
    for name, (model, images) in (conditions | _unseen(lab)).items():
        curve = curve_of(model, images, "fgsm")
        laws[name] = law_of(lab, curve)
        rows.append((name, laws[name], curve.n / len(images)))
    judged = [laws[name] for name in conditions]
    found = Outcome(
        {name: law.exponent for name, law in laws.items()}
        | {
            "smallest": min(law.exponent for law in judged),
            "largest": max(law.exponent for law in judged),
            "smallest_to": min(law.interval[1] for law in judged),
            "largest_from": max(law.interval[0] for law in judged),
        },
        n=min(law.n for law in laws.values()),
        interval={name: law.interval for name, law in laws.items() if law.events},
        substituted=(
            "one network a condition",
            "untrained: over the network's own predictions, because labels mean nothing to it and it gets a tenth of them right by luck; "
            "the network's weights are those that the snapshots along training begin with",
            "random_labels and random_data: over the images that were trained on, as nothing else has the same labels; beside them, "
            "outside the rule, over the network's own predictions on images it never saw (MNIST's test images, other noise)",
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
    return replace(found, notes=tuple(note for name in RANDOM for note in steeper(found, name, f"{name}_{UNSEEN}")))


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
    images = {name: lab.images(trained[name].data) for name in RANDOM}
    return {"untrained": (fresh, _as_predicted(fresh, test))} | {
        name: (lab.network(recipe), images.get(name, test)) for name, recipe in trained.items()
    }


def _unseen(lab: Lab) -> dict[str, tuple[nn.Module, Images]]:
    """The networks that were trained on random labels, with images that they never saw."""
    fresh = {"random_labels": lab.images("mnist:test"), "random_data": lab.images("noise/mnist:test")}
    networks = {name: lab.network(_trained(lab)[name]) for name in RANDOM}
    return {f"{name}_{UNSEEN}": (model, _as_predicted(model, fresh[name])) for name, model in networks.items()}


def _as_predicted(model: nn.Module, images: Images) -> Images:
    """The images with the network's own predictions for labels."""
    return Images(images.inputs, outputs(model, images.inputs).argmax(1))


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
