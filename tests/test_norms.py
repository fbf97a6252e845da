"""Projections by the variational inequality (linf, l2, l1) or brute force (l0); linear steps against scipy and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from foolscope.errors import InputError
from foolscope.norms import NORMS, falling, get_norm

CONVEX = ("linf", "l2", "l1")


def problem(
    seed: int, b: int = 5, d: int = 12, open_box: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random vector with widely varying entries and a box around 0 that has zero rooms in it."""
    g = torch.Generator().manual_seed(seed)
    v = (
        torch.randn(b, d, generator=g, dtype=torch.float64)
        * torch.logspace(-2, 1, d, dtype=torch.float64)[torch.randperm(d, generator=g)]
    )
    lower, upper = (-torch.rand(b, d, generator=g, dtype=torch.float64) for _ in range(2))
    lower[:, 0], upper[:, 1] = 0, 0
    if open_box:
        return v, torch.full_like(v, -torch.inf), torch.full_like(v, torch.inf)
    return v, lower, -upper


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CONVEX), st.floats(0.05, 5), st.booleans())
def test_projection_satisfies_the_variational_inequality(seed: int, name: str, eps: float, open_box: bool) -> None:
    norm = NORMS[name]
    v, lower, upper = problem(seed, open_box=open_box)
    p = norm.project(v, eps, lower, upper)
    assert (norm.size(p) <= eps * (1 + 1e-9)).all()
    assert ((p >= lower) & (p <= upper)).all()
    # <v - p, q - p> <= 0 for every feasible q: checked where it is largest, which is a linear problem over ball and box,
    # solved independently of `steepest` by sampling many feasible points and by scaling the extreme ones.
    g = torch.Generator().manual_seed(seed + 1)
    q = torch.randn(400, *v.shape, generator=g, dtype=torch.float64) * (
        10 ** torch.empty(400, 1, 1).uniform_(-2, 1, generator=g)
    )
    q = torch.where(torch.rand(q.shape, generator=g) < 0.5, q, 0).clamp(lower, upper)
    q[0], q[1] = v.clamp(lower, upper), (v - p).sign() * 1e-3
    q = q.clamp(lower, upper)
    size = torch.stack([norm.size(one) for one in q])
    q = q * (eps / size.clamp_min(1e-12)).clamp_max(1)[..., None]
    gap = ((v - p) * (q - p)).sum(-1)
    assert (gap <= 1e-8 * (1 + v.norm(dim=1))).all()


@pytest.mark.parametrize("name", CONVEX)
def test_projection_leaves_inner_points_alone(name: str) -> None:
    v, lower, upper = problem(3)
    inner = v.clamp(lower, upper) * 0.01
    assert torch.equal(NORMS[name].project(inner, 10.0, lower, upper), inner) or torch.allclose(
        NORMS[name].project(inner, 10.0, lower, upper), inner, atol=0, rtol=1e-12
    )


def test_l0_projection_by_brute_force() -> None:
    v, lower, upper = problem(5, b=4, d=6)
    for k in range(7):
        p = NORMS["l0"].project(v, k, lower, upper)
        for row in range(4):
            best = min(
                float(
                    (
                        torch.where(
                            torch.isin(torch.arange(6), torch.tensor(keep, dtype=torch.long)),
                            v[row].clamp(lower[row], upper[row]),
                            0,
                        )
                        - v[row]
                    )
                    .square()
                    .sum()
                )
                for keep in itertools.combinations(range(6), k)
            )
            assert float((p[row] - v[row]).square().sum()) == pytest.approx(best)
            assert int((p[row] != 0).sum()) <= k


def linear_program(g: np.ndarray, name: str, eps: float, lower: np.ndarray, upper: np.ndarray) -> float:
    """max <g, d> over the linf or l1 ball and the box, by scipy; d = p - n."""
    d = len(g)
    if name == "linf":
        return -linprog(-g, bounds=list(zip(np.maximum(lower, -eps), np.minimum(upper, eps), strict=True))).fun
    bounds = [(0, u) for u in upper] + [(0, -lo) for lo in lower]
    return -linprog(-np.concatenate([g, -g]), A_ub=np.ones((1, 2 * d)), b_ub=[eps], bounds=bounds).fun


@pytest.mark.parametrize("name", ["linf", "l1"])
@pytest.mark.parametrize("eps", [0.1, 0.5, 2.0, 50.0])
def test_steepest_is_the_linear_optimum(name: str, eps: float) -> None:
    g, lower, upper = problem(7)
    d = NORMS[name].steepest(g, eps, lower, upper)
    assert (NORMS[name].size(d) <= eps * (1 + 1e-12)).all()
    for row in range(len(g)):
        best = linear_program(g[row].numpy(), name, eps, lower[row].numpy(), upper[row].numpy())
        assert float((g * d).sum(1)[row]) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("eps", [0.1, 0.5, 2.0, 50.0])
