from __future__ import annotations

import pytest
import torch

from foolscope.attacks import fgsm, step_ll
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(norm: str, g: torch.Tensor, eps: float) -> torch.Tensor:
    """The dual direction without a box, image by image."""
    if norm == "linf":
        return eps * g.sign()
    if norm == "l2":
        return eps * g / g.square().sum((1, 2, 3), keepdim=True).sqrt()
    out = torch.zeros_like(g).flatten(1)
    place = g.flatten(1).abs().argmax(1, keepdim=True)
    return out.scatter(1, place, eps * g.flatten(1).gather(1, place).sign()).view_as(g)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_dual_step_on_cross_entropy(norm, targeted):
    model, x = Curved().double(), random_images(20, dtype=torch.float64)
    y = model(x).argmax(1)
    t = (y + 1) % 3 if targeted else None
    leaf = x.clone().requires_grad_()
    rising = torch.nn.functional.cross_entropy(model(leaf), y if t is None else t, reduction="sum")
    g = torch.autograd.grad(rising if t is None else -rising, leaf)[0]
    oracle = Oracle(model, x, y, targets=t, bounds=None)
    torch.testing.assert_close(fgsm(oracle, x, y, norm=norm, eps=0.03, loss="ce"), x + by_hand(norm, g, 0.03))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_step_ll_raises_the_least_likely_class(norm):
    model, x = Curved().double(), random_images(20, dtype=torch.float64)
    y = model(x).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    right = model(x).argmax(1) == y
    leaf = x.clone().requires_grad_()
    least = model(x).argmin(1)
    g = torch.autograd.grad(-torch.nn.functional.cross_entropy(model(leaf), least, reduction="sum"), leaf)[0]
    found = step_ll(Oracle(model, x, y, bounds=None), x, y, norm=norm, eps=0.03)
    torch.testing.assert_close(found[right], (x + by_hand(norm, g, 0.03))[right])
    assert torch.equal(found[~right], x[~right])


def test_step_ll_leaks_no_label():
    """Where an image is right, the step is the same whatever else its label might have been."""
    model, x = Curved(), random_images(20)
    y = model(x).argmax(1)
    first = step_ll(Oracle(model, x, y), x, y, eps=0.05)
    assert bool((model(first).argmax(1) == model(x).argmin(1)).any())
    wrong = (y + 1) % 3
    assert torch.equal(step_ll(Oracle(model, x, wrong), x, wrong, eps=0.05), x)
