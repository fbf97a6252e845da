from __future__ import annotations

from foolscope.bench import stacks
from foolscope.search import Architecture


def test_a_stack_is_measured_beside_one_network_at_a_time() -> None:
    (row,) = stacks.stack_table(((Architecture((), (30,)), 10, 3),), pairs=2)
    assert (row.architecture, row.batch, row.together) == ("30", 10, 3)
    assert 0 < row.spread[0] <= row.gain <= row.spread[1]
    assert row.by_vmap > 0
    assert row.alone_an_hour > 0
    assert "| 30 | 10 | 3 |" in stacks.markdown([row])
