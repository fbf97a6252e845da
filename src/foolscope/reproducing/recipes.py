"""How the claims' networks are trained at each scale, and what that substitutes for the papers' own recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from foolscope.models import papers
from foolscope.reproducing.cache import Recipe, untrained
from foolscope.reproducing.lab import TINY, Lab
from foolscope.reproducing.made_data import FEW
from foolscope.reproducing.measuring import EPS, Images

TRAINING = 50_000  # MNIST's training images, as in the paper; the other 10,000 were its validation set
UNBOXED = {"validation": None, "bounds": None, "samples": TRAINING}  # Goodfellow et al. do not clip


def _sgd(epochs: int, lr: float, **rest: Any) -> dict[str, Any]:
    """Stochastic gradient descent with momentum and a learning rate that falls to 0."""
    return UNBOXED | {"epochs": epochs, "batch_size": 100, "lr": lr, "schedule": "linear"} | rest


def substituted(*recipes: Recipe) -> tuple[str, ...]:
    """What a record says of its networks: their remarks, each once."""
    return tuple(dict.fromkeys(text for recipe in recipes for text in recipe.remarks))


def softmax(lab: Lab, arm: str = "plain", eps: float = EPS) -> Recipe:
    """Softmax regression: `plain`, on its `worst_case` in closed form, or retrained on a `static` adversarial set."""
    epochs = lab.at(small=10, paper=20, tiny=2)
    objective = {"plain": "plain", "worst_case": f"linear_worst_case:eps={eps}", "static": f"static_mix:eps={eps}"}[arm]
    remark = f"softmax regression trained by us: SGD, {epochs} epochs; the papers do not state theirs"
    recipe = Recipe("linear", objective=objective, options=_sgd(epochs, 0.02), remarks=(remark,))
    return dataclasses.replace(recipe, start=softmax(lab)) if arm == "static" else recipe


def logistic(lab: Lab) -> Recipe:
    """Logistic regression on 3 (label 0) against 7 (label 1)."""
    epochs = lab.at(small=20, paper=20, tiny=2)
    remark = f"logistic regression trained by us: SGD, {epochs} epochs; the paper does not state its training"
    return Recipe("linear", only=(3, 7), options=_sgd(epochs, 0.02), remarks=(remark,))


def small_digits(lab: Lab) -> Recipe:
    """A small fully connected network on the bundled digits, for claims that need no data from elsewhere."""
    options = {"validation": None, "epochs": lab.at(small=20, paper=20, tiny=5), "batch_size": 50, "lr": 0.05}
    return Recipe("mlp", {"width": 64, "depth": 2}, data="digits:train", options=options)


def threes_and_sevens(images: Images) -> Images:
    """The 3s and 7s, labelled 0 and 1."""
    chosen = images.keep((images.labels == 3) | (images.labels == 7))
    return Images(chosen.inputs, (chosen.labels == 7).long())


def as_hyperplane(model: nn.Module) -> tuple[Tensor, float]:
    """The w `(d,)` and b of a two-class linear model, whose second logit exceeds the first by w.x + b."""
    (layer,) = (module for module in model.modules() if isinstance(module, nn.Linear))
    weight, bias = layer.weight.detach(), layer.bias.detach()
    return weight[1] - weight[0], float(bias[1] - bias[0])


FIG5 = {
    "regular": "plain",
    "entropy": "plain+entropy",
    "step_ll": f"step_ll_mix:eps={EPS}",
    "both": f"step_ll_mix:eps={EPS}+entropy",
}


def fig5(lab: Lab, family: str, arm: str) -> Recipe:
    """Cubuk et al.'s figure 5: fully connected or convolutional, trained four ways."""
    epochs = lab.at(small={"mlp": 8, "cnn": 4}[family], paper=50, tiny=1)
    arguments = {
        "mlp": {"width": lab.at(small=200, paper=1000, tiny=16), "depth": 2},
        "cnn": {"width": lab.at(small=8, paper=32, tiny=4)},
    }[family]
    options = {"validation": None, "epochs": epochs, "batch_size": 100, "optimiser": "adam", "schedule": "linear"}
    half = f", half of each batch attacked at eps {EPS}" if "step_ll" in FIG5[arm] else ""
    remark = f"{family} of {arguments} trained by us ({arm}): Adam, {epochs} epochs{half}, images in the box; the slides state none of it"
    return Recipe(family, arguments, FIG5[arm], options=options, remarks=(remark,))


