"""The metric against areas worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foolscope.bench.optimality import local_optimality, median, reference, success

INF = math.inf
BEST = np.array([0.0, 0.1, 0.2, 0.4])  # the first image is misclassified as it is


def test_pf8_a_null_attack_scores_nothing() -> None:
    # Straight lines between the points of the curve gave it about 0.6 (AttackBench as published).
    null = np.array([0.0, INF, INF, INF])
    assert local_optimality(null, BEST) == 0.0
    spread = np.linspace(0.01, 1, 100)
    assert local_optimality(np.full(100, INF), spread) == 0.0


def test_the_reference_itself_scores_one() -> None:
    assert local_optimality(BEST, BEST) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        # Up to eps0 = 0.4, rho(0) = 3/4: the whole is 0.3; the reference leaves (0.1 + 0.2 + 0.4) / 4 = 0.175.
        ([0.0, 0.2, 0.2, 0.4], (0.3 - 0.2) / (0.3 - 0.175)),
        ([0.0, 0.1, 0.2, INF], 1.0),  # beyond eps0 or just there: the same area
        ([0.0, INF, 0.2, 0.4], (0.3 - 0.25) / (0.3 - 0.175)),
        ([0.0, 0.4, 0.4, 0.4], 0.0),
    ],
)
def test_a_hand_made_example(distance: list[float], expected: float) -> None:
    assert local_optimality(np.array(distance), BEST) == pytest.approx(expected)


def test_it_is_the_ratio_of_areas_of_the_steps() -> None:
    draws = np.random.default_rng(0)
    best = draws.uniform(0, 1, 50)
    distance = best * draws.uniform(1, 3, 50)
    grid = (np.arange(200_000) + 0.5) / 200_000 * best.max()
    areas = [np.mean([(d > eps).mean() for eps in grid[::100]]) * best.max() for d in (distance, best)]
    whole = best.max()
    assert local_optimality(distance, best) == pytest.approx((whole - areas[0]) / (whole - areas[1]), abs=2e-3)


def test_an_image_that_nobody_fools_changes_nothing() -> None:
    distance = np.array([0.0, 0.2, 0.3, 0.4])
    wider, harder = np.append(distance, INF), np.append(BEST, INF)
    assert local_optimality(wider, harder) == pytest.approx(local_optimality(distance, BEST))


def test_nothing_to_take_is_not_a_number() -> None:
    assert math.isnan(local_optimality(np.array([0.0, INF]), np.array([0.0, INF])))


def test_reference_is_the_best_image_by_image() -> None:
    assert reference([np.array([1.0, INF]), np.array([2.0, 3.0])]).tolist() == [1.0, 3.0]


def test_median_and_success_leave_misclassified_images_out() -> None:
    assert median(np.array([0.0, 0.0, 1.0, 2.0, 4.0])) == 2.0
    assert median(np.array([1.0, 3.0])) == 2.0
    assert median(np.array([1.0, INF, INF])) == INF
    assert success(np.array([0.0, 1.0, INF])) == 0.5
    assert math.isnan(median(np.zeros(2)))
    assert math.isnan(success(np.zeros(2)))
