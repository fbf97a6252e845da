"""What the table as a whole promises where the exact answer is known; that each row keeps its promises is the conformance suite's."""

from __future__ import annotations

import pytest

from foolscope.attacks import ATTACKS, sigma_zero
from foolscope.norms import NORMS
from foolscope.testing.radial import SIDES, radial_problem

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
    if (norm, problems) == ("l0", "sphere") and list(medians(norm, problems)) == ["fmn", "sigma_zero"]:
        pytest.xfail("of 100 steps; see the next test")
    assert min(medians(norm, problems).values()) <= WITHIN


@pytest.mark.parametrize("side", SIDES)
def test_outside_a_sphere_in_l0_it_takes_a_thousand_steps(side):
    problem = radial_problem(32, norm="l0", side=side)
    found = sigma_zero(problem.model, problem.inputs, problem.labels, steps=1000)
    assert (problem.model(found).argmax(1) != problem.labels).all()
    assert ((found != problem.inputs).flatten(1).sum(1) / problem.distance).median() <= WITHIN