def test_l2_steepest_satisfies_the_optimality_conditions(eps: float) -> None:
    g, lower, upper = problem(8)
    d = NORMS["l2"].steepest(g, eps, lower, upper)
    size = d.norm(dim=1)
    for row in range(len(g)):
        free = (d[row] > lower[row] + 1e-12) & (d[row] < upper[row] - 1e-12)
        if (
            free.any()
        ):  # d = t g on free components with one t, the ball is used up, clipped ones would like to go further
            t = d[row][free] / g[row][free]
            assert float(t.max() - t.min()) <= 1e-9 * float(t.max())
            assert float(size[row]) == pytest.approx(eps)
            assert ((t.mean() * g[row][~free]).abs() + 1e-12 >= d[row][~free].abs()).all()
        else:
            assert float(size[row]) <= eps + 1e-12


@pytest.mark.parametrize("name", list(NORMS))
@pytest.mark.parametrize("open_box", [False, True])
def test_cross_is_the_inverse_of_steepest(name: str, open_box: bool) -> None:
    """The shortest perturbation with gain m: reached to the letter, and nothing 0.1 % shorter reaches it."""
    if name == "l0" and open_box:
        pytest.skip("without a box one component always suffices in l0")
    g, lower, upper = problem(9, open_box=open_box)
    most = (g.abs() * torch.where(g > 0, upper, -lower)).nan_to_num(0, 0, 0).sum(1) if not open_box else g.abs().sum(1)
    margin = most * torch.tensor([0.05, 0.2, 0.5, 0.8, 0.95], dtype=torch.float64)
    d = NORMS[name].cross(g, margin, lower, upper)
    assert ((d >= lower) & (d <= upper)).all()
    assert ((g * d).sum(1) >= margin * (1 - 1e-9)).all()
    size = NORMS[name].size(d)
    shorter = NORMS[name].steepest(g, size - 1 if name == "l0" else size * 0.999, lower, upper)
    assert ((g * shorter).sum(1) < margin).all()


@pytest.mark.parametrize("name", list(NORMS))
def test_cross_goes_all_the_way_where_the_box_forbids_the_margin(name: str) -> None:
    g, lower, upper = problem(10)
    d = NORMS[name].cross(g, torch.full((5,), 1e9, dtype=torch.float64), lower, upper)
    assert torch.allclose(d, torch.where(g > 0, upper, torch.where(g < 0, lower, 0)), rtol=1e-14, atol=0)


@pytest.mark.parametrize("name", CONVEX)
@pytest.mark.parametrize("power", [-60, 60])
def test_steps_are_blind_to_powers_of_two(name: str, power: int) -> None:
    g, lower, upper = (t.float() for t in problem(11))
    plain, scaled = (NORMS[name].steepest(v, 0.7, lower, upper) for v in (g, g * 2.0**power))
    assert torch.equal(plain, scaled)


@pytest.mark.parametrize("name", list(NORMS))
def test_a_zero_gradient_gives_no_step_and_no_nan(name: str) -> None:
    zero, lower, upper = torch.zeros(2, 3), torch.full((2, 3), -torch.inf), torch.full((2, 3), torch.inf)
    assert not NORMS[name].steepest(zero, 1.0, lower, upper).any()
    assert not NORMS[name].cross(zero, torch.ones(2), lower, upper).any()
    assert not NORMS[name].project(zero, 1.0, lower, upper).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_falling_order_is_that_of_a_stable_sort(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    score = torch.rand(7, 300, generator=g).to(dtype) * 10.0 ** torch.randint(-40, 38, (7, 300), generator=g)
    score[:, ::3], score[0], score[1, ::2], score[2, 5] = (
        0.5,
        0.0,
        0.0,
        torch.inf,
    )  # ties, all alike, denormal, infinite
    assert torch.equal(falling(score), score.sort(dim=1, descending=True, stable=True).indices)


@pytest.mark.parametrize("name", list(NORMS))
def test_random_points_lie_where_they_should(name: str) -> None:
    u = torch.rand(50, 3, 4, 4, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    norm = NORMS[name]
    eps = torch.linspace(1, 9, 50)
    assert torch.allclose(norm.size(norm.surface(u, eps)), eps.floor() if name == "l0" else eps, rtol=1e-5)
    inside = norm.size(norm.inside(u, lambda: torch.rand(50), eps))
    assert (inside <= eps * (1 + 1e-5)).all()
    if name == "linf":
        assert norm.surface(u, eps).abs().flatten(1).amin(1).allclose(eps)


def test_unknown_norm_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="nearest: linf"):
        get_norm("Linf")
