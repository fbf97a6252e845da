from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foolscope import rng
from foolscope.attacks import noise, square
from foolscope.attacks.square import _grid, _moved_mass, _share, _stripes, _window
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")


class Spy(nn.Module):
    """Remembers every image that it was asked about."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.seen = body, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        return self.body(x)


class Stubborn(nn.Module):
    """Class 0 whatever happens; the margin rises with the distance from grey in a fixed random direction."""

    def __init__(self, shape: tuple[int, int, int], seed: int = 0) -> None:
        super().__init__()
        self.direction = torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor) -> Tensor:
        rise = ((x - 0.5) * self.direction).flatten(1).mean(1)
        return torch.stack([torch.full_like(rise, 10.0), rise], 1)


def searched(norm: str, eps: float, steps: int, shape: tuple[int, int, int] = (3, 16, 16), n: int = 4) -> list[Tensor]:
    """Perturbations in the order in which a search tried them, `(steps, n, ...)`; nothing clips and nothing succeeds."""
    spy, x = Spy(Stubborn(shape)), torch.full((n, *shape), 0.5)
    square(
        Oracle(spy, x, torch.zeros(n, dtype=torch.int64)),
        x,
        torch.zeros(n, dtype=torch.int64),
        norm=norm,
        eps=eps,
        steps=steps,
    )
    assert len(spy.seen) == steps + 1  # and the clean pass
    return [seen - 0.5 for seen in spy.seen[1:]]


def paper_share(step: int, steps: int, share: float) -> float:
    """Sec. 5 of the paper as its authors' program has it: a ladder of intervals of 10,000 iterations."""
    at = int(step / steps * 10_000)
    for above, below, divisor in [
        (10, 50, 2), (50, 200, 4), (200, 500, 8), (500, 1000, 16), (1000, 2000, 32), (2000, 4000, 64), (4000, 6000, 128),
        (6000, 8000, 256), (8000, 10_000, 512),
    ]:  # fmt: skip
        if above < at <= below:
            return share / divisor
    return share


def test_the_first_step_is_vertical_stripes():
    first = searched("linf", 0.1, 1)[0]
    assert torch.allclose(first.abs(), torch.full_like(first, 0.1), atol=1e-6)
    assert bool((first == first[:, :, :1, :]).all())  # constant down each column
    assert (
        len(first[:, :, 0, :].reshape(-1, 16).sign().unique(dim=0)) == 12
    )  # a sign for each channel, image and column
    planes = torch.zeros(4, 3, 16, 16)
    u = rng.uniform(0, torch.arange(4), 0, (3, 1, 16))
    assert torch.equal(
        _stripes(planes, 0.1, lambda shape: rng.uniform(0, torch.arange(4), 0, shape))[:, :, :1],
        torch.where(u < 0.5, 0.1, -0.1),
    )


@pytest.mark.parametrize("steps", [100, 10_000])
def test_the_window_shrinks_as_the_paper_says(steps):
    for step in range(1, steps, max(1, steps // 1000)):
        assert _share(step, steps, 0.8) == paper_share(step, steps, 0.8), step


def test_windows_have_the_scheduled_side_and_reach_every_place():
    index = torch.arange(3000)
    u = rng.uniform(0, index, 0, (2,))
    for side in (1, 3, 5, 7):
        window = _window((3000, 1, 5, 7), side, u)
        height, width = min(side, 5), min(side, 7)
        assert window.shape == (3000, 1, 5, 7)
        assert bool((window.sum((2, 3)) == height * width).all())
        assert bool((window.any(3).sum(2) == height).all())  # a rectangle, whole
        first = window.flatten(1).int().argmax(1)
        assert len(first.unique()) == (5 - height + 1) * (7 - width + 1)


def test_linf_changes_one_window_a_step_with_one_sign_a_channel():
    steps = 60
    tried = searched("linf", 0.1, steps)
    model = Stubborn((3, 16, 16))
    best = tried[0]
    for step in range(1, steps):
        side = max(1, round((paper_share(step, steps, 0.8) * 256) ** 0.5))
        changed = (tried[step] - best).abs() > 1e-6
        assert torch.allclose(tried[step].abs(), torch.full_like(best, 0.1), atol=1e-6)
        for image in range(4):
            rows = changed[image].any(0).any(1).nonzero()
            columns = changed[image].any(0).any(0).nonzero()
            if len(rows):
                assert int(rows.max() - rows.min()) < side
                assert int(columns.max() - columns.min()) < side
                patch = tried[step][
                    image, :, int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1
                ]
                for channel in range(3):
                    if bool(changed[image, channel].any()):
                        assert (
                            len(
                                patch[channel][
                                    changed[image, channel][
                                        rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
                                    ]
                                ]
                                .sign()
                                .unique()
                            )
                            == 1
                        )
        # The reference keeps what raised the margin, and so must the search: what it tries next differs in one window from it.
        better = model(tried[step] + 0.5)[:, 1] > model(best + 0.5)[:, 1]
        best = torch.where(better.view(-1, 1, 1, 1), tried[step], best)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (2, 1, 20), (1, 3, 3)])
