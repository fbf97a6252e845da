"""What the table as a whole promises where the exact answer is known; that each row keeps its promises is the conformance suite's."""

from __future__ import annotations

import pytest

from foolscope.attacks import ATTACKS
from foolscope.norms import NORMS

WITHIN = 1.01  # of the exact distance, in the median


def medians(norm, problems):
    """By row that looks for the nearest image in this norm: its promised median."""
    promised = {
        name: getattr(row, problems)[norm]
        for name, row in ATTACKS.items()
        if row.kind == "minimal norm" and norm in row.norms
    }
    return {name: value[0] if isinstance(value, tuple) else value for name, value in promised.items()}


@pytest.mark.parametrize("problems", ["tolerance", "sphere", "relu"])
@pytest.mark.parametrize("norm", NORMS)
def test_the_best_attack_of_each_norm_is_within_one_percent_in_the_median(norm, problems):
    assert min(medians(norm, problems).values()) <= WITHIN
