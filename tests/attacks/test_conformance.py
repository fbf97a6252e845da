"""Every attack of the table against every check of the suite that concerns it."""

from __future__ import annotations

import pytest

from foolscope.attacks import ATTACKS
from foolscope.testing.conformance import CHECKS, checks_for

CASES = [
    pytest.param(row, norm, check, id=f"{row.name}-{norm}-{check.replace(' ', '_')}")
    for row in ATTACKS.values()
    for norm in row.norms
    for check in checks_for(row, norm)
]


@pytest.mark.parametrize(("row", "norm", "check"), CASES)
def test_conformance(row, norm, check):
    CHECKS[check](row, norm)


def test_every_attack_states_what_it_promises():
    for row in ATTACKS.values():
        if row.kind != "control":
            for promise in (row.tolerance, row.sphere, row.relu):
                assert set(promise) == set(row.norms), row.name
