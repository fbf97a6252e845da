from __future__ import annotations

import math

import numpy as np
import pytest

from foolscope.auditing.result import curve_of
from foolscope.intervals import wilson


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (3, 10), (137, 500), (999_999, 1_000_000)])
def test_wilson_is_its_closed_form(k, n):
    z, p = 1.959963984540054, k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = wilson(k, n)
    assert low == pytest.approx(max(0.0, centre - half), abs=1e-12)
    assert high == pytest.approx(min(1.0, centre + half), abs=1e-12)
    assert 0 <= low <= p <= high <= 1


def by_counting(correct: np.ndarray, distance: np.ndarray, radius: float) -> float:
    return sum(bool(c) and not d <= radius for c, d in zip(correct, distance, strict=True)) / len(correct)


@pytest.mark.parametrize("eps", [0.3, 8 / 255, None])
@pytest.mark.parametrize("seed", range(4))
def test_the_curve_is_a_count_at_every_radius(seed, eps):
    draw = np.random.default_rng(seed)
    correct = draw.random(57) < 0.8
    distance = draw.gamma(2.0, 0.1, 57).round(2)  # ties
    distance[draw.random(57) < 0.2] = np.inf
    curve = curve_of(correct, distance, eps)
    radii, accuracy = curve["eps"], curve["robust_accuracy"]
    assert accuracy == pytest.approx([by_counting(correct, distance, r) for r in radii], abs=1e-12)
    assert radii[0] == 0
    assert radii == sorted(set(radii))
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[0] == pytest.approx(correct.mean())
    if eps is not None:
        assert eps in radii
        assert radii[-1] >= 2 * eps or radii[-1] >= distance[correct & np.isfinite(distance)].max()


def test_a_distance_that_is_the_radius_is_fooled_there():
    curve = curve_of(np.array([True, True]), np.array([0.25, 0.5]), 0.25)
    assert curve["robust_accuracy"][curve["eps"].index(0.25)] == 0.5


@pytest.mark.parametrize("eps", [None, 0.1])
def test_nothing_known_or_nothing_right(eps):
    nothing = np.full(3, np.inf)
    assert set(curve_of(np.ones(3, bool), nothing, eps)["robust_accuracy"]) == {1.0}
    assert set(curve_of(np.zeros(3, bool), nothing, eps)["robust_accuracy"]) == {0.0}


def test_one_stubborn_image_does_not_flatten_the_curve():
    distance = np.append(np.linspace(0.01, 0.1, 299), 50.0)
    curve = curve_of(np.ones(300, bool), distance, 0.03)
    assert curve["eps"][-1] < 1
    assert curve["robust_accuracy"][-1] == pytest.approx(1 / 300)
