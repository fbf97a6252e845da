"""The closed forms against general solvers, subset enumeration and grids."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from foolscope.errors import InputError
from foolscope.testing.distances import NORMS, halfspace_distance, norm_size, polytope_distance


def halfspaces(n, dims, seed, share=(0.05, 0.95)):
    """Signed weights over three decades, some 0; rooms, some 0; margins that the box can just or easily supply."""
    draw = np.random.default_rng(seed)
    weight = draw.choice([-1.0, 1.0], (n, dims)) * 10 ** draw.uniform(-3, 0, (n, dims))
    weight[:, 1] = 0.0
    room = draw.uniform(0, 1, (n, dims))
    room[draw.uniform(size=(n, dims)) < 0.2] = 0.0
    margin = draw.uniform(*share, n) * (np.abs(weight) * room).sum(axis=1)
    return weight, margin, room


def by_linear_programme(weight, margin, room, norm):
    """min e (linf) or Σ|d| (l1) over d = p - q, written apart from the package's own programme."""
    dims = len(weight)
    up, down = np.where(weight > 0, room, 0.0), np.where(weight < 0, room, 0.0)
    cost = np.append(np.zeros(2 * dims), 1.0) if norm == "linf" else np.append(np.ones(2 * dims), 0.0)
    gain = np.append(np.concatenate([weight, -weight]), 0.0)
    rows, ends = [-gain], [-margin]
    if norm == "linf":
        for i in range(dims):
            row = np.zeros(2 * dims + 1)
            row[[i, dims + i]], row[-1] = 1.0, -1.0
            rows.append(row), ends.append(0.0)
    limits = [*((0.0, u) for u in up), *((0.0, u) for u in down), (0.0, None)]
    return linprog(cost, A_ub=np.array(rows), b_ub=np.array(ends), bounds=limits).fun


def by_slsqp(weights, margins, lower, upper):
    def gain(d):
        return weights @ d - margins

    solved = minimize(
        lambda d: d @ d,
        np.clip(weights.sum(axis=0), lower, upper),
        jac=lambda d: 2 * d,
        bounds=list(zip(lower, upper, strict=True)),
        constraints={"type": "ineq", "fun": gain, "jac": lambda _: weights},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    assert solved.success
    return float(np.sqrt(solved.fun))


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_halfspace_against_a_linear_programme(norm):
    weight, margin, room = halfspaces(40, 12, seed=1)
    exact = halfspace_distance(weight, margin, room, norm)
    solved = [by_linear_programme(*each, norm) for each in zip(weight, margin, room, strict=True)]
    np.testing.assert_allclose(exact, solved, rtol=1e-7)


def test_halfspace_in_l2_against_slsqp():
    weight, margin, room = halfspaces(30, 10, seed=2, share=(0.1, 0.8))
    lower, upper = -np.where(weight < 0, room, 0.0), np.where(weight > 0, room, 0.0)
    exact = halfspace_distance(weight, margin, room, "l2")
    solved = [by_slsqp(w[None], m[None], lo, up) for w, m, lo, up in zip(weight, margin, lower, upper, strict=True)]
    np.testing.assert_allclose(exact, solved, rtol=1e-5)


def test_halfspace_in_l0_against_all_subsets():
    weight, margin, room = halfspaces(40, 9, seed=3)
    for w, m, r, exact in zip(weight, margin, room, halfspace_distance(weight, margin, room, "l0"), strict=True):
        gains = np.abs(w) * r
        least = next(k for k in range(10) if any(gains[list(s)].sum() >= m for s in combinations(range(9), k)))
        assert exact == least


def test_without_a_box_it_is_the_margin_over_the_dual_norm():
    weight, margin, _ = halfspaces(20, 15, seed=4)
    free = np.full_like(weight, np.inf)
    size = np.abs(weight)
    duals = {"linf": size.sum(axis=1), "l2": np.linalg.norm(size, axis=1), "l1": size.max(axis=1)}
    for norm, dual in duals.items():
        np.testing.assert_allclose(halfspace_distance(weight, margin, free, norm), margin / dual, rtol=1e-12)
    assert (halfspace_distance(weight, margin, free, "l0") == 1).all()


@pytest.mark.parametrize("norm", NORMS)
def test_out_of_reach_is_infinite_and_the_very_corner_is_not(norm):
    weight, room = np.array([[1.0, -2.0, 0.0]]), np.array([[0.5, 0.25, 9.0]])
    assert np.isinf(halfspace_distance(weight, np.array([1.0 + 1e-9]), room, norm))
    corner = {"linf": 0.5, "l2": np.hypot(0.5, 0.25), "l1": 0.75, "l0": 2.0}[norm]
    np.testing.assert_allclose(halfspace_distance(weight, np.array([1.0]), room, norm), corner)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_polytope_of_one_row_is_the_halfspace(norm):
    weight, margin, room = halfspaces(15, 12, seed=5, share=(0.1, 0.9))
    exact = halfspace_distance(weight, margin, room, norm)
    lower, upper = -np.where(weight < 0, room, 0.3), np.where(weight > 0, room, 0.3)
    solved = [
        polytope_distance(w[None], m[None], lo, up, norm)
        for w, m, lo, up in zip(weight, margin, lower, upper, strict=True)
    ]
    np.testing.assert_allclose(solved, exact, rtol=1e-6)


def test_polytope_in_l2_against_slsqp():
    draw = np.random.default_rng(6)
    for box in (True, False):
        for _ in range(10):
            weights = draw.normal(size=(4, 12))
            lower, upper = -draw.uniform(0, 1, 12), draw.uniform(0, 1, 12)
            inside = draw.uniform(lower, upper)
            margins = weights @ inside - draw.uniform(0, 0.2, 4)
            if not box:
                lower, upper = np.full(12, -np.inf), np.full(12, np.inf)
            exact = polytope_distance(weights, margins, lower, upper, "l2")
            if (margins <= 0).all():
                assert exact < 1e-9
            else:
                assert exact == pytest.approx(by_slsqp(weights, margins, lower, upper), rel=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_polytope_against_a_fine_grid(norm):
    draw = np.random.default_rng(7)
    axis = np.linspace(-1, 1, 201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for _ in range(10):
        weights, lower, upper = draw.normal(size=(3, 2)), -draw.uniform(0.3, 1, 2), draw.uniform(0.3, 1, 2)
        margins = weights @ draw.uniform(lower, upper)
        boxed = ((lower <= grid) & (grid <= upper)).all(axis=1)
        allowed = boxed & (grid @ weights.T >= margins).all(axis=1)
        exact = polytope_distance(weights, margins, lower, upper, norm)
        if allowed.any():
            best = norm_size(grid[allowed], norm).min()
            assert exact <= best + 1e-9
            assert exact == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_an_empty_polytope_is_infinitely_far(norm):
    weights = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert polytope_distance(weights, np.array([0.5, 0.5]), -np.ones(2), np.ones(2), norm) == np.inf
    assert polytope_distance(weights[:1], np.array([1.5]), -np.ones(2), np.ones(2), norm) == np.inf


def test_unknown_norms_are_named():
    one = np.ones((1, 2))
    for call in (
        lambda: halfspace_distance(one, np.ones(1), one, "l_inf"),
        lambda: norm_size(one, "l_inf"),
        lambda: polytope_distance(one, np.ones(1), -np.ones(2), np.ones(2), "l0"),
    ):
        with pytest.raises(InputError, match="norm: expected a norm"):
            call()
