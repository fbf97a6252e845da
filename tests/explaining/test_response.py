"""The linear response: exact on affine networks, off by O(eps^2) on smooth ones, at a cost that does not know the number of classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from foolscope.explaining.response import CE_DIRECTION, cross, mean_field, respond
from foolscope.oracle import Oracle
from foolscope.testing.models import random_images


def smooth(classes: int = 6, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 24), activation(), nn.Linear(24, 24), activation(), nn.Linear(24, classes)
    )
    return model.double().eval().requires_grad_(False)


def oracle_of(model: nn.Module, n: int = 12, dtype: torch.dtype = torch.float64) -> Oracle:
    inputs = random_images(n, dtype=dtype)
    return Oracle(model, inputs, model(inputs).argmax(1))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_is_the_papers_formula(norm: str) -> None:
    """J^T J delta / |J delta|_2 and J^T sign(J delta), with J and delta written out."""
    model = smooth()
    oracle = oracle_of(model)
    answer = respond(oracle, oracle.rows_all, norm)
    for row in range(3):
        x = oracle.inputs[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(lambda at: model(at)[0], x).flatten(1)  # logits x input
        delta = model(x)[0].softmax(0)
        delta[oracle.labels[row]] -= 1
        gradient = delta @ jacobian
        direction = gradient / gradient.norm() if norm == "l2" else gradient.sign()
        torch.testing.assert_close(answer.slope[row], jacobian @ direction, rtol=1e-9, atol=1e-12)


def test_any_direction_costs_the_forward_mode_pass_alone() -> None:
    model = smooth()
    oracle = oracle_of(model)
    direction = random_images(12, dtype=torch.float64, seed=9) - 0.5
    answer = respond(oracle, oracle.rows_all, direction=direction)
    jacobian = torch.autograd.functional.jacobian(lambda at: model(at)[0], oracle.inputs[3:4]).flatten(1)
    torch.testing.assert_close(answer.slope[3], jacobian @ direction[3].flatten())
    assert oracle.backwards.tolist() == [0] * 12


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Softplus])
def test_the_residual_falls_as_eps_squared(norm: str, activation: type[nn.Module]) -> None:
    oracle = oracle_of(smooth(activation=activation))
    answer = respond(oracle, oracle.rows_all, norm)
    view = (-1, 1, 1, 1)
    unit = 1e-3 / answer.direction.flatten(1).norm(dim=1)  # as long in every norm

    def residual(eps: Tensor) -> Tensor:
        moved = oracle.logits(oracle.inputs + eps.view(view) * answer.direction, oracle.rows_all)
        return (moved - answer.logits - eps[:, None] * answer.slope).norm(dim=1)

    order = torch.log2(residual(unit) / residual(unit / 2))
    torch.testing.assert_close(order, torch.full_like(order, 2.0), rtol=0, atol=0.05)


def test_the_direction_is_cross_entropys_and_outlives_it() -> None:
    oracle = oracle_of(smooth())
    plain = oracle.gradient(oracle.inputs, oracle.rows_all, "ce").gradient.flatten(1)
    stable = oracle.gradient(oracle.inputs, oracle.rows_all, CE_DIRECTION).gradient.flatten(1)
    torch.testing.assert_close(nn.functional.normalize(plain), nn.functional.normalize(stable), rtol=1e-7, atol=1e-9)

    class Confident(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1000 * x.flatten(1)[:, :4].cumsum(1)

    confident = oracle_of(Confident(), dtype=torch.float32)
    with pytest.warns(UserWarning, match="exactly zero"):
        dead = confident.gradient(confident.inputs, confident.rows_all, "ce").gradient.flatten(1)
    assert (dead == 0).all(1).any()
    assert (respond(confident, confident.rows_all).direction.flatten(1) != 0).any(1).all()


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_one_gradient_and_one_forward_mode_pass_whatever_the_number_of_classes(classes: int) -> None:
    oracle = oracle_of(smooth(classes))
    assert oracle.clean.shape == (12, classes)
    forwards = oracle.forwards.clone()
    respond(oracle, oracle.rows_all)
    assert (oracle.forwards - forwards).tolist() == [3] * 12  # one with the gradient, two for the forward-mode pass
    assert oracle.backwards.tolist() == [1] * 12


@given(st.integers(0, 10**6), st.integers(2, 12))
def test_nothing_overtakes_before_the_crossing_and_something_has_just_after(seed: int, classes: int) -> None:
    draws = np.random.default_rng(seed)
    h, gamma = draws.normal(size=(2, 20, classes))
    at = cross(h, gamma)
    top = h.argmax(1)
    finite = np.isfinite(at.eps)
    before = h + (at.eps * (1 - 1e-9))[:, None].clip(max=1e9) * gamma
    assert (before.argmax(1) == top).all()
    after = h + (at.eps * (1 + 1e-6))[:, None].clip(max=1e9) * gamma
    assert (after.argmax(1)[finite] == at.label[finite]).all()
    order = np.argsort(-h, 1)
    assert (order[np.arange(20), at.rank - 1][finite] == at.label[finite]).all()
    assert (at.rank[~finite] == 0).all()
    assert (at.label[~finite] == -1).all()


def test_mean_field_of_equal_slopes_is_the_prediction_for_rank_two() -> None:
    h = np.array([[3.0, 1.0], [5.0, 4.0]])
    slope = np.array([[-1.0, 1.0], [-1.0, 1.0]])
    at = cross(h, slope)
    np.testing.assert_allclose(mean_field(at.gap, at.gain), at.eps)
    assert np.isinf(mean_field([1.0, 2.0], [-1.0, 0.0])).all()
