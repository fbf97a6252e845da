"""What is kept of many offers, however many of them wait to be copied: beside a plain loop over rows."""

from __future__ import annotations

import pytest
import torch

from foolscope.attacks._best import HELD, Best, room
from foolscope.attacks._nearest import Nearest


def offers(rows=7, count=23):
    """Places (rising, or None for all), iterates, losses and whether they fool, one offer after the other."""
    generator = torch.Generator().manual_seed(1)
    for number in range(count):
        places = torch.arange(rows)
        if number % 3:
            places = torch.randperm(rows, generator=generator)[: 1 + number % rows].sort().values
        x = torch.rand(len(places), 2, 3, generator=generator)
        loss = torch.rand(len(places), generator=generator)
        yield places, x, loss, torch.rand(len(places), generator=generator) < 0.2


@pytest.mark.parametrize("hold", [1, 2, 5, 100])
@pytest.mark.parametrize("looks", [False, True])
def test_the_best_of_all_offers_is_kept(hold, looks):
    start = torch.zeros(7, 2, 3)
    best, kept = Best(start, hold), {}
    for places, x, loss, fooled in offers():
        best.take(places, x, loss, fooled)
        if looks:
            assert best.x.shape == start.shape
        for place, *offer in zip(places.tolist(), x, loss, fooled, strict=True):
            if place not in kept or (bool(offer[2]), float(offer[1])) > (bool(kept[place][2]), float(kept[place][1])):
                kept[place] = offer
    for place, (x, loss, fooled) in kept.items():
        assert torch.equal(best.x[place], x)
        assert best.loss[place] == loss
        assert best.fooled[place] == fooled
    assert len(kept) == 7
    assert bool((start == 0).all())


@pytest.mark.parametrize("hold", [1, 2, 5, 100])
def test_the_nearest_fooling_offer_is_kept(hold):
    start = torch.full((7, 2, 3), -1.0)
    nearest, kept = Nearest(start, hold), {}
    for places, x, size, fooled in offers():
        every = len(places) == 7
        better = nearest.take(x, size, fooled, None if every else places)
        for place, row, far, fools, told in zip(places.tolist(), x, size, fooled, better, strict=True):
            nearer = bool(fools) and (place not in kept or bool(far < kept[place][1]))
            assert bool(told) == nearer
            if nearer:
                kept[place] = row, far
    assert len(kept) > 0
    for place in range(7):
        x, size = kept.get(place, (start[place], torch.inf))
        assert torch.equal(nearest.x[place], x)
        assert nearest.size[place] == size


def test_offers_that_wait_stay_within_their_memory():
    assert room(torch.empty(128, 3, 32, 32)) * 128 * 3 * 32 * 32 * 4 <= HELD
    assert room(torch.empty(1, HELD)) == 1
