"""The sphere is where it says, and its distance is what general solvers and brute force find, in every norm and from both sides."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from foolscope.errors import InputError
from foolscope.testing.distances import NORMS, norm_size
from foolscope.testing.radial import LEVELS, RADIUS, SIDES, radial_problem, sphere_distance


def points(n, dims, seed, least, most):
    """Points whose lengths lie between two multiples of the radius 1, some components exactly 0."""
    draw = np.random.default_rng(seed)
    away = draw.normal(size=(n, dims)) * np.exp(draw.normal(size=(n, dims)))
    away[:, 1] = 0.0
    return away * (draw.uniform(least, most, n) / np.linalg.norm(away, axis=1))[:, None]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("side", SIDES)
def test_against_a_fine_grid_in_two_dimensions(norm, side):
    axis = np.linspace(-2, 2, 801)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    across = np.linalg.norm(grid, axis=1) >= 1 if side == "inside" else np.linalg.norm(grid, axis=1) <= 1
    some = np.random.default_rng(3).integers(-180, 181, (400, 2)) / 200  # on the grid, so that l0 means something
    length = np.linalg.norm(some, axis=1)
    some = some[length < 0.95 if side == "inside" else (length > 1.05)]
    for point, exact in zip(some[:8], sphere_distance(some[:8], 1.0, norm), strict=True):
        best = norm_size((grid[across] - point).round(9), norm).min()
        assert exact - 1e-9 <= best <= exact + 0.01


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_from_outside_against_slsqp(norm):
    """A convex problem; its variables are the move's positive and negative part, and for linf their common limit."""
    dims, away = 6, points(15, 6, 1, 1.05, 2.5)
    for point, exact in zip(away, sphere_distance(away, 1.0, norm), strict=True):
        cost = np.append(np.zeros(2 * dims), 1.0) if norm == "linf" else np.append(np.ones(2 * dims), 0.0)

        def moved(z, point=point):
            return point + z[:dims] - z[dims:-1]

        limits = [
            {"type": "ineq", "fun": lambda z, moved=moved: 1 - moved(z) @ moved(z)},
            {"type": "ineq", "fun": lambda z: z[-1] - z[:dims] - z[dims:-1]},
        ]
        solved = minimize(
            lambda z, cost=cost: cost @ z,
            np.full(2 * dims + 1, 1.0),
            jac=lambda z, cost=cost: cost,
            bounds=[(0, 9)] * (2 * dims + 1),
            constraints=limits if norm == "linf" else limits[:1],
            method="SLSQP",
            options={"maxiter": 1000, "ftol": 1e-9},
        )
        assert solved.success
        assert exact == pytest.approx(solved.fun, rel=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_from_inside_no_vertex_of_the_ball_gets_out_before_and_one_does(norm):
    """The longest of a convex set is a corner: all corners of the linf ball, all of the l1 ball."""
    dims, away = 6, points(30, 6, 2, 0.2, 0.95)
    exact = sphere_distance(away, 1.0, norm)
    corners = np.array(np.meshgrid(*[[-1, 1]] * dims)).reshape(dims, -1).T
    corners = corners if norm == "linf" else np.vstack([np.eye(dims), -np.eye(dims)])
    reach = np.linalg.norm(away[:, None] + exact[:, None, None] * corners, axis=2).max(axis=1)
    np.testing.assert_allclose(reach, 1.0, rtol=1e-12)


def test_l0_from_outside_against_all_subsets():
    dims, away = 7, points(40, 7, 4, 1.05, 4.0)
    for point, exact in zip(away, sphere_distance(away, 1.0, "l0"), strict=True):
        square = np.square(point)
        least = next(
            k
            for k in range(dims + 1)
            if any(square.sum() - square[list(s)].sum() <= 1 for s in combinations(range(dims), k))
        )
        assert exact == least


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("side", SIDES)
def test_problems_have_right_images_at_a_few_distances(norm, side):
    problem = radial_problem(12, norm=norm, side=side, seed=5, dtype=torch.float64)
    assert torch.equal(problem.model(problem.inputs).argmax(1), problem.labels)
    assert set(problem.distance.numpy().round(9).tolist()) == set(LEVELS[side][norm])
    centre = problem.model.centre.detach()
    length = (problem.inputs - centre).flatten(1).norm(dim=1)
    assert bool((length < RADIUS).all() if side == "inside" else (length > RADIUS).all())
    # The box is nowhere near: the sphere, and the way from the image to it, lie within.
    assert 0.0 < float(problem.inputs.min()) < float(problem.inputs.max()) < 1.0
    assert float(centre.min()) > RADIUS
    assert float(centre.max()) + RADIUS < 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sphere_is_where_it_says(dtype):
    problem = radial_problem(32, seed=2, dtype=dtype)
    assert torch.equal(problem.model(problem.inputs).argmax(1), problem.labels)
    outward = problem.inputs.double() - problem.model.centre.double()
    length = outward.flatten(1).norm(dim=1)
    model = problem.model.double()
    for factor, fooled in ((0.999, False), (1.001, True)):
        stretch = (1 + factor * problem.distance / length).view(-1, 1, 1, 1)
        moved = model.centre.double() + stretch * outward
        assert bool((moved >= 0).all() and (moved <= 1).all())
        assert bool(((model(moved).argmax(1) != problem.labels) == fooled).all())
    # no shorter way in any of many random directions
    draws = torch.randn(64, *problem.inputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sizes = draws.flatten(2).norm(dim=2).view(*draws.shape[:2], 1, 1, 1)
    tries = problem.inputs.double() + 0.999 * problem.distance.view(-1, 1, 1, 1) * draws / sizes
    assert bool((model(tries.flatten(0, 1)).argmax(1) == 0).all())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"norm": "l3"}, "norm: expected a norm, got 'l3'"),
        ({"side": "insid"}, "side: expected a side, got 'insid' .nearest: inside"),
    ],
)
def test_bad_arguments_are_named(options, line):
    with pytest.raises(InputError, match=line):
        radial_problem(2, **options)
    with pytest.raises(InputError, match="norm"):
        sphere_distance(np.ones((1, 2)), 1.0, "l3")
