"""Any fixed-eps attack by a search over eps: exact where the answer is known, better with more radii, the inner attack's options kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foolscope.attacks import bind, minimal, pgd
from foolscope.errors import InputError
from foolscope.norms import NORMS as ROWS
from foolscope.oracle import Oracle
from foolscope.testing.affine import affine_problem
from foolscope.testing.models import Curved, Flat, random_images
from foolscope.testing.radial import radial_problem

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS = ("linf", "l2", "l1")


def curved(n=24):
    model, inputs = Curved().double().requires_grad_(False), random_images(n, dtype=torch.float64)
    return model, inputs, model(inputs).argmax(1)


@pytest.mark.parametrize("box", ["inactive", "active"])
@pytest.mark.parametrize("norm", NORMS)
def test_one_radius_is_enough_on_an_affine_model(norm, box):
    """The first ball reaches just beyond the linear model's boundary, which here is the boundary; fgsm's one step is exact too."""
    problem = affine_problem(32, norm=norm, box=box, dtype=torch.float64)
    near = minimal(problem.model, problem.inputs, problem.labels, norm=norm, attack="fgsm", radii=1)
    assert (problem.model(near).argmax(1) != problem.labels).all()
    ratio = ROWS[norm].size(near - problem.inputs) / problem.distance
    # the last of the margin costs more than its share where the box binds
    assert ((ratio > 1) & (ratio <= (1.05 if box == "active" else 1.01 * (1 + 1e-9)))).all()


@pytest.mark.parametrize("side", ["inside", "outside"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_distance_to_a_sphere(norm, side):
    problem = radial_problem(16, norm=norm, side=side, dtype=torch.float64)
    near = minimal(problem.model, problem.inputs, problem.labels, norm=norm, steps=60)
    ratio = (ROWS[norm].size(near - problem.inputs) / problem.distance).numpy()
    assert (ratio > 1 - 1e-9).all()
    assert np.median(ratio) < 1.02


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd"])
def test_more_radii_never_find_anything_farther(attack, norm):
    """The first radii of a longer search are the shorter search."""
    model, inputs, labels = curved()
    options = {} if attack == "fgsm" else {"steps": 8}
    before, first = torch.full((24,), torch.inf, dtype=torch.float64), None
    for radii in (1, 2, 3, 5, 8):
        near = minimal(model, inputs, labels, norm=norm, attack=attack, radii=radii, **options)
        found = model(near).argmax(1) != labels
        assert torch.equal(near[~found], inputs[~found])
        size = torch.where(found, ROWS[norm].size(near - inputs), torch.inf)
        assert (size <= before).all()
        before, first = size, size if first is None else first
    assert (before < first).any()


def test_a_ball_that_is_too_small_is_doubled_and_the_box_ends_it():
    """The slope at the image promises a boundary ten times nearer than it is."""

    class Kinked(torch.nn.Module):
        def forward(self, x):
            moved = x[
                :, 0
            ]  # the label's lead is 0.4: it falls steeply over the first 0.03 and by half as much as x thereafter
            lead = 0.4 - 10 * moved.clamp(max=0.03) - 0.5 * (moved - 0.03).clamp(min=0)
            return torch.stack([lead, torch.zeros_like(lead)], 1)

    x = torch.zeros(1, 2, dtype=torch.float64)
    near = minimal(Kinked(), x, torch.tensor([0]), attack="fgsm", radii=20)
    assert near[0, 0].item() == pytest.approx(0.23, rel=1e-3)
    standing = minimal(Flat(), torch.rand(3, 4), torch.zeros(3, dtype=torch.int64), attack="pgd", radii=3, steps=2)
    assert standing.shape == (3, 4)


def test_the_inner_attack_gets_its_options():
    model, inputs, labels = curved()
    oracle = Oracle(model, inputs, labels)
    minimal(oracle, inputs, labels, attack="pgd", steps=3, early_stop=False, radii=4)
    assert (oracle.backwards == 1 + 4 * 3).all()  # one for the first radius
    one, other = (minimal(model, inputs, labels, attack="pgd", steps=3, start=start) for start in ("clean", "corner"))
    assert not torch.equal(one, other)
    seeds = [minimal(model, inputs, labels, attack="pgd", steps=3, seed=seed) for seed in (0, 1)]
    assert not torch.equal(*seeds)


def test_what_the_inner_attack_finds_in_a_ball_is_no_nearer_than_what_the_search_finds():
    model, inputs, labels = curved()
    near = minimal(model, inputs, labels, attack="pgd", steps=10, start="clean", radii=12)
    size = ROWS["linf"].size(near - inputs)
    for factor, least in ((0.97, 0.0), (1.03, 0.9)):
        found = pgd(model, inputs, labels, eps=factor * size, steps=10, start="clean")
        share = (model(found).argmax(1) != labels).double().mean()
        assert share >= least if least else share <= 0.1


def test_targets_are_reached():
    model, inputs, labels = curved()
    targets = (labels + 1) % 3
    near = minimal(model, inputs, labels, targets=targets, attack="apgd", steps=20)
    moved = (near != inputs).flatten(1).any(1)
    assert moved.double().mean() > 0.9
    assert (model(near).argmax(1) == targets)[moved].all()


def test_an_image_does_not_depend_on_the_others():
    """The number of radii an image needs is its own, and its eps too."""
    model, inputs, labels = curved()
    together = minimal(model, inputs, labels, attack="pgd", steps=5, start="clean")
    for i in (0, 7, 23):
        alone = minimal(model, inputs[i : i + 1], labels[i : i + 1], attack="pgd", steps=5, start="clean")
        assert torch.allclose(alone[0], together[i], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"attack": "cw"}, "minimal:attack"),
        ({"attack": "minimal"}, "minimal:attack"),
        ({"attack": "nothing"}, "minimal:attack"),
        ({"attack": "square", "norm": "l1"}, "norm"),
        ({"norm": "l0"}, "norm"),
        ({"radii": 0}, "radii"),
        ({"step": 5}, "minimal:step"),
        ({"eps": 0.1}, "minimal:eps"),
        ({"attack": "fgsm", "steps": 5}, "minimal:steps"),
    ],
)
def test_bad_options_are_said_so(options, argument):
    model, inputs, labels = curved(2)
    with pytest.raises(InputError, match=argument):
        minimal(model, inputs, labels, **options)


def test_the_command_line_knows_the_inner_attacks_options():
    bound = bind("minimal:attack=pgd,steps=7,restarts=2,radii=3", norm="l2", seed=1)
    assert bound.options == {"attack": "pgd", "steps": 7, "restarts": 2, "radii": 3, "norm": "l2", "seed": 1}
    assert bound.budget == 42
    with pytest.raises(InputError, match="minimal:steps"):
        bind("minimal:attack=fgsm,steps=7")
    with pytest.raises(InputError, match="minimal:attack"):
        bind("minimal:attack=ddn")


def test_the_whole_box_is_tried_in_vain_once():
    """Once the ball is as large as the box, the same attack again would say the same."""
    spent = []
    for radii in (8, 40):
        oracle = Oracle(Flat(), random_images(4), torch.zeros(4, dtype=torch.int64))
        minimal(oracle, oracle.inputs, oracle.labels, attack="pgd", radii=radii, steps=2)
        spent.append(oracle.forwards.tolist())
    assert spent[0] == spent[1]
