"""The search along a ray: to its resolution, whatever the guess, with what is beyond the grid said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foolscope.explaining.ray import RESOLUTION, search
from foolscope.oracle import Oracle


class Pieces(nn.Module):
    """Class 1 on [0.3, 0.5] and beyond 1, else class 0; the coordinate is the first component."""

    def forward(self, x: Tensor) -> Tensor:
        t = x.flatten(1)[:, 0]
        lead = torch.where(t < 0.4, t - 0.3, torch.where(t < 0.75, 0.5 - t, t - 1.0))
        return torch.stack([torch.zeros_like(t), lead], 1)


def along(model: nn.Module, guess: list[float], start: float = 0.0, sign: float = 1.0):
    n = len(guess)
    inputs = torch.full((n, 2), start, dtype=torch.float64)
    oracle = Oracle(model, inputs, torch.zeros(n, dtype=torch.int64), bounds=None)
    direction = torch.tensor([[sign, 0.0]], dtype=torch.float64).expand(n, 2).contiguous()
    slope = torch.tensor([[0.0, sign]], dtype=torch.float64).expand(n, 2)
    ray = search(oracle, oracle.rows_all, direction, torch.tensor(guess, dtype=torch.float64), slope)
    return oracle, ray


def test_the_first_crossing_to_the_stated_resolution_whatever_the_guess() -> None:
    _, ray = along(Pieces(), [0.05, 0.1, 0.3, 0.7, 2.0, 15.0])
    assert ray.eps.tolist() == pytest.approx([0.3] * 6, rel=1.01 * RESOLUTION)
    assert (ray.eps >= 0.3 * (1 - 1e-12)).all()  # the end that is beyond
    assert ray.label.tolist() == [1] * 6


def test_a_class_that_comes_back_is_seen_to() -> None:
    _, ray = along(Pieces(), [0.3, 0.05])
    assert ray.back.tolist() == [True, False]  # the second grid ends at 0.4


def test_no_change_is_infinite() -> None:
    _, ray = along(Pieces(), [0.01, 0.3], sign=-1.0)
    assert torch.isinf(ray.eps).all()
    assert ray.label.tolist() == [-1, -1]
    assert not ray.back.any()


def test_how_far_the_linear_piece_reaches() -> None:
    _, ray = along(Pieces(), [0.3])
    # Linear up to 0.4, then falling at slope -1: off by 10 % of the change at 0.4 / 0.95.
    kink = 0.8 / 1.9
    assert kink / 2 ** (1 / 3) <= float(ray.reach[0]) <= kink
    _, wrong = along(Pieces(), [0.3], start=0.1)  # a slope that fits, but a shorter way to the kink
    assert float(wrong.reach[0]) < kink


def test_it_costs_what_it_says() -> None:
    oracle, _ = along(Pieces(), [0.3, 0.1])
    assert oracle.forwards.tolist() == [35, 35]  # and one for the clean logits
    assert oracle.backwards.tolist() == [0, 0]
