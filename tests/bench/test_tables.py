"""The tables say what was measured, and what was not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foolscope.bench import parity, quality
from foolscope.bench.contestants import OURS, PEERS, taking_part

NAN = float("nan")
ROW = quality.Row("net", False, "l2", 200, OURS, "fmn", 100, 0.9, 1.1, 1.0, 0.25, 199.0, 2.0)


def test_attacks_stand_in_order_of_global_optimality() -> None:
    worse = replace(ROW, library="adv-lib", attack="DDN", optimality=0.5)
    rows = [worse, replace(worse, network="other", optimality=0.6), ROW, replace(ROW, network="other", optimality=0.7)]
    text = quality.markdown(rows)
    assert text.index("**foolscope fmn** | 0.800") < text.index("adv-lib DDN | 0.550")
    assert "| 4.0 | 0.900 (0.25) | 0.700 (0.25) |" in text


def test_a_failure_counts_nothing_and_is_told() -> None:
    failed = quality.Row("other", False, "l2", 200, OURS, "fmn", 100, error="TypeError: no")
    text = quality.markdown([ROW, failed])
    assert "**foolscope fmn** | 0.450" in text
    assert "failed: TypeError: no" in text


def test_an_attack_that_was_not_run_on_a_network_is_not_held_against_it() -> None:
    other = replace(ROW, network="other", attack="second")
    text = quality.markdown([ROW, other])
    assert "**foolscope fmn** | 0.900" in text
    assert "| 0.900 (0.25) | – |" in text


def test_masked_networks_have_tables_of_their_own() -> None:
    text = quality.markdown([ROW, replace(ROW, network="hidden", masked=True)])
    plain, masked = text.split("masked networks**")
    assert "hidden" not in plain
    assert "net:" not in masked


def test_the_verdict_names_each_librarys_best() -> None:
    rows = [
        ROW,
        replace(ROW, attack="worse", optimality=0.1),
        replace(ROW, library="foolbox", attack="DDN", optimality=0.8),
    ]
    assert quality.verdict(rows) == [{"norm": "l2", "budget": 200, OURS: "0.900 fmn", "foolbox": "0.800 DDN"}]


def test_parity_says_where_a_number_comes_from() -> None:
    row = parity.Row("net", False, "0.1", 200, 198, 1, "quick", 20, 21, 1, 0, 80.0, 4.0, 0.05, 0.04, "sound", "")
    text = parity.markdown([row, replace(row, cached="2026-11-21 15:00", masked=True)])
    fresh, old = text.split("**Masked networks**")
    assert "| 20 | 80.0 | quick | 21 | 1 | 0 | 4.0 | 0.050 | 0.040 | sound | now |" in fresh
    assert "| 80.0* |" in old
    assert "2026-11-21 15:00 |" in old


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_many_classes_leave_out_whom_they_would_ruin(norm: str) -> None:
    few, many = (taking_part(PEERS, norm, 200, classes) for classes in (10, 1000))
    assert len({(row.library, row.name) for row in few}) == len(few) > 1
    assert all(not row.jacobian for row in many)
    assert [row for row in few if not row.jacobian] == many
