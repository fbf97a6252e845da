from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import noise, pgd
from foolscope.attacks.noise import NORMS
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

EPS = {"linf": 0.1, "l2": 0.7, "l1": 4.0, "l0": 6.0}


def tried(norm: str, steps: int, seed: int = 0) -> list[Tensor]:
    """The perturbations tried, from grey, where no box is in reach and no point fools."""

    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach() - 0.5)
            return torch.stack([torch.ones(len(x)), x.flatten(1).sum(1) * 0], 1)

    seen: list[Tensor] = []
    x, y = torch.full((200, 3, 4, 4), 0.5), torch.zeros(200, dtype=torch.int64)
    noise(Oracle(Never(), x, y, bounds=(-10, 10)), x, y, norm=norm, eps=EPS[norm], steps=steps, seed=seed)
    return seen[1:]


def size(norm: str, d: Tensor) -> Tensor:
    flat = d.flatten(1)
    return {"linf": flat.abs().amax(1), "l2": flat.norm(dim=1), "l1": flat.abs().sum(1), "l0": (flat != 0).sum(1)}[norm]


@pytest.mark.parametrize("norm", NORMS)
def test_by_turns_inside_the_ball_and_on_its_surface(norm):
    points = tried(norm, 6)
    assert len(points) == 6
    for number, d in enumerate(points):
        assert bool((size(norm, d) <= EPS[norm] * (1 + 1e-5)).all())
        if number % 2:
            assert size(norm, d).tolist() == pytest.approx([EPS[norm]] * 200, rel=1e-5)
    assert len({tuple(d.flatten().tolist()) for d in points}) == 6  # no two alike
    assert not torch.equal(tried(norm, 1, seed=1)[0], points[0])
    assert abs(float(points[0].sign().mean())) < 0.05


def test_the_best_is_kept_and_a_gradient_beats_it():
    model, x = Curved().requires_grad_(False), random_images(60)
    y = model(x).argmax(1)
    few, many = (model(noise(model, x, y, eps=0.05, steps=k)).argmax(1) != y for k in (2, 40))
    assert not bool((few & ~many).any())
    attacked = model(pgd(model, x, y, eps=0.05, steps=20)).argmax(1) != y
    assert int(attacked.sum()) > int(many.sum()) + 5
