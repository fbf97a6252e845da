from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from foolscope.errors import InputError
from foolscope.losses import LOSSES, cross_entropy, dlr, get_loss, logit, margin, margin_base, margin_slope

ROW = torch.tensor([[2.0, 5.0, 1.0, -3.0]])
NAMES = sorted(LOSSES)


def label(k: int) -> Tensor:
    return torch.tensor([k])


def random_logits(n: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randn(n, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3


def by_central_differences(name: str, z: Tensor, y: Tensor, t: Tensor | None, clean: Tensor) -> Tensor:
    h, gradient = 1e-6, torch.zeros_like(z)
    for k in range(z.shape[1]):
        step = torch.zeros_like(z)
        step[:, k] = h
        up, down = (LOSSES[name].function(z + s * step, y, t, clean) for s in (1, -1))
        gradient[:, k] = (up - down) / (2 * h)
    return gradient


@pytest.mark.parametrize(
    ("value", "by_hand"),
    [
        (cross_entropy(ROW, label(0)), 3 + math.log(1 + math.exp(-3) + math.exp(-4) + math.exp(-8))),
        (cross_entropy(ROW, label(0), label(1)), -math.log(1 + math.exp(-3) + math.exp(-4) + math.exp(-8))),
        (logit(ROW, label(0)), -2.0),
        (logit(ROW, label(0), label(2)), 1.0),
        (margin(ROW, label(0)), 3.0),
        (margin(ROW, label(1)), -3.0),
        (margin(ROW, label(0), label(2)), -4.0),
        (margin(ROW, label(0), label(1)), 3.0),
        (dlr(ROW, label(0)), 3 / (5 - 1)),
        (dlr(ROW, label(1)), -3 / (5 - 1)),
        (dlr(ROW, label(0), label(2)), (1 - 2) / (5 - (1 - 3) / 2)),
        # three classes: z_1 - z_3, targeted or not
        (dlr(ROW[:, :3], label(0), label(1)), (5 - 2) / (5 - 1)),
        (dlr(ROW[:, :3], label(1)), (2 - 5) / (5 - 1)),
        # two classes: over the clean |margin|
        (dlr(ROW[:, :2], label(0), None, torch.tensor([[9.0, 7.0]])), 3 / 2),
        (dlr(ROW[:, :2], label(0), label(1), torch.tensor([[7.0, 7.5]])), 3 / 0.5),
        (dlr(ROW[:, :2], label(0)), 1.0),
    ],
)
def test_values_by_hand(value, by_hand):
    assert value.shape == (1,)
    assert float(value) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 4, 7])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_central_differences(name, classes, targeted):
    z, y = random_logits(20, classes), torch.arange(20) % classes
    t, clean = (y + 1) % classes if targeted else None, random_logits(20, classes, seed=1)
    leaf = z.clone().requires_grad_()
    LOSSES[name].function(leaf, y, t, clean).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, by_central_differences(name, z, y, t, clean), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("targeted", [False, True])
def test_the_margin_slope_is_its_value_and_gradient(targeted):
    z, y = random_logits(50, 5), torch.arange(50) % 5
    t = (y + 2) % 5 if targeted else None
    own = (y if t is None else t)[:, None]
    size = torch.full((50, 1), -1.0 if targeted else 1.0, dtype=z.dtype)
    value, slope = margin_slope(z, own, size, margin_base(own, size, 5))
    leaf = z.clone().requires_grad_()
    expected = margin(leaf, y, t)
    expected.sum().backward()
    assert torch.equal(value, expected.detach())
    assert torch.equal(slope, leaf.grad)


def test_two_classes_have_no_gradient_through_the_denominator():
    """Without the clean logits the value is +-1 everywhere; were the denominator not detached, the gradient would be 0."""
    z = torch.tensor([[2.0, 5.0]], requires_grad=True)
    dlr(z, label(0)).sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([[-1 / 3, 1 / 3]]))
    clean = torch.tensor([[4.0, 3.5]], requires_grad=True)
    dlr(z, label(0), None, clean).sum().backward()
    assert clean.grad is None


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("name", NAMES)
def test_homogeneous_means_that_scaling_changes_nothing_but_the_unit(name, classes, targeted):
    z, y = random_logits(30, classes).float(), torch.arange(30) % classes
    t = (y + 1) % classes if targeted else None
    clean = random_logits(30, classes, seed=1).float()
    before = LOSSES[name].function(z, y, t, clean)
    same = []
    for factor in (2.0**-20, 2.0**20):
        after = LOSSES[name].function(z * factor, y, t, clean * factor)
        same.append(torch.equal(after, before if name == "dlr" else before * factor))
    assert all(same) == LOSSES[name].homogeneous


@pytest.mark.parametrize("name", NAMES)
def test_each_image_has_its_own_value_whatever_the_batch(name):
    z, y = random_logits(16, 5), torch.arange(16) % 5
    together = LOSSES[name].function(z, y, None, z)
    assert together.shape == (16,)
    for i in range(16):
        alone = LOSSES[name].function(z[i : i + 1], y[i : i + 1], None, z[i : i + 1])
        assert torch.equal(alone, together[i : i + 1])
    assert LOSSES[name].function(z[:0], y[:0], None, z[:0]).shape == (0,)


TIES = [
    pytest.param(torch.tensor([[0.0, 0, 0, 0]]), id="flat"),
    pytest.param(torch.tensor([[7.5, 7.5, 7.5, 7.5]]), id="flat-but-not-0"),
    pytest.param(torch.tensor([[5.0, 5, 5, 1]]), id="three-at-the-top"),
    pytest.param(torch.tensor([[1e4, 1e4, 1e4, -1e4]]), id="large"),
    pytest.param(torch.tensor([[1e-30, 1e-30, 1e-30, 0]]), id="tiny"),
    pytest.param(torch.tensor([[-2.0, 3, 3, 3]]), id="label-last"),
]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("z", TIES)
def test_ties_and_flat_logits_stay_finite(z, name, classes, targeted):
    z = z[:, -classes:]
    for y in range(classes):
        leaf = z.clone().requires_grad_()
        t = label((y + 1) % classes) if targeted else None
        value = LOSSES[name].function(leaf, label(y), t, z)
        value.sum().backward()
        assert torch.isfinite(value).all(), y
        assert torch.isfinite(leaf.grad).all(), y


def test_margin_is_positive_exactly_where_the_image_is_fooled():
    z, y = random_logits(500, 4), torch.arange(500) % 4
    assert torch.equal(margin(z, y) > 0, z.argmax(1) != y)
    t = (y + 1) % 4
    assert torch.equal(margin(z, y, t) > 0, z.argmax(1) == t)
    # A tie is not yet fooled, for either form.
    tie = torch.tensor([[1.0, 1.0, 0.0]])
    assert float(margin(tie, label(0))) == float(margin(tie, label(0), label(1))) == 0


def test_cross_entropy_is_the_one_that_dies_on_confident_logits():
    """The control for the others: its float32 gradient is exactly 0 where theirs is alive."""
    z = torch.tensor([[300.0, 0.0, -5.0]])
    alive = {}
    for name in NAMES:
        leaf = z.clone().requires_grad_()
        LOSSES[name].function(leaf, label(0), None, z).sum().backward()
        alive[name] = bool(leaf.grad.abs().max() > 0)
    assert alive == {"ce": False, "dlr": True, "logit": True, "margin": True}


def test_an_unknown_loss_is_one_line_with_the_nearest_names():
    with pytest.raises(InputError, match="^loss: expected a loss, got 'margins' .*margin"):
        get_loss("margins")
