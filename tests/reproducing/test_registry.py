from __future__ import annotations

import math

import pytest

from foolscope.errors import InputError
from foolscope.reproducing.claim import SCALES, Claim
from foolscope.reproducing.registry import CLAIMS, FILES, claims_named

ISSUE_4 = [
    *(f"L{k}" for k in range(1, 12)),
    *(f"P{k}" for k in range(1, 12)),
    *(f"R{k}" for k in range(1, 9)),
    "C14",
    "C15",
    "C16",
    "H1",
]


def test_every_claim_of_the_issue_is_there_in_the_documents_order() -> None:
    assert [name for name in CLAIMS if name in ISSUE_4] == ISSUE_4


def test_no_two_files_have_a_claim_of_the_same_id() -> None:
    assert len(CLAIMS) == sum(len(file.CLAIMS) for file in FILES)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_a_claim_says_beforehand_when_it_counts_and_what_it_costs(claim: Claim) -> None:
    assert claim.rule.checks
    assert claim.rule.n >= 1
    assert claim.rule.seeds >= 1
    assert set(claim.cost) == set(SCALES)
    assert claim.claimed
    assert claim.source
    assert claim.title


def test_claims_are_found_by_id_once_each_in_the_order_asked_for() -> None:
    assert [claim.id for claim in claims_named(["P1", "L3", "P1"])] == ["P1", "L3"]
    assert [claim.id for claim in claims_named([])] == list(CLAIMS)


def test_an_unknown_id_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"ID: .*'L33' \(nearest: L3"):
        claims_named(["L33"])


def _threshold(claim: Claim, side: int) -> dict[str, float]:
    """Values that keep every check of a rule by a hair, or, on the other side, break them all; None where they contradict each other."""
    measured: dict[str, float] = {}
    for check in claim.rule.checks:
        measured.setdefault(check.of, 0.01) if check.of else None
        limit = check.limit * (measured[check.of] if check.of else 1)
        hair = 1e-6 * side * (1 if check.sense == ">=" else -1)
        wanted = limit + hair
        known = measured.get(check.value)
        if side < 0 or known is None:
            measured[check.value] = wanted
        else:
            measured[check.value] = min(known, wanted) if check.sense == "<=" else max(known, wanted)
    return measured


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_a_verdict_follows_from_made_up_values_on_either_side_of_the_rule(claim: Claim) -> None:
    seeds = range(claim.rule.seeds)
    assert claim.rule.verdict(_threshold(claim, 1), claim.rule.n, seeds) == "reproduced"
    assert claim.rule.verdict(_threshold(claim, -1), claim.rule.n, seeds) == "not reproduced"
    broken = dict.fromkeys(_threshold(claim, 1), math.nan)
    assert claim.rule.verdict(broken, claim.rule.n, seeds) == "not reproduced"
