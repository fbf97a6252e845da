"""Gaps of independent logits have known distributions; the finding says what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest

from foolscope.explaining.logit_gaps import conclude, sorted_gaps
from foolscope.explaining.reference_gaps import expected_exponent, uniform_gaps
from foolscope.explaining.tail import fit_tail


def test_gaps_are_sorted_and_rows_that_are_not_numbers_are_left_out() -> None:
    gaps = sorted_gaps([[3.0, 1.0, 2.5], [np.nan, 0.0, 1.0], [0.0, 0.0, 0.0], [np.inf, 0.0, 1.0]])
    np.testing.assert_array_equal(gaps, [[0.5, 2.0], [0.0, 0.0]])


@pytest.mark.parametrize("rank", [2, 3, 5, 10])
def test_the_exponent_of_independent_logits_goes_to_rank_minus_two(rank: int) -> None:
    assert expected_exponent(rank, 10, 1e-12 ** (rank - 1)) == pytest.approx(rank - 2, abs=0.01)
    assert expected_exponent(rank, 10, 0.02) < rank - 2 + 0.01  # the bias of a wide fit is downwards


def test_sampled_gaps_have_the_distribution_in_closed_form() -> None:
    from scipy.stats import beta

    samples, share = 300_000, 2e-3
    gaps = uniform_gaps(samples, 10, share=share)
    assert gaps.shape == (600, 9)
    assert (np.diff(gaps, axis=0) >= 0).all()
    for rank in range(2, 11):
        inner = beta(rank - 1, 12 - rank)
        # The k-th smallest of n has P(X <= it) ~ Beta(k, n - k + 1): about k / n, give or take sqrt(k) / n.
        at = inner.cdf(gaps[[99, 599], rank - 2]) * samples
        assert np.all(np.abs(at - [100, 600]) < 4 * np.sqrt([100, 600]))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = uniform_gaps(10_000, 5, share=0.01)
    monkeypatch.setattr("foolscope.explaining.reference_gaps.CHUNK", 777)
    np.testing.assert_array_equal(uniform_gaps(10_000, 5, share=0.01), whole)


def test_independent_logits_are_fitted_as_the_closed_form_says() -> None:
    logits = np.random.default_rng(0).uniform(size=(20_000, 10))
    found = conclude(sorted_gaps(logits), 10)
    for row in found.series["ranks"]:
        low, high = row["interval"]
        slack = (high - low) / 2  # five intervals are looked at together
        assert low - slack <= row["reference"] <= high + slack
    assert "cannot be told from flat" in found.finding
    assert found.interval[0] <= 0 <= found.interval[1]


def test_a_planted_gap_that_is_not_flat_is_called_so() -> None:
    gaps = np.random.default_rng(0).uniform(size=(5_000, 1)) ** (1 / 3)
    found = conclude(gaps, 2)
    assert found.estimate == pytest.approx(2, abs=0.5)
    assert "is not flat" in found.finding


def test_too_few_images_are_said_and_not_fitted() -> None:
    found = conclude(np.random.default_rng(0).uniform(size=(50, 9)), 10)
    assert found.estimate is None
    assert found.interval is None
    assert "Too few images" in found.finding


def test_fits_to_the_lowest_ten_thousandth() -> None:
    """At 500 of 5,000,000 the curvature is gone; here 200 of 200,000 of the rank whose curve is straightest."""
    gaps = uniform_gaps(200_000, 10, share=1e-3)[:, 0]
    fit = fit_tail(gaps, share=1.0)
    assert fit.exponent - 1 == pytest.approx(0.0, abs=3 / np.sqrt(200))
