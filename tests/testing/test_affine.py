"""The problems are what they say: right images, an optimum that is there, nothing below it, the box as asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from foolscope.errors import InputError
from foolscope.testing.affine import BOXES, affine_problem, rival_distances
from foolscope.testing.distances import NORMS


def parts(problem):
    weight, bias = (value.double().numpy() for value in problem.model.state_dict().values())
    return weight, bias, problem.inputs.double().flatten(1).numpy(), problem.labels.numpy()


def reachable(problem, i, radius):
    """The most by which any other class can lead image i's label within `radius`, by linear programming."""
    weight, bias, images, labels = parts(problem)
    x, label, dims = images[i], labels[i], images.shape[1]
    low, high = (-np.inf, np.inf) if problem.bounds is None else problem.bounds
    most = -np.inf
    for rival in set(range(len(weight))) - {label}:
        normal = weight[rival] - weight[label]
        if problem.norm == "linf":
            limits = [(max(low - v, -radius), min(high - v, radius)) for v in x]
            gain = linprog(-normal, bounds=limits)
        else:
            limits = [*((0.0, high - v) for v in x), *((0.0, v - low) for v in x)]
            cost = np.concatenate([-normal, normal])
            gain = linprog(cost, A_ub=np.ones((1, 2 * dims)), b_ub=[radius], bounds=limits)
        most = max(most, -gain.fun + normal @ x + bias[rival] - bias[label])
    return most


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_the_boundary_is_exactly_at_the_distance(norm, classes, box):
    problem = affine_problem(6, (1, 8, 8), classes, box, norm, seed=3)
    for i, distance in enumerate(problem.distance.tolist()):
        assert reachable(problem, i, 0.9999 * distance) < 0 < reachable(problem, i, 1.0001 * distance)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_are_right_and_the_box_is_as_asked(norm, box, classes, dtype):
    problem = affine_problem(48, (1, 8, 8), classes, box, norm, seed=1, dtype=dtype)
    assert problem.inputs.dtype == dtype
    assert problem.inputs.shape == (48, 1, 8, 8)
    assert torch.equal(problem.model(problem.inputs).argmax(1), problem.labels)
    assert set(problem.labels.tolist()) == set(range(classes))
    assert problem.distance.dtype == torch.float64
    assert bool((problem.distance > 0).all() and problem.distance.isfinite().all())
    weight, bias, images, labels = parts(problem)
    if box == "none":
        assert problem.bounds is None
        assert images.min() < -0.5
        assert images.max() > 1.5
    else:
        assert problem.bounds == (0.0, 1.0)
        assert 0 <= images.min() <= images.max() <= 1
    # the distance without a box, by the dual norms, and the furthest that a pixel moves then
    gaps = [(weight[j] - weight[y], -(weight[j] - weight[y]) @ x - bias[j] + bias[y])
            for x, y in zip(images, labels, strict=True) for j in range(classes) if j != y]  # fmt: skip
    dual = {"linf": lambda w: abs(w).sum(), "l2": np.linalg.norm, "l1": lambda w: abs(w).max()}
    if norm in dual:
        free = np.array([m / dual[norm](w) for w, m in gaps]).reshape(48, -1).min(axis=1)
        ratio = problem.distance.numpy() / free
        assert (ratio > 1.02).all() if box == "active" else np.allclose(ratio, 1.0, rtol=1e-9)
    else:
        assert (problem.distance > 1).all() if box == "active" else (problem.distance == 1).all()


def test_weights_differ_widely_and_some_pixels_count_for_nothing():
    weight = affine_problem(4, norm="l2").model[1].weight
    size = (weight[1] - weight[0]).detach().abs()
    assert int((size == 0).sum()) == 4
    positive = size[size > 0]
    assert float(positive.max() / positive.min()) > 20


def test_an_active_box_has_binary_images_and_walled_pixels():
    inputs = affine_problem(64, box="active").inputs.flatten(1)
    walled = (inputs == 0) | (inputs == 1)
    binary = walled.all(1)
    assert 20 <= int(binary.sum()) <= 44
    assert bool((inputs[~binary] == 0).any() and (inputs[~binary] == 1).any())
    assert bool((inputs[binary] == 0).any() and (inputs[binary] == 1).any())


@pytest.mark.parametrize("box", ["inactive", "active"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_targets_with_two_classes_are_no_further_and_with_more_no_nearer(norm, box):
    plain, aimed = (affine_problem(16, classes=2, box=box, norm=norm, targeted=t) for t in (False, True))
    assert torch.equal(plain.distance, aimed.distance)
    assert torch.equal(aimed.targets, 1 - aimed.labels)
    assert plain.targets is None

    aimed = affine_problem(12, classes=4, box=box, norm=norm, targeted=True)
    assert bool((aimed.targets != aimed.labels).all())
    rivals = rival_distances(aimed)
    others = [[j for j in range(4) if j != y] for y in aimed.labels.tolist()]
    own = np.array([row[names.index(t)] for row, names, t in zip(rivals, others, aimed.targets.tolist(), strict=True)])
    assert (aimed.distance.numpy() >= own * (1 - 1e-7)).all()
    if box == "inactive":
        assert (aimed.distance.numpy() > own * 1.001).any()  # a third class stands in between


def test_a_target_is_reached_at_its_distance_and_not_before():
    problem = affine_problem(8, classes=4, box="active", norm="linf", targeted=True)
    weight, bias, images, _ = parts(problem)
    for x, t, distance in zip(images, problem.targets.tolist(), problem.distance.tolist(), strict=True):
        normals, offsets = np.delete(weight[t] - weight, t, axis=0), np.delete(bias[t] - bias, t)
        for radius, possible in ((0.9999 * distance, False), (1.0001 * distance, True)):
            limits = [(max(0.0, v - radius), min(1.0, v + radius)) for v in x]
            found = linprog(np.zeros(len(x)), A_ub=-normals, b_ub=offsets, bounds=limits)
            assert (found.status == 0) is possible


def test_the_same_seed_gives_the_same_problem_and_no_global_draw():
    state = torch.get_rng_state()
    one, again, other = affine_problem(5, seed=4), affine_problem(5, seed=4), affine_problem(5, seed=5)
    assert torch.equal(one.inputs, again.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    assert torch.equal(torch.get_rng_state(), state)


def test_colour_images_and_none_at_all():
    assert affine_problem(6, (3, 4, 4), 3, "active", "l1").inputs.shape == (6, 3, 4, 4)
    assert affine_problem(0).inputs.shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"norm": "linfty"}, "norm: expected a norm, got 'linfty' \\(nearest: linf"),
        ({"box": "actve"}, "box: expected a kind of box, got 'actve' \\(nearest: active"),
        ({"classes": 1}, "classes: expected at least 2, got 1"),
        ({"classes": 3, "norm": "l0", "targeted": True}, "norm: expected one with a solver"),
    ],
)
def test_bad_arguments_are_named(options, line):
    with pytest.raises(InputError, match=line):
        affine_problem(2, **options)
