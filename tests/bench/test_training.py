from __future__ import annotations

from foolscope.bench import training
from foolscope.bench.speed import markdown


def test_each_objective_is_measured_beside_a_plain_step() -> None:
    rows = training.training_table(("softmax_regression",), pairs=2)
    assert [row.what for row in rows] == [text for text, _ in training.OBJECTIVES]
    assert all(row.ratio > 0 and row.spread[0] <= row.ratio <= row.spread[1] for row in rows)
    assert "| softmax_regression | madry:eps=0.1,steps=7 | 128 |" in markdown(rows)