def perfect(lab: Lab) -> Recipe:
    """Cubuk et al.'s fully connected network that is trained until its test accuracy is perfect: of its epochs, the first that is best."""
    epochs = lab.at(small=60, paper=100, tiny=2)
    test = "digits:test" if lab.scale == TINY else "mnist:test"
    options = {"validation": test, "stop": "clean", "patience": 10, "epochs": epochs, "batch_size": 100, "lr": 0.05}
    arguments = fig5(lab, "mlp", "regular").arguments
    remark = (
        f"mlp of {dict(arguments)} trained by us on the training and the test images (that perfect test accuracy means training on them is "
        "our reading): SGD with momentum .9, learning rate .05, until the error on the test images is lowest; the slides state none of it"
    )
    return Recipe("mlp", arguments, data="joined/mnist", options=options, remarks=(remark,))


def along_training(lab: Lab) -> dict[int, Recipe]:
    """One fully connected network after so many epochs; each goes on from the one before, its momentum begun afresh."""
    arguments = fig5(lab, "mlp", "regular").arguments
    found: dict[int, Recipe] = {}
    before, start = 0, None
    for epoch in lab.at(small=(1, 2, 4, 8, 16), paper=(1, 2, 4, 8, 16, 32, 64), tiny=(1, 2)):
        options = {"validation": None, "epochs": epoch - before, "batch_size": 100, "lr": 0.05}
        remark = f"mlp of {dict(arguments)} trained by us on the training images alone: SGD with momentum .9, learning rate .05"
        start = Recipe("mlp", arguments, options=options, seed=epoch, start=start, remarks=(remark,))
        found[epoch], before = start, epoch
    return found


def unseeing(lab: Lab) -> Recipe:
    """The last of `along_training`: a fully connected network that never saw a test image."""
    epochs, recipe = list(along_training(lab).items())[-1]
    return dataclasses.replace(recipe, remarks=tuple(f"unseen: {remark}, {epochs} epochs" for remark in recipe.remarks))


def learnt_by_heart(lab: Lab, data: str) -> Recipe:
    """A fully connected network trained until it knows random labels, of MNIST's images (`shuffled`) or of `noise`."""
    epochs = lab.at(small={"shuffled": 100, "noise": 150}[data], paper=400, tiny=5)
    arguments = fig5(lab, "mlp", "regular").arguments
    options = {"validation": None, "epochs": epochs, "batch_size": 100, "optimiser": "adam", "schedule": "linear"}
    remark = f"{data}: mlp of {dict(arguments)} trained by us on random labels of {FEW[data]:,} images: Adam, {epochs} epochs"
    return Recipe("mlp", arguments, data=f"{data}/mnist:train", options=options, remarks=(remark,))


MAXOUT = {
    "plain": "plain",
    "adversarial": f"fgsm_mix:eps={EPS}",
    "noise_sign": f"noise_mix:eps={EPS},kind=sign",
    "noise_uniform": f"noise_mix:eps={EPS},kind=uniform",
    "l1_large": "plain+l1:weight=0.0025",
    "l1_small": "plain+l1:weight=0.000025",
    "sigmoids": "plain+sigmoid",
    "static": f"static_mix:eps={EPS}",
    "hidden": f"hidden_mix:eps={EPS},layer=3",
    "last_hidden": f"hidden_mix:eps={EPS},layer=6",
}
THIRD = "_after_a_third"  # of adversarial training
FINE_TUNED = {"adversarial": 6, "static": 3}  # epochs after the plain ones, at small scale; other ways get 2


def maxout(lab: Lab, arm: str = "plain", seed: int = 0) -> Recipe:
    """Two layers of 240 maxout units with pylearn2's dropout and norm constraint, trained in one of the ways of `MAXOUT`.

    At small scale every way but the plain one goes on from the plain network, and an ensemble's further members are trained for less long.
    """
    tuned = arm == "static" or (arm != "plain" and lab.scale == "small")
    short = FINE_TUNED.get(arm, 2) if tuned else 20 if seed == 0 else 6
    epochs = lab.at(small=short, paper=100, tiny=2)
    after = ", going on from the plain network" if tuned else ""
    rate = 0.02 if tuned else 0.05
    remark = (
        f"maxout trained by us ({arm}{after}): SGD with momentum .9, {epochs} epochs, learning rate {rate} falling to 0, for "
        "pylearn2's recipe of several hundred epochs with early stopping"
    )
    recipe = Recipe(
        "maxout",
        {"units": lab.at(small=240, paper=240, tiny=12)},
        MAXOUT[arm],
        options=_sgd(epochs, rate),
        seed=seed,
        remarks=(remark,),
    )
    return dataclasses.replace(recipe, start=maxout(lab)) if tuned else recipe


