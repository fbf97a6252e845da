"""The exponent near zero: exact on planted powers, intervals that cover, a fit that is refused where there is too little."""

from __future__ import annotations

import numpy as np
import pytest

from foolscope.explaining.tail import FEWEST, REJECTED, SHARE, fit_tail


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.2, 4.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_the_quantiles_of_a_power_give_its_exponent(exponent: float, scale: float) -> None:
    planted = scale * ((np.arange(20_000) + 0.5) / 20_000) ** (1 / exponent)
    fit = fit_tail(planted)
    assert fit is not None
    assert fit.exponent == pytest.approx(exponent, rel=5e-3)
    assert fit.points == 2_000
    assert fit.goodness > 0.9
    assert fit.interval[0] < exponent < fit.interval[1]


def test_the_interval_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(5)
    hits = 0
    for seed in range(300):
        fit = fit_tail(draws.uniform(size=600) ** (1 / 1.3), seed=seed)
        hits += fit.interval[0] <= 1.3 <= fit.interval[1]
    assert 0.92 <= hits / 300 <= 0.98  # 95 %, give or take two standard errors of 300 draws


def test_goodness_is_uniform_under_a_power_and_tiny_under_another_law() -> None:
    draws = np.random.default_rng(3)
    values = np.array([fit_tail(draws.uniform(size=400) ** 0.5, seed=seed).goodness for seed in range(150)])
    assert 0.4 < values.mean() < 0.6
    assert 0.02 < (values < 0.1).mean() < 0.18
    assert fit_tail(0.1 + draws.uniform(size=5_000), share=0.1).goodness < 0.01  # nothing below 0.1: no power of t


def test_too_few_values_or_ties_are_not_fitted() -> None:
    draws = np.random.default_rng(1)
    assert fit_tail(draws.uniform(size=round(FEWEST / SHARE) - 10)) is None
    assert fit_tail(draws.uniform(size=round(FEWEST / SHARE))) is not None
    assert fit_tail(np.ones(1_000)) is None
    assert fit_tail(np.zeros(1_000)) is None
    assert fit_tail([]) is None


def test_a_few_ties_at_zero_do_no_harm() -> None:
    values = np.random.default_rng(1).uniform(size=3_000)
    values[:3] = 0
    fit = fit_tail(values)
    assert fit is not None
    assert fit.exponent == pytest.approx(1.0, abs=0.2)


def test_the_range_shrinks_until_a_power_law_holds() -> None:
    """The density is 1 + 4 t: flat near zero, and rising over the smallest tenth, which a power fits badly."""
    u = np.random.default_rng(2).uniform(size=60_000)
    planted = (np.sqrt(1 + 24 * u) - 1) / 4  # the inverse of (t + 2 t^2) / 3
    wide, chosen = fit_tail(planted, share=0.1), fit_tail(planted)
    assert wide.goodness < REJECTED <= chosen.goodness
    assert chosen.share < 0.1
    assert 1 < chosen.exponent < wide.exponent
