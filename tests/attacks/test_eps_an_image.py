"""Attacks at a fixed eps take one an image: what they find is what each image's own eps finds."""

from __future__ import annotations

import inspect

import pytest
import torch

from foolscope.attacks import ATTACKS
from foolscope.attacks.minimal import inner_options, minimal
from foolscope.errors import InputError
from foolscope.oracle import Oracle
from foolscope.testing.measure import EPS
from foolscope.testing.models import Curved, random_images

FIXED = [row for row in ATTACKS.values() if "eps" in inspect.signature(row.function).parameters]
CASES = [pytest.param(row, norm, id=f"{row.name}-{norm}") for row in FIXED for norm in row.norms]
FEW = {"steps": 12, "restarts": 2, "flips": 12, "rounds": 1}


def attack(row, norm, eps, *, dtype=torch.float32, places=slice(None)):
    """The attack on some of eight images."""
    model, inputs = Curved().to(dtype), random_images(8, dtype=dtype)
    labels = model(inputs).argmax(1).detach()
    oracle = Oracle(model, inputs[places], labels[places], index=torch.arange(8)[places])
    few = {key: value for key, value in FEW.items() if key in inspect.signature(row.function).parameters}
    return row.function(oracle, inputs[places], labels[places], norm=norm, eps=eps, **few)


@pytest.mark.parametrize(("row", "norm"), CASES)
def test_equal_numbers_give_what_the_number_gives_bit_for_bit(row, norm):
    for eps in (0.3 * EPS[norm], EPS[norm]) if norm != "l0" else (3.0,):
        each = torch.full((8,), eps, dtype=torch.float64)
        assert torch.equal(attack(row, norm, each), attack(row, norm, eps))


@pytest.mark.parametrize(("row", "norm"), CASES)
def test_each_image_is_attacked_with_its_own(row, norm):
    each = torch.arange(1, 9, dtype=torch.float64) if norm == "l0" else EPS[norm] * torch.logspace(-1, 0.5, 8)
    together = attack(row, norm, each, dtype=torch.float64)
    for place, eps in enumerate(each.tolist()):
        alone = attack(row, norm, eps, dtype=torch.float64, places=slice(place, place + 1))
        assert (alone[0] - together[place]).abs().max() < 1e-6


@pytest.mark.parametrize("row", FIXED, ids=lambda row: row.name)
@pytest.mark.parametrize(
    "eps", [0.0, -1.0, float("inf"), torch.tensor([0.1, 0.2]), torch.zeros(8), torch.full((8,), torch.inf)], ids=repr
)
def test_an_eps_that_is_none_is_said_so(row, eps):
    with pytest.raises(InputError, match="eps"):
        attack(row, row.norms[0], eps)


@pytest.mark.parametrize(("row", "norm"), [case for case in CASES if case.values[1] != "l0"])
def test_minimal_works_with_each(row, norm):
    model, inputs = Curved().double(), random_images(8, dtype=torch.float64)
    labels = model(inputs).argmax(1).detach()
    few = {key: value for key, value in FEW.items() if key in inner_options(row.name)}
    near = minimal(model, inputs, labels, norm=norm, attack=row.name, **few)
    moved = (near != inputs).flatten(1).any(1)
    assert (model(near).argmax(1) != labels)[moved].all()
    if row.kind != "control":
        assert moved.any()
