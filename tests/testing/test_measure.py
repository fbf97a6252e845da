"""How the suite calls an attack and judges what comes back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from foolscope.oracle import Oracle
from foolscope.testing.measure import ball_slack, fooled, require_inside, run, sizes
from foolscope.testing.models import Curved, random_images


def row(function=None, kind="fixed eps"):
    return SimpleNamespace(name="mine", function=function, kind=kind)


def called_with(function, **options):
    seen = []

    def spy(model, inputs, labels, **given):
        seen.append((model, given))
        return function(model, inputs, labels, **given)

    inputs = random_images(3)
    run(row(spy, options.pop("kind", "fixed eps")), Curved(), inputs, torch.tensor([0, 1, 2]), "l2", **options)
    return seen[0]


def test_an_attack_gets_only_the_options_that_its_kind_has():
    model, given = called_with(lambda model, inputs, labels, **_: inputs, few=True)
    assert isinstance(model, Curved)
    assert given == {"norm": "l2", "seed": 0, "eps": 0.7, "steps": 10}
    _, given = called_with(lambda model, inputs, labels, **_: inputs, kind="minimal norm")
    assert given == {"norm": "l2", "seed": 0}


def test_an_attack_gets_only_the_options_that_its_signature_has():
    def one_norm_no_seed(model, inputs, labels, *, eps):
        return inputs + eps

    inputs, labels = random_images(2), torch.tensor([0, 0])
    assert torch.equal(run(row(one_norm_no_seed), Curved(), inputs, labels, "linf", few=True), inputs + 0.1)


@pytest.mark.parametrize("options", [{"bounds": None}, {"bounds": (-1.0, 1.0)}, {"index": torch.tensor([7, 8, 9])}])
def test_what_a_bare_model_cannot_say_comes_in_an_oracle(options):
    targets = torch.tensor([1, 2, 0])
    oracle, given = called_with(lambda model, inputs, labels, **_: inputs, targets=targets, **options)
    assert isinstance(oracle, Oracle)
    assert oracle.bounds == options.get("bounds", (0.0, 1.0))
    assert oracle.index.tolist() == options.get("index", torch.arange(3)).tolist()
    assert torch.equal(oracle.targets, targets)
    assert torch.equal(given["targets"], targets)


def test_fooled_is_judged_in_eval_mode_and_leaves_the_model_alone():
    model, images = Curved(), random_images(6)
    labels = model(images).argmax(1)
    model.train()
    assert fooled(model, images, labels).tolist() == [False] * 6
    assert fooled(model, images, (labels + 1) % 3).tolist() == [True] * 6
    assert fooled(model, images, (labels + 1) % 3, targets=labels).tolist() == [True] * 6
    assert fooled(model, images, labels, targets=(labels + 1) % 3).tolist() == [False] * 6
    assert fooled(model, images[:0], labels[:0]).tolist() == []
    assert all(module.training for module in model.modules())


def test_sizes_are_taken_in_double():
    inputs = torch.full((2, 1, 2, 2), 0.5)
    moved = inputs.clone()
    moved[0, 0, 0] += torch.tensor([0.25, -0.5])
    got = {norm: sizes(moved, inputs, norm).tolist() for norm in ("linf", "l2", "l1", "l0")}
    assert got == {"linf": [0.5, 0.0], "l2": [0.3125**0.5, 0.0], "l1": [0.75, 0.0], "l0": [2.0, 0.0]}


def complaint(adversarial, inputs, norm="linf", **options):
    with pytest.raises(AssertionError) as told:
        require_inside(row(), norm, adversarial, inputs, **options)
    return str(told.value)


def test_each_complaint_names_the_attack_the_norm_and_the_fault():
    inputs = random_images(2)
    nan = inputs.clone()
    nan[0, 0, 0, 0] = torch.nan
    assert complaint(inputs.numpy(), inputs) == "mine, linf: returned a ndarray, not a tensor"
    assert complaint(inputs[:1], inputs).startswith("mine, linf: shape of the result is torch.Size([1, 3, 4, 4])")
    assert complaint(inputs.double(), inputs).startswith("mine, linf: dtype of the result is torch.float64")
    assert complaint(nan, inputs) == "mine, linf: the result is not finite"
    assert complaint(inputs + 1e-7, inputs).startswith("mine, linf: left the box (0.0, 1.0)")
    assert complaint(inputs + 0.1, inputs, bounds=None, eps=0.0999).startswith("mine, linf: left the ball: size 0.1")


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_the_ball_lets_rounding_pass_and_no_more(norm):
    inputs = torch.full((1, 1, 2, 2), 0.5)
    moved = inputs.clone()
    moved[0, 0, 0] += 0.1
    size = float(sizes(moved, inputs, norm)[0])
    require_inside(row(), norm, moved, inputs, eps=size - 0.9 * ball_slack(inputs, norm))
    assert "left the ball" in complaint(moved, inputs, norm, eps=0.99999 * size - ball_slack(inputs, norm))
