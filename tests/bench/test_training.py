from __future__ import annotations

from foolscope.bench import training
from foolscope.bench.speed import Ratio


def test_each_objective_is_measured_beside_a_plain_step() -> None:
    seen: list[tuple[str, int, int]] = []
    rows = training.training_table(("softmax_regression",), pairs=2, told=lambda *at: seen.append(at))
    assert [row.objective for row in rows] == list(training.OBJECTIVES)
    assert all(r.median > 0 and r.spread[0] <= r.median <= r.spread[1] for row in rows for r in (row.ours, row.floor))
    assert seen[-1] == ("training", 4, 4)


def test_a_floor_stands_beside_its_bound() -> None:
    row = training.Row("net", "madry", 128, Ratio(7.0, (6.5, 8.0), 0.2), Ratio(6.9, (6.4, 7.5), 0.19), 6.8)
    assert "| net | madry | 7.00 (6.50-8.00) | 6.90 (6.40-7.50) | 6.80 | **no** | 0.100 |" in training.markdown([row])
