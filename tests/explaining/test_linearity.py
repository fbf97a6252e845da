"""How straight logits are: exact for linear and folded models; the growth with dimension of a linear model is 1 and 1/2."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import foolscope
from foolscope.explaining.circles import circles
from foolscope.explaining.linearity import along, conclude, growth, r_squared
from foolscope.oracle import Oracle
from foolscope.report.explanations.circles import maps

pytestmark = pytest.mark.usefixtures("one_thread")


def looked(oracle: Oracle, eps: float):
    seen = []
    for function in (lambda o: along(o, eps), lambda o: growth(o, eps, 0)):
        answer = function(oracle) | {"forwards": oracle.forwards.clone(), "backwards": oracle.backwards.clone()}
        seen.append({key: value.numpy() for key, value in answer.items()})
    return seen


def test_a_linear_model_is_straight_and_grows_as_it_should():
    torch.manual_seed(0)
    model = nn.Linear(4096, 3).double()
    x = torch.rand(40, 4096, dtype=torch.float64)
    oracle = Oracle(model.requires_grad_(False), x, model(x).argmax(1), bounds=None)
    found = conclude(*looked(oracle, 0.01), 0.01, 4096)
    assert found.estimate == pytest.approx(1)
    assert found.series["pieces"] == 1
    assert found.series["r2_far"]["median"] == pytest.approx(1)
    signed, chance = found.series["exponents"]["signed"], found.series["exponents"]["random"]
    assert signed["value"] == pytest.approx(1, abs=0.03)
    assert chance["value"] == pytest.approx(0.5, abs=0.15)
    assert chance["interval"][0] < 0.5 < chance["interval"][1]


class Folded(nn.Module):
    """|x_0| and its negative: one fold along the only direction there is."""

    def forward(self, x):
        return torch.stack([x[:, 0].abs(), -x[:, 0].abs()], 1)


def test_a_fold_is_one_more_piece():
    x = torch.full((4, 1), 0.31)  # off the grid of steps
    seen = along(Oracle(Folded(), x, torch.zeros(4, dtype=torch.int64), bounds=None), 0.1)
    assert seen["pieces"].tolist() == [2] * 4
    torch.testing.assert_close(seen["r2_near"], torch.ones(4).double(), rtol=0, atol=1e-6)  # the fold lies at 0.31
    assert (seen["r2_far"] < 0.9).all()


def test_only_the_logits_nearest_to_the_largest_are_kept():
    model = nn.Linear(1, 300)
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-1, 1, 300)[:, None])
        model.bias.copy_(-torch.linspace(-2, 2, 300).square() - 100 * (torch.arange(300) % 2))
    x = torch.full((4, 1), 0.5)
    oracle = Oracle(model.requires_grad_(False), x, model(x).argmax(1), bounds=None)
    seen = along(oracle, 0.1)
    assert seen["logits"].shape == (4, 33, 5)
    assert (seen["classes"] % 2 == 0).all()
    every = model(x[:, None] + torch.linspace(-0.8, 0.8, 33)[:, None])  # the same points on either way along the ray
    behind = (every.amax(2, keepdim=True) - every).amin(1)
    kept = behind.gather(1, seen["classes"])
    torch.testing.assert_close(kept.sort().values, behind.sort().values[:, :5])


def test_r_squared_pools_the_curves():
    t = torch.linspace(0, 1, 11)
    rough = torch.stack([t, (t * 20).sin()], 1)[None]
    line = np.polyfit(t.numpy(), rough[0].numpy(), 1)
    left = rough[0].numpy() - np.outer(t, line[0]) - line[1]
    whole = rough[0].numpy() - rough[0].numpy().mean(0)
    assert float(r_squared(rough)) == pytest.approx(1 - (left**2).sum() / (whole**2).sum(), abs=1e-5)
    assert r_squared(torch.ones(1, 5, 2)).tolist() == [1.0]


def test_only_in_linf(digits_network, digits_data):
    found = foolscope.explain(digits_network, digits_data, only="linearity", samples=20, norm="l2", eps=0.5)
    assert found.record["linearity"]["n"] == 0
    assert "linf" in found.record["linearity"]["finding"]


def test_circles_end_cross_entropy_in_the_target_and_nowhere_else():
    found = circles(0, points=31)
    assert found.accuracy > 0.99
    assert all((found.region == region).any() for region in (1, 2, 3))
    assert found.median("ce", 3) < 0.01 * found.median("ce", 1)
    assert found.median("logit", 3) > 0.3 * found.median("logit", 1)
    assert found.median("logit", 1) < found.median("ce", 1)
    assert found.size["ce_sign"].max() == pytest.approx(2**0.5)


def test_the_circles_are_drawn_a_map_a_loss():
    spec = maps(circles(0, points=9))
    rows = next(iter(spec["datasets"].values())) if "datasets" in spec else spec["data"]["values"]
    assert len(rows) == 4 * 81
    assert {row["loss"] for row in rows} == {"CE", "CE-sign", "logit", "M-logit"}
