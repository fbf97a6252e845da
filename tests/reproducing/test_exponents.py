from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from foolscope.reproducing.claim import NotRun, Outcome
from foolscope.reproducing.exponents import curve_of, law_of, meets, oracles_of, steeper
from foolscope.reproducing.lab import Lab
from foolscope.reproducing.measuring import Images


@pytest.fixture
def threshold() -> nn.Module:
    """Class 1 where the first pixel exceeds one half."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        model[1].bias.copy_(torch.tensor([0.5, 0.0]))
    return model


def images_at(distances: torch.Tensor) -> Images:
    inputs = torch.full((len(distances), 1, 1, 2), 0.25)
    inputs[:, 0, 0, 0] = 0.5 + distances
    return Images(inputs, (distances > 0).long())


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_the_exponent_of_planted_distances_is_found(threshold: nn.Module, lab: Lab, exponent: float) -> None:
    distances = torch.linspace(1e-4, 1, 3000).pow(1 / exponent) / 2 - 1e-6
    law = law_of(lab, curve_of(threshold, images_at(distances), "fgsm"))
    assert law.interval[0] < exponent < law.interval[1]
    assert law.n == 3000


def test_wrong_images_are_left_out(threshold: nn.Module) -> None:
    images = images_at(torch.tensor([0.25, -0.25, 0.125]))
    images.labels[0] = 0
    (oracle,) = oracles_of(threshold, images)
    assert oracle.inputs[:, 0, 0, 0].tolist() == [0.25, 0.625]


def test_a_curve_without_flips_has_no_exponent_but_in_the_tests_own_scale(threshold: nn.Module, lab: Lab) -> None:
    curve = curve_of(threshold, images_at(torch.full((30,), 0.25)), "fgsm")
    assert math.isnan(law_of(lab, curve).exponent)
    with pytest.raises(NotRun, match="too few of 30"):
        law_of(Lab("small", lab.cache), curve)


def test_an_interval_meets_a_range_that_it_overlaps() -> None:
    checks = meets("fgsm", 0.9, 1.1)

    def holds(low: float, high: float) -> bool:
        return all(check.holds({"fgsm_from": low, "fgsm_to": high}) for check in checks)

    assert holds(0.8, 0.95)
    assert holds(1.05, 1.3)
    assert holds(0.5, 2)
    assert not holds(0.7, 0.89)
    assert not holds(1.11, 1.2)


@pytest.mark.parametrize(("unseen", "said"), [((0.9, 1.2), True), ((0.9, 2.1), False)])
def test_a_steeper_exponent_on_trained_images_is_said_where_the_intervals_lie_apart(
    unseen: tuple[float, float], said: bool
) -> None:
    found = Outcome({"seen": 2.5, "unseen": 1.0}, n=100, interval={"seen": (2.0, 3.0), "unseen": unseen})
    assert bool(steeper(found, "seen", "unseen")) == said
    assert steeper(Outcome({"seen": math.nan, "unseen": 1.0}, n=100), "seen", "unseen") == ()
