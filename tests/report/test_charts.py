from __future__ import annotations

import json

import pytest

from foolscope.report.charts import POINTS, accuracy_at, curve_chart, curve_points


def test_the_curve_starts_clean_passes_the_audited_eps_and_falls(audit):
    record, *_ = audit()
    rows = curve_points(record)
    assert (rows[0]["eps"], rows[0]["accuracy"]) == (0.0, record["clean_accuracy"])
    assert {row["eps"]: row["accuracy"] for row in rows}[record["eps"]] == record["robust_accuracy"]
    for before, after in zip(rows, rows[1:], strict=False):
        assert before["eps"] < after["eps"]
        assert before["accuracy"] >= after["accuracy"] - 1e-12
    assert all(row["lower"] <= row["accuracy"] <= row["upper"] for row in rows)


def test_texts_of_the_tooltip(audit):
    record, *_ = audit()
    row = next(row for row in curve_points(record) if row["eps"] == record["eps"])
    low, high = record["robust_accuracy_interval"]
    assert row["eps_text"] == "0.0314 (8.00/255)"
    assert row["accuracy_text"] == f"{record['robust_accuracy']:.1%}"
    assert row["interval_text"] == f"{low:.1%} to {high:.1%}"


def test_long_curves_are_thinned_but_keep_the_audited_eps(audit):
    record, *_ = audit(n=5000)
    rows = curve_points(record)
    assert POINTS <= len(rows) <= POINTS + 1
    assert record["eps"] in [row["eps"] for row in rows]


def test_a_long_tail_is_cut(audit):
    record, *_ = audit()
    record["curve"] = {"eps": [0, 0.01, 0.02, 0.04, 5.0], "robust_accuracy": [0.96, 0.8, 0.5, 0.01, 0.005]}
    assert max(row["eps"] for row in curve_points(record)) == 0.04


@pytest.mark.parametrize(("eps", "accuracy"), [(0.005, 0.9), (0.01, 0.8), (0.019, 0.8), (9.0, 0.5)])
def test_between_points_the_last_value_bounds_from_above(eps, accuracy):
    assert accuracy_at({"eps": [0.0, 0.01, 0.02], "robust_accuracy": [0.9, 0.8, 0.5]}, eps) == accuracy


def test_below_the_first_point_nothing_is_known():
    assert accuracy_at({"eps": [0.01], "robust_accuracy": [0.8]}, 0.005) is None


def test_the_specification_is_plain_json_that_loads_nothing(audit):
    spec = curve_chart(audit()[0])
    text = json.dumps(spec, allow_nan=False)
    assert '"url"' not in text
    assert {layer["name"] for layer in spec["layer"]} >= {"band", "curve", "clean", "audited", "reading"}


@pytest.mark.parametrize(
    "made", [{"n": 1, "found": 0.0}, {"clean": 0.0}, {"found": 0.0}, {"norm": "l0", "eps": 12, "eps_text": "12"}]
)
def test_poor_curves_still_make_a_chart(audit, made):
    assert curve_chart(audit(**made)[0])["layer"]
