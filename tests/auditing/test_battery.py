from __future__ import annotations

import pytest

from foolscope.attacks import ATTACKS, bind
from foolscope.auditing.battery import BATTERY, battery
from foolscope.errors import InputError
from foolscope.norms import NORMS


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("effort", BATTERY)
def test_every_norm_has_distances_and_a_control(effort, norm):
    steps = battery(effort, norm)
    kinds = [ATTACKS[step.attack.partition(":")[0]].kind for step in steps]
    assert "minimal norm" in kinds
    assert "control" in kinds
    if norm != "l0":
        assert "fixed eps" in kinds
    for step in steps:
        bound = bind(step.attack, eps=2.0, norm=norm, seed=0)  # every option exists, every norm is accepted
        assert bound.options["norm"] == norm
    assert len({step.name for step in steps}) == len(steps)  # names of pieces on disk


@pytest.mark.parametrize("effort", BATTERY)
def test_gradients_come_before_outputs_and_distances_are_everyones(effort):
    steps = battery(effort, "linf")
    order = [("gradients", "outputs", "both").index(step.sees) for step in steps if not step.if_masked]
    assert order == sorted(order)
    assert [step.name for step in steps if step.everyone] == ["fmn"]
    for step in steps:
        assert ATTACKS[step.attack.partition(":")[0]].gradient == (step.sees != "outputs")


def test_more_effort_is_never_less():
    def budget(effort: str) -> dict[str, int]:
        return {step.name: bind(step.attack, eps=0.1, norm="linf").budget for step in battery(effort, "linf")}

    quick, standard, exhaustive = (budget(effort) for effort in ("quick", "standard", "exhaustive"))
    for less, more in ((quick, standard), (standard, exhaustive)):
        assert set(less) <= set(more)
        assert all(less[name] <= more[name] for name in less)
        assert sum(less.values()) < sum(more.values())


def test_an_unknown_effort_is_one_line():
    with pytest.raises(InputError, match="^--effort: expected an effort, got 'fast' .*standard"):
        battery("fast", "linf")
