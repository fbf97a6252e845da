"""A stack is its networks: the same logits, the same gradients, the same training, whoever stands beside them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from foolscope.explaining.error_curve import over, ray_curve
from foolscope.explaining.one_step import direction_of, flipped_along
from foolscope.oracle import Oracle
from foolscope.search import Architecture, Stack
from foolscope.search.architectures import KINDS, WIDTHS, draw_architectures, draw_dropout
from foolscope.search.exponents import EPS
from foolscope.search.stacked import Schedule, attack_stack, train_stack

SHAPE = (1, 8, 8)
PLAIN, CONV, DEEP = Architecture((), (30,)), Architecture((4, 8), (30,)), Architecture((), (48, 30, 48))
ALL = pytest.mark.parametrize("architecture", [PLAIN, DEEP, CONV, Architecture((8,), (30,))], ids=str)
Data = tuple[Tensor, Tensor]


def stacked(architecture: Architecture, *networks: int) -> Stack:
    return Stack(architecture, SHAPE, 10, torch.tensor(networks)).double()


def trained(architecture: Architecture, data: Data, *networks: int, rate: float = 0.3) -> Stack:
    stack = stacked(architecture, *networks)
    inputs, labels = data[0][:200].double(), data[1][:200]
    dropout = torch.full((len(stack),), rate if architecture.channels else 0.0)
    train_stack(stack, inputs, labels, dropout, Schedule(8, 20, 1e-2))
    return stack


@ALL
def test_a_stack_has_the_logits_of_its_members(architecture: Architecture, digits_data: Data) -> None:
    stack = stacked(architecture, 3, 1, 4)
    x = digits_data[0][:7].double()
    alone = torch.stack([stack.member(place)(x) for place in range(3)])
    torch.testing.assert_close(stack.together(x), alone)
    torch.testing.assert_close(stack(x.repeat_interleave(3, 0)), alone.transpose(0, 1).flatten(0, 1))
    with torch.no_grad():
        torch.testing.assert_close(stack.together(x), alone)


@ALL
def test_a_network_trained_in_a_stack_is_the_network_trained_alone(
    architecture: Architecture, digits_data: Data
) -> None:
    together, alone = trained(architecture, digits_data, 5, 2, 9), trained(architecture, digits_data, 2)
    for many, one in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(many[1], one[0], rtol=1e-7, atol=1e-9)
        assert not torch.allclose(many[0], many[1], atol=1e-3)


def test_training_is_what_a_plain_loop_over_a_plain_network_does(digits_data: Data) -> None:
    inputs, labels = digits_data[0][:60].double(), digits_data[1][:60]
    stack = stacked(DEEP, 0, 1)
    plain = copy.deepcopy(stack.member(1)).train()
    optimiser = torch.optim.Adam(plain.parameters(), 1e-2)
    for update in range(2):  # whole batches: the order of the images does not matter
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - update / 2)
        loss = torch.nn.functional.cross_entropy(plain(inputs), labels)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    train_stack(stack, inputs, labels, torch.zeros(2), Schedule(2, 60, 1e-2))
    torch.testing.assert_close(stack.member(1)(inputs), plain.eval()(inputs), rtol=1e-6, atol=1e-8)


def test_networks_differ_in_their_dropout_and_a_rate_of_zero_drops_nothing(digits_data: Data) -> None:
    stack, x = stacked(CONV, 0, 1), digits_data[0][:50].double()
    clean, rates = stack.together(x), torch.tensor([0.0, 0.5])
    first, again, other = (stack.together(x, rates, update) for update in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first[0], clean[0])
    assert not torch.allclose(first[1], clean[1])
    assert not torch.allclose(first[1], other[1])
    many = stack.together(x[:1].expand(4000, -1, -1, -1), rates).mean(1)
    torch.testing.assert_close(many[1], clean[1, 0], rtol=0, atol=0.02)  # units kept are scaled so that the mean stays


@ALL
def test_a_stack_is_attacked_like_each_of_its_members(architecture: Architecture, digits_data: Data) -> None:
    stack = trained(architecture, digits_data, 0, 1, 2)
    inputs, labels = digits_data[0][200:300].double(), digits_data[1][200:300]
    right, flipped = attack_stack(stack, inputs, labels, EPS * 4)
    assert all(parameter.requires_grad for parameter in stack.parameters())
    for place in range(3):
        oracle = Oracle(stack.member(place), inputs, labels)
        alone = flipped_along(oracle, direction_of(oracle, "fgsm"), torch.from_numpy(EPS * 4))
        assert torch.equal(right[place], oracle.clean.argmax(1) == labels)
        assert float((flipped[place] == alone).double().mean()) > 0.999
    assert bool(flipped.any())
    assert int(right.sum()) > 150


def test_the_attack_asks_for_one_gradient_whatever_the_number_of_eps(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Oracle] = []
    monkeypatch.setattr(
        "foolscope.search.stacked.Oracle", lambda *args, **kwargs: seen.append(Oracle(*args, **kwargs)) or seen[-1]
    )
    stack = stacked(PLAIN, 0, 1)
    attack_stack(stack, digits_data[0][:10].double(), digits_data[1][:10], EPS)
    (oracle,) = seen
    assert oracle.backwards.tolist() == [1] * 20
    assert set(oracle.forwards.tolist()) == {2 + len(EPS)}  # clean logits, the gradient's own, an eps each


def test_the_exponent_agrees_with_that_of_explain(digits_data: Data) -> None:
    """`foolscope explain` finds its grid by a scout; the fixed one leads to the same law within its interval."""
    from foolscope.search.exponents import law_columns

    stack = trained(Architecture((), (48,)), digits_data, 0, 1)
    noise = torch.rand(4000, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
    labels = stack.member(0)(noise).argmax(1)
    law = law_columns(*(found.numpy() for found in attack_stack(stack, noise, labels, EPS)))
    curve = ray_curve(over([Oracle(stack.member(0), noise, labels)]), "fgsm", 1.0)
    assert curve.law is not None
    assert law["low"][0] < curve.law.exponent < law["high"][0]


def test_architectures_are_those_of_the_paper_and_do_not_depend_on_how_many_are_drawn() -> None:
    drawn = draw_architectures(400, seed=1)
    assert drawn[:10] == draw_architectures(10, seed=1)
    assert drawn != draw_architectures(400, seed=2)
    plain = [a for a in drawn if a.kind == KINDS[0]]
    assert 150 < len(plain) < 250
    assert {len(a.widths) for a in plain} == {1, 2, 3, 4}
    assert {width for a in plain for width in a.widths} == set(WIDTHS)
    np.testing.assert_allclose(np.diff(np.log(WIDTHS)), np.log(2000 / 30) / 9, atol=0.01)
    assert max(max(a.widths) for a in draw_architectures(50, widest=200)) == 194
    rates = draw_dropout(CONV, torch.arange(200))
    assert 0 < float(rates.min()) < 0.02 < 0.48 < float(rates.max()) < 0.5
    assert draw_dropout(PLAIN, torch.arange(3)).tolist() == [0, 0, 0]
