"""First-order distances: exact on affine networks in every norm, box or none; what they settle is proved by a pass of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foolscope.explaining.first_order import RIVALS, conclude, look
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.testing.affine import affine_problem


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("box", ["inactive", "active", "none"])
@pytest.mark.parametrize("classes", [2, 5])
def test_exact_on_an_affine_network(norm: str, box: str, classes: int) -> None:
    if (norm, box) == ("l0", "none"):
        pytest.skip("one component can change everything")
    problem = affine_problem(20, classes=classes, box=box, norm=norm, dtype=torch.float64)
    oracle = Oracle(problem.model.requires_grad_(False), problem.inputs, problem.labels, bounds=problem.bounds)
    eps = float(problem.distance.median()) * 1.02
    seen = look(oracle, norm, round(eps) if norm == "l0" else eps)
    nearest = seen["distance"].amin(1)
    torch.testing.assert_close(nearest, problem.distance, rtol=1e-6, atol=1e-9)
    if box == "inactive" and norm != "l0":
        torch.testing.assert_close(seen["free"].amin(1), problem.distance, rtol=1e-6, atol=1e-9)
    if norm != "l0":
        far = (problem.distance / eps - 1).abs() > 1e-6
        assert (seen["settled"][:, -1] == (problem.distance < eps))[far].all()


class Capped(nn.Module):
    """Two classes tie at a cap, where no gradient tells them apart; a third has no finite logit."""

    def forward(self, x: Tensor) -> Tensor:
        z = torch.stack([x.sum(1) + 9, x.sum(1) + 8, x.sum(1), torch.full_like(x[:, 0], -torch.inf)], 1)
        return z.clamp(max=5)


@pytest.mark.parametrize("norm", list(NORMS))
def test_a_tie_without_a_gradient_is_at_the_boundary(norm: str) -> None:
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    seen = look(Oracle(Capped(), x, torch.zeros(4, dtype=torch.int64)), norm, 1)
    assert not any(value.isnan().any() for value in (seen["distance"], seen["free"]))
    assert (seen["free"][:, 0] == 0).all()
    assert torch.isinf(seen["free"][:, 2]).all()


def test_the_cost_is_a_gradient_a_rival_and_one_look_a_number_of_rivals() -> None:
    problem = affine_problem(7, classes=5)
    oracle = Oracle(problem.model.requires_grad_(False), problem.inputs, problem.labels)
    _ = oracle.clean
    look(oracle, "linf", 0.05)
    assert oracle.forwards.tolist() == [1 + 4 + len(RIVALS)] * 7
    assert oracle.backwards.tolist() == [4] * 7


def test_an_image_does_not_notice_its_batch(digits_network: nn.Module, digits_data) -> None:
    images, labels = (part[:12] for part in digits_data)
    model = digits_network.double().requires_grad_(False)
    whole = look(Oracle(model, images, labels), "l2", 0.5)
    alone = look(Oracle(model, images[5:6], labels[5:6]), "l2", 0.5)
    for key, value in alone.items():
        torch.testing.assert_close(value, whole[key][5:6], rtol=1e-6, atol=1e-9)


def told(found: np.ndarray, first: np.ndarray, settled: np.ndarray, eps: float = 1.0):
    columns = np.stack([first, first, first], 1)
    return conclude(
        columns, columns, np.stack([settled] * 3, 1), found, norm="l2", eps=eps, cost=23.0, reference="a test"
    )


def test_the_finding_says_what_was_planted() -> None:
    first = np.linspace(0.01, 2, 200)
    answer = told(0.9 * first, first, first < 0.5)
    assert answer.estimate == pytest.approx(0.9)
    (one, three) = answer.series["by_rivals"]
    assert (one["rivals"], three["rivals"]) == (1, 3)
    assert three["correlation"] == 1.0
    assert three["within"] == pytest.approx((first <= 1).mean())
    assert three["agree"] == pytest.approx(1 - ((first > 1) & (0.9 * first <= 1)).mean())
    assert three["settled_of_fooled"] == pytest.approx((first < 0.5).sum() / (0.9 * first <= 1).sum())
    assert "0.90 (95% interval 0.90 to 0.90)" in answer.finding
    assert "a test" in answer.method


def test_nothing_fooled_and_nothing_found() -> None:
    first = np.linspace(1.5, 2, 50)
    answer = told(np.full(50, np.inf), first, np.zeros(50, bool))
    assert answer.estimate is None
    assert "attacks find 0.0%" in answer.finding
    assert "is not known" in answer.finding
    assert answer.series["found"] == [None] * 50
