"""Medians whose intervals cover, rank correlations with infinities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from foolscope.explaining.statistics import median_interval, rank_correlation


@pytest.mark.parametrize("n", [6, 25, 200])
def test_the_interval_of_the_median_covers(n: int) -> None:
    draws = np.random.default_rng(n).exponential(size=(2_000, n))
    inside = 0
    for row in draws:
        _, (low, high) = median_interval(row)
        inside += low <= np.log(2) <= high
    assert 0.94 <= inside / 2_000 <= 0.985  # at least 95 %, and more where n is small, give or take two standard errors


def test_few_values_and_infinite_medians_have_no_interval() -> None:
    assert median_interval([1.0] * 5) is None
    assert median_interval([1.0] * 5 + [np.inf] * 5) is None
    assert median_interval([1.0] * 90 + [np.inf] * 10) == (1.0, (1.0, 1.0))


def test_rank_correlation_is_spearmans() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 50))
    other += one
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert rank_correlation(one, np.ones(50)) is None
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 2, np.inf, np.inf], [1, 2, 5, 5]) == 1.0