def test_ball_and_box_hold_at_every_trial(norm, shape):
    eps = {"linf": 0.2, "l2": 1.5}[norm]
    x = (
        torch.rand(6, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        .mul(1.4)
        .sub(0.2)
        .clamp(0, 1)
    )
    spy = Spy(Stubborn(shape).double())
    spy.body.direction = spy.body.direction.double()
    labels = torch.zeros(6, dtype=torch.int64)
    square(Oracle(spy, x, labels), x, labels, norm=norm, eps=eps, steps=80)
    for seen in spy.seen:
        d = (seen - x).flatten(1)
        size = d.abs().amax(1) if norm == "linf" else d.square().sum(1).sqrt()
        assert bool((size <= eps * (1 + 1e-12) + 1e-15).all())
        assert float(seen.min()) >= 0
        assert float(seen.max()) <= 1


def test_l2_spends_the_whole_radius_before_the_box_clips():
    for d in searched("l2", 0.8, 50):
        assert d.flatten(1).norm(dim=1).tolist() == pytest.approx([0.8] * 4, rel=1e-5)
    planes = torch.zeros(3, 2, 11, 6, dtype=torch.float64)
    grid = _grid(planes, 2.0, lambda shape: rng.uniform(0, torch.arange(3), 0, shape))
    assert grid.flatten(1).norm(dim=1).tolist() == pytest.approx([2.0] * 3)
    assert bool((grid.square().sum((2, 3)) > 0).all())


def test_l2_moves_mass_from_one_window_to_the_other():
    index = torch.arange(50)
    d = _grid(torch.zeros(50, 3, 12, 12, dtype=torch.float64), 1.0, lambda shape: rng.uniform(0, index, 0, shape))
    u = rng.uniform(0, index, 1, (8,))
    moved = _moved_mass(d, 1.0, 4.6, u)  # side 5
    gain, lose = (_window(d.shape, 5, part).expand_as(d) for part in (u[:, :2], u[:, 2:4]))
    assert bool((moved[lose & ~gain] == 0).all())
    elsewhere = ~(gain | lose)
    assert torch.allclose(moved[elsewhere], d[elsewhere])  # nothing was unused, so nothing else changes
    mass = (d * (gain | lose)).square().sum((2, 3))
    assert torch.allclose((moved * gain).square().sum((2, 3)), mass)
    assert torch.allclose(moved.square().sum((1, 2, 3)), torch.ones(50, dtype=torch.float64))
    # Half the ball is unused: it goes into the first window, an equal share a channel.
    moved = _moved_mass(d / 2, 1.0, 4.6, u)
    assert torch.allclose((moved * gain).square().sum((2, 3)), mass / 4 + 0.75 / 3)


def reference_square(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int, seed: int) -> Tensor:
    """Alg. 1 and 2 of the paper for linf, image by image with plain loops; whether each was fooled."""
    generator = torch.Generator().manual_seed(seed)
    fooled = []
    for image, label in zip(x, y, strict=True):
        c, h, w = image.shape

        def sign(*shape: int) -> Tensor:
            return (torch.randint(2, shape, generator=generator) * 2 - 1).float()

        def lead(z: Tensor, label: int = int(label)) -> float:
            out = model(z[None])[0]
            return float(max(out[k] for k in range(len(out)) if k != label) - out[label])

        best = (image + eps * sign(c, 1, w)).clamp(0, 1)
        value = lead(best)
        for step in range(1, steps):
            if value > 0:
                break
            side = max(1, round((paper_share(step, steps, 0.8) * h * w) ** 0.5))
            top = int(torch.randint(h - side + 1, (1,), generator=generator))
            left = int(torch.randint(w - side + 1, (1,), generator=generator))
            trial = best.clone()
            part = (slice(None), slice(top, top + side), slice(left, left + side))
            trial[part] = (image[part] + eps * sign(c, 1, 1)).clamp(0, 1)
            if (new := lead(trial)) > value:
                best, value = trial, new
        fooled.append(value > 0)
    return torch.tensor(fooled)


def test_it_finds_what_an_independent_search_finds_and_more_than_noise():
    model = Curved().requires_grad_(False)
    x = random_images(60, seed=9)
    y = model(x).argmax(1)
    eps, steps = 0.08, 60
    ours = model(square(model, x, y, eps=eps, steps=steps)).argmax(1) != y
    control = model(noise(model, x, y, eps=eps, steps=steps)).argmax(1) != y
    theirs = reference_square(model, x, y, eps, steps, seed=0)
    assert 0.1 < float(theirs.float().mean()) < 0.95
    assert abs(float(ours.float().mean() - theirs.float().mean())) <= 0.1
    assert int(ours.sum()) >= int(control.sum()) + 5
    assert int((control & ~ours).sum()) <= 2


def test_restarts_only_add():
    model = Curved().requires_grad_(False)
    x = random_images(60, seed=9)
    y = model(x).argmax(1)
    once, often = (model(square(model, x, y, eps=0.05, steps=20, restarts=k)).argmax(1) != y for k in (1, 4))
    assert not bool((once & ~often).any())
    assert int(often.sum()) > int(once.sum())