def briefer(lab: Lab) -> Recipe:
    """Adversarial training a third as long: what is lower after all of it may fall further with more."""
    recipe = maxout(lab, "adversarial")
    return dataclasses.replace(recipe, options={**recipe.options, "epochs": max(1, recipe.options["epochs"] // 3)})


def short_training(lab: Lab, values: Mapping[str, float]) -> tuple[str, ...]:
    """What the length of adversarial training does to each value that has a twin `..._after_a_third`."""
    full, third = (int(recipe.options["epochs"]) for recipe in (maxout(lab, "adversarial"), briefer(lab)))
    whole = {key: key.removesuffix(THIRD) for key in values if key.endswith(THIRD)}
    falls = ", ".join(f"{name} from {values[key]:.2%} to {values[name]:.2%}" for key, name in whole.items())
    return (
        f"adversarial training had {full} epochs for the paper's hundreds; from {third} (whose learning rate fell to 0, too) to {full} it "
        f"brings {falls}",
    )


def wide_maxout(lab: Lab, arm: str, seed: int = 0, epochs: int | None = None) -> Recipe:
    """1,600 units a layer; `epochs` None: validated on a sixth of the images, else that many on all 60,000."""
    searching = epochs is None
    longest = lab.at(small=4, paper=100, tiny=2)
    options = _sgd(longest if epochs is None else epochs, 0.05) | {"samples": None}
    if searching:
        options |= {
            "validation": 1 / 6,
            "probe": "fgsm:loss=ce",
            "stop": "adversarial" if arm == "adversarial" else "clean",
            "patience": 100,
        }
    units = lab.at(small=1600, paper=1600, tiny=12)
    remark = (
        f"maxout of {units:,} units a layer trained by us ({arm}): SGD with momentum .9, learning rate .05 falling to 0, {longest} epochs "
        "at most, for pylearn2's recipe of several hundred"
    )
    return Recipe("maxout", {"units": units}, MAXOUT[arm], options=options, seed=seed, remarks=(remark,))


def best_epoch(lab: Lab, recipe: Recipe) -> int:
    """After how many epochs the adversarial error on the validation images was lowest."""
    history = lab.found(recipe).history
    return int(min(history, key=lambda epoch: float(epoch["adversarial_error"] or 1.0))["epoch"])


def rbf(lab: Lab) -> Recipe:
    """The shallow RBF network; the classes' probabilities are independent of each other."""
    epochs = lab.at(small=20, paper=50, tiny=2)
    options = UNBOXED | {"epochs": epochs, "batch_size": 100, "optimiser": "adam", "lr": 0.01, "schedule": "linear"}
    remark = (
        f"a diagonal quadratic form for each class, trained as independent yes-or-no questions: Adam, {epochs} epochs; the paper states "
        "one class's form alone, and no training"
    )
    return Recipe("rbf", objective="plain+sigmoid", options=options, remarks=(remark,))


def rbf_probability(logits: Tensor) -> Tensor:
    """The largest of the classes' own probabilities, `(n,)`: they need not sum to 1."""
    return logits.sigmoid().amax(1)


def head(lab: Lab, kind: str) -> Recipe:
    """A small convolutional network under a `linear` or `rbf` head."""
    epochs = lab.at(small=2, paper=10, tiny=1)
    options = UNBOXED | {"epochs": epochs, "batch_size": 100, "optimiser": "adam", "lr": 0.001, "schedule": "linear"}
    remark = (
        f"two convolutions, sigmoids on 64 features, and either head, trained alike: Adam, {epochs} epochs; the paper does not state "
        "its network"
    )
    return Recipe("headed", {"kind": kind}, "plain+sigmoid", options=options, remarks=(remark,))


def googlenet(lab: Lab) -> Recipe:
    """GoogLeNet on MNIST; at small scale with its own stem, which makes an update a fifteenth of the work."""
    epochs = lab.at(small=1, paper=5, tiny=1)
    options = UNBOXED | {"epochs": epochs, "batch_size": 100, "optimiser": "adam", "lr": 0.001, "schedule": "linear"}
    remark = f"GoogLeNet trained by us: Adam, {epochs} x {TRAINING:,} images"
    if lab.scale == "paper":
        return Recipe("googlenet", options=options, remarks=(remark,))
    own = (
        "its own stem (7x7, stride 2, then pooling), made for 224x224 pixels, which leaves the first inception module 3x3 places of 28x28 "
        "pixels, for one of 3x3 and stride 1; the report does not state its own"
    )
    return Recipe("googlenet", {"stem": "own"}, options=options, remarks=(remark, own))


def twice(recipe: Recipe) -> Recipe:
    """The same training once more, from where it ended: its momentum begun afresh, its images in another order."""
    return dataclasses.replace(recipe, seed=recipe.seed + 1, start=recipe)


def zoo(lab: Lab) -> dict[str, Recipe]:
    """Networks of different kinds."""
    return {
        "softmax": softmax(lab),
        "maxout": maxout(lab),
        "rbf": rbf(lab),
        "cnn": fig5(lab, "cnn", "regular"),
        "mlp": fig5(lab, "mlp", "regular"),
    }


CONTRASTS = ("plain maxout (not hardened)", "min-max (PGD, 2018)")


def minmax(lab: Lab) -> Recipe:
    """The contrast: Madry et al.'s min-max training of the fully connected network of figure 5."""
    regular = fig5(lab, "mlp", "regular")
    objective = f"madry:eps={EPS},steps=5"
    epochs = lab.at(small=8, paper=50, tiny=1)
    remark = f"min-max: mlp of {dict(regular.arguments)}, PGD with 5 steps at eps {EPS}, Adam, {epochs} epochs"
    return dataclasses.replace(
        regular, objective=objective, options={**regular.options, "epochs": epochs}, remarks=(remark,)
    )


def hardened(lab: Lab) -> dict[str, Recipe]:
    """Every network that a paper hardened, with what it is compared to."""
    every = {
        CONTRASTS[0]: maxout(lab),
        "maxout, adversarial training (FGSM)": maxout(lab, "adversarial"),
        "maxout of 1,600 units, adversarial training": wide_maxout(lab, "adversarial"),
        "maxout, trained on noise (sign)": maxout(lab, "noise_sign"),
        "maxout, trained on noise (uniform)": maxout(lab, "noise_uniform"),
        "maxout, static adversarial set": maxout(lab, "static"),
        "maxout, first hidden layer perturbed": maxout(lab, "hidden"),
        "maxout, last hidden layer perturbed": maxout(lab, "last_hidden"),
        "RBF": rbf(lab),
        "softmax, worst case at eps .1": softmax(lab, "worst_case", 0.1),
        "softmax, static adversarial set": softmax(lab, "static"),
        "mlp, entropy term": fig5(lab, "mlp", "entropy"),
        "mlp, step l.l. training": fig5(lab, "mlp", "step_ll"),
        "mlp, both": fig5(lab, "mlp", "both"),
        "cnn, entropy term": fig5(lab, "cnn", "entropy"),
        "cnn, step l.l. training": fig5(lab, "cnn", "step_ll"),
        "cnn, both": fig5(lab, "cnn", "both"),
        CONTRASTS[1]: minmax(lab),
    }
    return dict(list(every.items())[:: lab.at(small=1, paper=1, tiny=6)])


def ensemble(members: Sequence[nn.Module]) -> nn.Module:
    """Networks that vote with the mean of their probabilities."""
    return papers.Ensemble(members)


def train_briefly(recipe: Recipe, lab: Lab, count: int, folder: Path) -> None:
    """One epoch of a recipe over `count` images, outside the cache: for timing."""
    from foolscope.training import train

    data = lab.open(recipe.data)
    options = {**recipe.options, "epochs": 1, "samples": count}
    train(untrained(recipe, data), data, objective=recipe.objective, **options, seed=recipe.seed, out=folder / "run")


CIFAR_TRAIN, CIFAR_TEST = "whitened/cifar10:train", "whitened/cifar10:test"


START = 0.4  # norm of the weights that hidden units of the narrower network start with


def conv_maxout(lab: Lab) -> Recipe:
    """The convolutional maxout network on whitened CIFAR-10; at small scale its convolutions are a sixth as wide."""
    width, epochs = lab.at(small=16, paper=96, tiny=4), lab.at(small=4, paper=100, tiny=1)
    remark = f"conv maxout trained by us: SGD with momentum .9, {epochs} epochs, learning rate .05 falling to 0, for pylearn2's 474 epochs"
    options = {
        "validation": None,
        "bounds": None,
        "epochs": epochs,
        "batch_size": 128,
        "lr": 0.05,
        "schedule": "linear",
        "augment": "crop:pad=8+flip",
    }
    recipe = Recipe("conv_maxout", data=CIFAR_TRAIN, options=options, remarks=(remark,))
    if lab.scale == "paper":
        return recipe
    narrow = (
        f"convolutions of {width}, {2 * width} and {2 * width} maxout units for 96, 192 and 192, and hidden units whose weights start at "
        f"the norm {START:g}, for pylearn2's start within .005 of 0, in which so narrow a network's signal fades; the rest of the network "
        "is pylearn2's"
    )
    return dataclasses.replace(recipe, arguments={"width": width, "start": START}, remarks=(remark, narrow))


def colour_substituted(lab: Lab) -> tuple[str, ...]:
    """What a record says of the convolutional maxout network, and of its images where they are not those of the paper."""
    return (*conv_maxout(lab).remarks, *lab.open(CIFAR_TEST).notes)
