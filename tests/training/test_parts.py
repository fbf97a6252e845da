"""Draws, batches, augmentation, schedules, optimisers and monitors, each against what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from foolscope.attacks import bind
from foolscope.data import from_tensors
from foolscope.training.draws import batches, derived, shuffled
from foolscope.training.images import bind_augmentation, crop, flip, split
from foolscope.training.schedules import SCHEDULES, bind_schedule, make_optimiser, momentum_at
from foolscope.training.watching import Epoch, adversarial_error, error, overfitted, rise, single_step, some

CPU = torch.device("cpu")


@given(st.integers(0, 300), st.integers(1, 50))
def test_batches_hold_every_position_once_and_never_a_single_one(n: int, size: int) -> None:
    parts = batches(np.arange(n), size)
    assert np.concatenate(parts).tolist() == list(range(n))
    assert all(0 < len(part) <= size + 1 for part in parts if n)
    assert size == 1 or n == 1 or all(len(part) != 1 for part in parts)


def test_shuffles_are_permutations_that_follow_the_seed() -> None:
    places = np.arange(1000, 3000)
    one, two = shuffled(1, places), shuffled(2, places)
    assert sorted(one) == places.tolist() == sorted(two)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1
    assert abs(np.corrcoef(one, places)[0, 1]) < 0.1
    assert len({derived(0, "epoch", k) for k in range(100)} | {derived(k, "epoch", 0) for k in range(100)}) == 199


def test_a_split_is_a_partition(digits: tuple[Tensor, Tensor]) -> None:
    learning, watching = split(from_tensors(*digits), 0.3)
    assert len(watching) == 120
    assert np.array_equal(np.sort(np.concatenate([learning, watching])), np.arange(400))


def test_flips_and_crops_move_pixels_and_nothing_else() -> None:
    images = torch.rand(3, 2, 4, 4)
    turned = flip(images, torch.tensor([[0.1], [0.9], [0.4]]))
    assert torch.equal(turned[0], images[0].flip(2))
    assert torch.equal(turned[1], images[1])
    # With pad 1, u in thirds chooses offsets 0, 1, 2; the middle one leaves the image where it is.
    moved = crop(images, torch.tensor([[0.5, 0.5], [0.1, 0.5], [0.5, 0.9]]), pad=1)
    assert torch.equal(moved[0], images[0])
    assert torch.equal(moved[1, :, 1:], images[1, :, :-1])
    assert not moved[1, :, 0].any()
    assert torch.equal(moved[2, :, :, :-1], images[2, :, :, 1:])
    assert not moved[2, :, :, -1].any()


def test_an_augmentation_depends_on_image_and_seed_alone() -> None:
    images, index = torch.rand(20, 1, 8, 8), torch.arange(20)
    augment = bind_augmentation("crop:pad=2+flip")
    whole = augment(images, index, 5)
    assert torch.equal(augment(images[7:9], index[7:9], 5), whole[7:9])
    assert not torch.equal(augment(images, index, 6), whole)
    assert torch.equal(bind_augmentation("none")(images, index, 5), images)


def test_schedules() -> None:
    shapes = {name: [bind_schedule(name)(k, 100) for k in range(100)] for name in SCHEDULES}
    assert set(shapes["constant"]) == {1.0}
    assert shapes["cosine"][0] == 1.0
    assert shapes["cosine"][50] == pytest.approx(0.5)
    assert shapes["steps"][49:51] + shapes["steps"][74:76] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert int(np.argmax(shapes["cycle"])) in (39, 40)
    assert shapes["exponential"][1] == pytest.approx(1 / 1.000004)
    assert bind_schedule("exponential:divisor=2,least=0.1")(10, 100) == 0.1
    assert [momentum_at((0.5, 0.7, 4), k) for k in (0, 2, 4, 9)] == pytest.approx([0.5, 0.6, 0.7, 0.7])


def test_a_layer_may_scale_its_learning_rate() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[1].lr_scale = 0.05
    groups = make_optimiser("sgd", model, 0.1, 0.9, 0.0).param_groups
    assert {group["scale"]: len(group["params"]) for group in groups} == {1.0: 2, 0.05: 2}


def test_errors_are_shares_of_images(digits_network: nn.Module, digits_data: tuple[Tensor, Tensor]) -> None:
    images, labels = digits_data
    data = from_tensors(images, labels)
    wrong = float((digits_network(images).argmax(1) != labels).float().mean())
    assert error(digits_network, data, CPU) == pytest.approx(wrong)
    probe = bind("pgd:steps=5", eps=0.1, norm="linf", seed=0)
    under = adversarial_error(digits_network, data, CPU, probe, "linf", (0.0, 1.0))
    assert wrong < 0.05 < 0.4 < under
    accuracy = single_step(digits_network, data, CPU, "linf", 0.1, (0.0, 1.0))
    assert accuracy[0] == pytest.approx(1 - wrong)
    assert accuracy[0] > accuracy[1] > accuracy[2] >= 1 - under - 0.02
    assert len(some(data, 7)) == 7
    assert len(some(data, 9999)) == 500


def test_a_network_that_reads_the_label_off_the_step_leaks() -> None:
    """Class 1 wherever pixels lie off the grid of tenths that images live on: so FGSM tells the label of class 1."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Tensor) -> Tensor:
            off = ((x * 10).round() / 10 - x).abs().flatten(1).amax(1) * 100
            return torch.stack([torch.full_like(off, 0.5), off], 1) * self.scale

    images = torch.full((10, 1, 2, 2), 0.5)
    accuracy = single_step(Reader(), from_tensors(images, torch.ones(10, dtype=torch.int64)), CPU, "linf", 0.08, (0, 1))
    assert accuracy[0] == 0.0
    assert rise(accuracy) >= 0.0
    assert rise([0.2, 0.1, 0.9]) == pytest.approx(0.8)


def epoch(number: int, adversarial: float | None, single: float | None) -> Epoch:
    return Epoch(number, 1.0, 0.1, 0.1, adversarial, single, 0.0, 0.1, 1.0)


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        ([(0.6, 0.5), (0.5, 0.4), (0.95, 0.1)], 3),  # the classic: PGD breaks it, FGSM no longer does
        ([(0.6, 0.5), (0.5, 0.4), (0.95, 0.9)], None),  # it has merely got worse
        ([(0.6, 0.5), (0.5, 0.4), (0.6, 0.3)], None),  # too small a fall
        ([(0.9, 0.8), (0.8, 0.7), (0.7, 0.6)], None),
        ([(None, None)], None),
        ([], None),
    ],
)
def test_catastrophic_overfitting(errors: list, found: int | None) -> None:
    assert overfitted([epoch(k, *pair) for k, pair in enumerate(errors, 1)]) == found
