"""The wrapper counts, remembers and stops: per image, whoever asks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import deepfool, fmn, pgd
from foolscope.bench.counted import REPEATED, RISING, TOLD, BudgetSpent, Counted, Telling, align
from foolscope.norms import NORMS
from foolscope.oracle import Oracle

X = torch.tensor([[0.2, 0.5], [0.3, 0.5], [0.9, 0.5]])
Y = torch.tensor([0, 0, 1])  # right: class 1 where the first component exceeds one half


@pytest.fixture
def network() -> nn.Module:
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
        linear.bias.copy_(torch.tensor([0.5, -0.5]))
    return linear.requires_grad_(False)


def test_forwards_and_backwards_are_counted_for_each_image(network: nn.Module) -> None:
    counted = Counted(network, X, Y)
    x = X.clone().requires_grad_()
    logits = counted(x)
    torch.autograd.grad(logits[:, 0].sum(), x, retain_graph=True)
    torch.autograd.grad(logits[:, 1].sum(), x)
    counted(X)
    assert counted.forwards.tolist() == [2, 2, 2]
    assert counted.backwards.tolist() == [2, 2, 2]


def test_the_nearest_fooling_point_of_the_path_counts_not_the_last(network: nn.Module) -> None:
    counted = Counted(network, X, Y)
    for first in (0.9, 0.6, 0.4):
        counted(torch.tensor([[first, 0.5], [0.3, 0.5], [0.9, 0.5]]))
    for norm in NORMS:
        expected = 1.0 if norm == "l0" else 0.4
        assert counted.nearest[norm][0].item() == pytest.approx(expected)
        assert counted.nearest[norm][1:].tolist() == [torch.inf, torch.inf]


def test_points_outside_the_box_count_as_moved_into_it(network: nn.Module) -> None:
    counted = Counted(network, X, Y)
    x = torch.tensor([[7.0, 0.5], [0.3, 0.5], [0.9, 0.5]], requires_grad=True)
    logits = counted(x)
    assert torch.equal(logits.detach(), network(x.detach().clamp(0, 1)))
    assert counted.nearest["linf"][0].item() == pytest.approx(0.8)
    (gradient,) = torch.autograd.grad(logits[0, 1], x)
    assert gradient[0, 0] == 1.0  # it can come back


def test_beyond_the_budget_nothing_is_learned(network: nn.Module) -> None:
    counted = Counted(network, X, Y, budget=3, rows=RISING)
    counted(X[:2])
    counted(X[:2])
    x = torch.tensor([[0.2, 0.5], [0.3, 0.5], [0.9, 0.5]], requires_grad=True)
    logits = counted(x)  # the first two have one pass left, for this forward, and none for its backward
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    assert counted.spent.tolist() == [3, 3, 2]
    assert gradient[:, 0].tolist() == [0.0, 0.0, 1.0]
    fooling = torch.full_like(X, 0.6)
    made_up = counted(fooling)
    assert counted.spent.tolist() == [3, 3, 3]
    assert made_up.argmax(1).tolist() == [0, 0, 1]
    assert torch.isinf(counted.nearest["linf"]).all()
    with pytest.raises(BudgetSpent):
        counted(X)


def test_an_attack_that_swallows_exceptions_still_stops(network: nn.Module) -> None:
    def stubborn() -> None:
        for _ in range(3):
            try:
                counted(X)
            except Exception:
                continue

    counted = Counted(network, X, Y, budget=1)
    with pytest.raises(BudgetSpent):
        stubborn()


def test_several_rows_of_an_image_are_charged_one_by_one(network: nn.Module) -> None:
    counted = Counted(network, X, Y, budget=3, rows=REPEATED)
    counted(X.repeat_interleave(2, 0))
    assert counted.forwards.tolist() == [2, 2, 2]
    logits = counted(torch.tensor([[0.2, 0.5], [0.35, 0.5]]).repeat_interleave(2, 0))
    assert counted.forwards.tolist() == [3, 3, 2]
    assert logits[1, 0] == 10  # the second of its two rows was not paid for


def test_an_attack_said_to_keep_the_batch_whole_may_not_drop_images(network: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="2 rows for 3 images"):
        Counted(network, X, Y)(X[1:])


def test_rows_are_matched_in_order_where_nearest_neighbours_err() -> None:
    images = torch.tensor([[0.0], [0.4], [1.0]])
    points = torch.tensor([[0.45], [0.9]])  # the first image moved by 0.45, next to the second; the third by 0.1
    assert align(points, images, repeats=False).tolist() == [1, 2]  # cannot be told apart from the second moved by 0.05
    both = torch.tensor([[0.45], [0.42], [0.9]])
    assert torch.cdist(both, images).argmin(1).tolist() == [1, 1, 2]
    assert align(both, images, repeats=False).tolist() == [0, 1, 2]


def test_alignment_is_the_cheapest_of_all_that_keep_the_order() -> None:
    from itertools import combinations

    draws = torch.Generator().manual_seed(0)
    images = torch.rand(7, 3, generator=draws)
    for _ in range(20):
        points = torch.rand(4, 3, generator=draws)

        def cost(rows: tuple[int, ...], points: Tensor = points) -> float:
            return float((points - images[list(rows)]).square().sum())

        cheapest = min(combinations(range(7), 4), key=cost)
        assert align(points, images, repeats=False).tolist() == list(cheapest)


@pytest.mark.parametrize("attack", [deepfool, fmn, pgd])
def test_ours_are_counted_as_the_oracle_counts(
    attack: object, digits_network: nn.Module, digits_data: tuple[Tensor, Tensor]
) -> None:
    x, y = (values[:12] for values in digits_data)
    options = {"eps": 0.1} if attack is pgd else {}
    network = digits_network.requires_grad_(False)
    counted = Counted(network, x, y, rows=TOLD)
    telling = Telling(counted, x, y)
    found = attack(telling, x, y, steps=20, **options)
    plain = Oracle(network, x, y)
    assert torch.equal(found, attack(plain, x, y, steps=20, **options))
    assert torch.equal(counted.forwards, plain.forwards)
    assert torch.equal(counted.backwards, plain.backwards)
    fooled = network(found).argmax(1) != y
    size = NORMS["linf"].size(found - x)
    assert (counted.nearest["linf"][fooled] <= size[fooled]).all()


def test_what_is_past_the_oracle_is_refused(network: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="past the oracle"):
        Counted(network, X, Y, rows=TOLD)(X)
