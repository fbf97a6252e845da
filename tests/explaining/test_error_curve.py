"""The curve of linear models, whose flips are known exactly, and of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from foolscope.errors import InputError
from foolscope.explaining.error_curve import conclude, grid_ends, over, pgd_curve, ray_curve
from foolscope.explaining.exponent import log_grid
from foolscope.explaining.one_step import direction_of, flipped_along
from foolscope.oracle import Oracle
from foolscope.testing.affine import affine_problem
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")


def affine(norm: str, n: int = 400) -> tuple[Oracle, np.ndarray]:
    """A two-class affine problem without a box, and its exact distances."""
    problem = affine_problem(n, box="none", norm=norm, dtype=torch.float64)
    return Oracle(problem.model, problem.inputs, problem.labels, bounds=None), problem.distance.numpy()


@pytest.mark.parametrize(("kind", "norm"), [("fgsm", "linf"), ("l2", "l2")])
def test_affine_models_flip_at_their_distance(kind, norm):
    """With two classes a one-step attack is optimal, so the error at eps is the share of distances below it, at every eps."""
    oracle, distance = affine(norm)
    curve = ray_curve(over([oracle]), kind, 100.0)
    np.testing.assert_array_equal(curve.share, (distance[:, None] < curve.eps).mean(0))
    assert curve.first.sum() == (distance < curve.eps[-1]).sum()
    assert curve.returning == 0
    assert curve.cost == pytest.approx(2 * 2 + 8 + 24 + 1)  # two gradients, two grids, and the clean pass


def test_pgd_on_affine_models_flips_at_the_distance_too():
    oracle, distance = affine("linf", 100)
    eps = log_grid(np.quantile(distance, 0.1), np.quantile(distance, 0.9), 6)
    curve = pgd_curve(over([oracle]), eps, steps=20)
    np.testing.assert_allclose(curve.share, (distance[:, None] < eps).mean(0), atol=0.03)


@pytest.mark.parametrize("kind", ["fgsm", "l2", "step_ll"])
def test_the_direction_is_that_of_cross_entropy(kind):
    model, x = Curved().double(), random_images(20, dtype=torch.float64)
    y = model(x).argmax(1)
    oracle = Oracle(model, x, y, bounds=None)
    leaf = x.clone().requires_grad_()
    aim = model(x).argmin(1) if kind == "step_ll" else y
    loss = nn.functional.cross_entropy(model(leaf), aim, reduction="sum")
    g = torch.autograd.grad(-loss if kind == "step_ll" else loss, leaf)[0]
    expected = g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1) if kind == "l2" else g.sign()
    sure = model(x).softmax(1).amax(1) > 1 - 1e-6  # there cross-entropy's own gradient is mostly rounding
    torch.testing.assert_close(direction_of(oracle, kind)[~sure], expected[~sure])
    assert sure.sum() < 15


def test_the_direction_lives_where_cross_entropy_is_dead():
    model = nn.Linear(2, 2, bias=False)
    model.weight.data.copy_(1000 * torch.eye(2))
    oracle = Oracle(model, torch.tensor([[0.9, 0.1]]), torch.tensor([0]))
    assert direction_of(oracle, "fgsm").tolist() == [[-1.0, 1.0]]


def test_points_stay_in_the_box():
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append(x.detach())
            return torch.stack([x.sum(1), 0 * x.sum(1)], 1)

    oracle = Oracle(Watched(), torch.rand(5, 3), torch.zeros(5, dtype=torch.int64))
    flipped_along(oracle, torch.ones(5, 3), torch.tensor([0.1, 0.5, 2.0]))
    assert all(x.min() >= 0 and x.max() <= 1 for x in seen)
    assert sum(len(x) for x in seen) == 15 + 5  # and the clean pass


def test_flips_do_not_depend_on_the_batches(digits_network, digits_data):
    x, y = digits_data[0][:90], digits_data[1][:90]
    whole = ray_curve(over([Oracle(digits_network, x, y)]), "fgsm", 1.0)
    parts = [Oracle(digits_network, x[a : a + 25], y[a : a + 25]) for a in range(0, 90, 25)]
    split = ray_curve(over(parts), "fgsm", 1.0)
    np.testing.assert_allclose(whole.eps, split.eps)
    assert np.abs(whole.share - split.share).max() <= 1.5 / whole.n


def test_images_wrong_when_clean_are_left_out(digits_network, digits_data):
    x, y = digits_data[0][:50], digits_data[1][:50].clone()
    y[:10] = (y[:10] + 1) % 10
    assert ray_curve(over([Oracle(digits_network, x, y)]), "fgsm", 1.0).n <= 40


def test_returning_images_are_counted():
    flipped = np.zeros((100, 12), bool)
    flipped[np.arange(60), np.arange(60) % 12] = True  # 60 images flip at one eps only
    curve = conclude("fgsm", log_grid(0.01, 1.0, 12), flipped)
    assert curve.law is None  # 15 flips lie in the range
    assert curve.returning == pytest.approx(55 / 60)
    assert curve.first.tolist() == [5] * 12


def test_the_grid_starts_with_a_handful():
    levels = np.array([1e-3, 8e-3, 64e-3, 0.512])
    assert grid_ends(levels, np.array([0, 0, 0, 2]), 100) == (0.064, 0.512)  # hardly any ever
    assert grid_ends(levels, np.array([60, 90, 95, 99]), 100) == (0.001, 0.008)  # most at once
    low, high = grid_ends(levels, np.array([0, 10, 20, 80]), 100)
    assert (low, high) == (0.004, 0.512)  # 10 flip at 0.008: 5 may at half of it


def test_unknown_attack():
    oracle, _ = affine("linf", 10)
    with pytest.raises(InputError, match="fgsm"):
        ray_curve(over([oracle]), "pgd", 1.0)
