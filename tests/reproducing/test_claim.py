from __future__ import annotations

import math

import pytest

from foolscope.reproducing.claim import Check, Rule, at_least, at_most, between


@pytest.mark.parametrize(
    ("check", "measured", "holds"),
    [
        (at_least("a", 0.5), {"a": 0.5}, True),
        (at_least("a", 0.5), {"a": 0.4999}, False),
        (at_most("a", 0.5), {"a": 0.5}, True),
        (at_most("a", 0.5), {"a": 0.5001}, False),
        (at_least("a", 2, of="b"), {"a": 0.4, "b": 0.2}, True),
        (at_least("a", 2, of="b"), {"a": 0.4, "b": 0.21}, False),
        (at_most("a", 1, of="b"), {"a": 0.2, "b": 0.2}, True),
        (at_most("a", 1, of="b"), {"a": 0.21, "b": 0.2}, False),
        (at_least("a", 0.5), {"a": math.nan}, False),
        (at_most("a", 0.5), {"a": math.nan}, False),
    ],
)
def test_a_check_holds_on_one_side_of_its_threshold_only(check: Check, measured: dict, holds: bool) -> None:
    assert check.holds(measured) is holds


def test_between_needs_both_ends() -> None:
    rule = Rule(between("a", 0.2, 0.4), n=1)
    assert [rule.verdict({"a": a}, 1, [0]) for a in (0.19, 0.2, 0.4, 0.41)] == [
        "not reproduced",
        "reproduced",
        "reproduced",
        "not reproduced",
    ]


@pytest.mark.parametrize(
    ("n", "seeds", "verdict"), [(9, [0, 1], "not run"), (10, [0], "not run"), (10, [0, 1], "reproduced")]
)
def test_too_few_images_or_seeds_are_no_test_of_a_claim(n: int, seeds: list[int], verdict: str) -> None:
    assert Rule((at_least("a", 0.5),), n=10, seeds=2).verdict({"a": 1.0}, n, seeds) == verdict


def test_the_text_of_a_rule_is_made_of_what_it_checks() -> None:
    rule = Rule((at_least("a", 2, of="b"), at_most("c", 0.25), at_most("d", 1, of="e")), n=10_000, seeds=3)
    assert str(rule) == "a >= 2 x b; c <= 0.25; d <= e; n >= 10,000; seeds >= 3"
