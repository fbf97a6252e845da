"""The models have the faults that they are there for."""

from __future__ import annotations

import torch

from foolscope.testing.models import BrokenGradient, Curved, Flat, Steps, random_images


def gradient(model, images):
    x = images.clone().requires_grad_()
    logits = model(x)
    (slope,) = torch.autograd.grad((logits[:, 0] - logits[:, 1]).sum(), x)
    return logits.detach(), slope


def test_flat_has_a_gradient_and_it_is_zero():
    logits, slope = gradient(Flat(), random_images(4))
    assert bool((logits == torch.tensor([1.0, 0.0])).all())
    assert bool((slope == 0).all())


def test_steps_has_no_graph_and_still_tells_images_apart():
    logits = Steps()(random_images(16).requires_grad_())
    assert not logits.requires_grad
    assert len(logits.argmax(1).unique()) == 2


def test_broken_gradients_break_and_the_logits_do_not():
    images = random_images(4)
    logits, slope = gradient(BrokenGradient(), images)
    assert bool(logits.isfinite().all() and slope.isnan().all())
    logits, slope = gradient(BrokenGradient(only_at_zero=True), images)
    assert bool(logits.isfinite().all())
    assert torch.equal(~slope.isfinite(), images == 0)


def test_curved_is_curved_uneven_and_the_same_every_time():
    images, state = random_images(32, dtype=torch.float64), torch.get_rng_state()
    logits, slope = gradient(Curved().double(), images)
    size = slope.flatten(1).norm(dim=1)
    assert float(size.max() / size.min()) > 50
    assert len(logits.argmax(1).unique()) == 3
    assert torch.equal(gradient(Curved().double(), images)[0], logits)
    assert not torch.allclose(gradient(Curved().double(), images + 0.01)[1], slope, rtol=0.01)
    assert torch.equal(torch.get_rng_state(), state)
