from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import bim, fgsm, mi_fgsm, pgd
from foolscope.errors import InputError
from foolscope.losses import margin
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, Flat, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

EPS = {"linf": 0.04, "l2": 0.25, "l1": 1.2}
NORMS = sorted(EPS)


@pytest.fixture(scope="module")
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    model, inputs = Curved().double().requires_grad_(False), random_images(40, dtype=torch.float64)
    return model, inputs, model(inputs).argmax(1)


def fooled(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return model(x).argmax(1) != labels


@pytest.mark.parametrize("norm", NORMS)
def test_the_best_iterate_never_gets_worse_with_more_of_the_same(norm, problem):
    """Equal steps: the first k steps of a longer run are the shorter run, so that its best iterate can only be better."""
    model, inputs, labels = problem
    before = torch.full((40,), -torch.inf, dtype=torch.float64)
    for steps in (1, 2, 3, 5, 9, 17):
        x = pgd(
            model, inputs, labels, norm=norm, eps=EPS[norm], steps=steps, step_size=0.4 * EPS[norm], early_stop=False
        )
        now = margin(model(x), labels)
        assert bool((now >= before).all())
        before = now


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("early_stop", [True, False])
def test_restarts_never_make_it_worse(norm, early_stop, problem):
    model, inputs, labels = problem
    options = {"norm": norm, "eps": EPS[norm], "steps": 2, "step_size": 0.1 * EPS[norm], "early_stop": early_stop}
    once, often = (pgd(model, inputs, labels, restarts=k, **options) for k in (1, 5))
    won = fooled(model, once, labels)
    assert bool(fooled(model, often, labels)[won].all())
    gain = margin(model(often), labels) - margin(model(once), labels)
    compared = ~won if early_stop else torch.ones_like(won)
    assert bool((gain[compared] >= 0).all())
    assert bool((gain[compared] > 0).any())


@pytest.mark.parametrize("norm", NORMS)
def test_without_early_stop_the_loss_is_at_least_as_large(norm, problem):
    model, inputs, labels = problem
    stopped, full = (
        pgd(model, inputs, labels, norm=norm, eps=EPS[norm], steps=15, early_stop=stop) for stop in (True, False)
    )
    assert torch.equal(fooled(model, stopped, labels), fooled(model, full, labels))
    gain = margin(model(full), labels) - margin(model(stopped), labels)
    assert bool((gain >= -1e-12).all())  # smaller batches round otherwise
    assert bool((gain > 0)[fooled(model, full, labels)].any())


class Pocket(nn.Module):
    """Fooled only within `width` of the point `where` of a line: class 0 elsewhere, with a slope that leads everywhere upwards."""

    def __init__(self, where: float, width: float = 0.01) -> None:
        super().__init__()
        self.where, self.width = where, width

    def forward(self, x: Tensor) -> Tensor:
        at = x.flatten(1)[:, 0]
        lead = torch.where((at - self.where).abs() < self.width, 1 + 0 * at, at - 10)
        return torch.stack([torch.zeros_like(at), lead], 1)


def test_the_last_iterate_is_looked_at():
    """Steps of 0.1 from 0.2: only the iterate after the third and last step lies in the pocket at 0.5."""
    x, y = torch.full((1, 1, 1, 1), 0.2), torch.tensor([0])
    options = {"eps": 0.35, "step_size": 0.1, "start": "clean"}
    assert bool(fooled(Pocket(0.5), pgd(Pocket(0.5), x, y, steps=3, **options), y))
    assert not bool(fooled(Pocket(0.5), pgd(Pocket(0.5), x, y, steps=2, **options), y))


@pytest.mark.parametrize("early_stop", [True, False])
def test_an_iterate_on_the_way_counts(early_stop):
    """The pocket is crossed at the second of six steps and left again; the best iterate is the one inside."""
    x, y = torch.full((1, 1, 1, 1), 0.2), torch.tensor([0])
    found = pgd(Pocket(0.4), x, y, eps=0.7, step_size=0.1, start="clean", steps=6, early_stop=early_stop)
    assert bool(fooled(Pocket(0.4), found, y))
    assert float(found) == pytest.approx(0.4)


def test_the_default_steps_follow_the_squared_half_cosine():
    """In one dimension without an edge in reach each step moves by its own size."""

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.at: list[float] = []

        def forward(self, x: Tensor) -> Tensor:
            self.at.append(float(x.detach().flatten()[0]))
            rise = x.flatten(1)[:, 0]
            return torch.stack([rise + 1, 0 * rise], 1)  # falls towards class 1 as x falls

    steps, eps, watch = 8, 0.1, Watch()
    x, y = torch.full((1, 1, 1, 1), 0.9, dtype=torch.float64), torch.tensor([0])
    found = pgd(Oracle(watch, x, y, bounds=None), x, y, eps=eps, steps=steps, start="clean")
    sizes = [eps / 2 * (1 + math.cos(math.pi * k / steps)) ** 2 for k in range(steps)]
    assert sizes[0] == 2 * eps
    assert watch.at[1] == 0.9
    assert watch.at[2] == pytest.approx(0.8)  # 2 eps, cut to the ball
    assert float(found) == pytest.approx(0.8)
    assert len(watch.at) == steps + 2


def reference_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, size: float, steps: int, mu: float) -> Tensor:
    """BIM and MI-FGSM in linf as their papers write them, every iterate kept: `(steps + 1, b, ...)`."""
    iterates, g = [x.clone()], torch.zeros_like(x)
    for _ in range(steps):
        now = iterates[-1].clone().requires_grad_()
        gradient = torch.autograd.grad(margin(model(now), y).sum(), now)[0]
        g = mu * g + gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
        moved = iterates[-1] + size * g.sign()
        iterates.append(torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1))
    return torch.stack(iterates)


@pytest.mark.parametrize("mu", [0.0, 1.0, 0.7])
def test_bim_and_mi_fgsm_against_their_papers(mu, problem):
    model, inputs, labels = problem
    eps, steps = 0.03, 10
    found = (
        mi_fgsm(model, inputs, labels, eps=eps, steps=steps, momentum=mu)
        if mu
        else bim(model, inputs, labels, eps=eps, steps=steps)
    )
    iterates = reference_pgd(model, inputs, labels, eps, 2.5 * eps / steps, steps, mu)
    values = torch.stack([margin(model(x), labels) for x in iterates])
    for i in range(len(inputs)):
        won = (values[:, i] > 0).nonzero()
        best = int(won[0]) if len(won) else int(values[:, i].argmax())
        torch.testing.assert_close(found[i], iterates[best, i])
    assert 5 < int((values > 0).any(0).sum()) < 35


@pytest.mark.parametrize("norm", NORMS)
def test_bim_and_mi_fgsm_are_settings_of_pgd(norm, problem):
    model, inputs, labels = problem
    options = {"norm": norm, "eps": EPS[norm], "steps": 10}
    same = pgd(model, inputs, labels, start="clean", step_size=2.5 * EPS[norm] / 10, seed=5, **options)
    assert torch.equal(bim(model, inputs, labels, **options), same)
    assert torch.equal(mi_fgsm(model, inputs, labels, momentum=0.0, **options), same)
    same = pgd(model, inputs, labels, start="clean", step_size=2.5 * EPS[norm] / 10, momentum=1.0, **options)
    assert torch.equal(mi_fgsm(model, inputs, labels, **options), same)


class Plateau(nn.Module):
    """No slope at all at the start and beyond it a rise: one zero gradient on the way must not freeze an image."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        at = x.flatten(1).mean(1)
        rise = at if self.calls != 3 else at.detach() + 0 * at
        return torch.stack([torch.full_like(at, 0.55), rise], 1)


@pytest.mark.parametrize("norm", NORMS)
def test_momentum_survives_a_zero_gradient(norm):
    x, y = torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 0])
    eps = {"linf": 0.1, "l2": 0.2, "l1": 0.4}[norm]
    found = mi_fgsm(Plateau(), x, y, norm=norm, eps=eps, steps=6)
    assert torch.isfinite(found).all()
    assert bool((found.flatten(1).mean(1) > 0.55).all())
    assert torch.equal(
        mi_fgsm(Flat(), x, y, norm=norm, eps=eps, steps=4), x
    )  # nothing but zeros: it stays, and is no NaN


@pytest.mark.parametrize("norm", NORMS)
def test_one_step_of_size_eps_is_fgsm(norm, problem):
    model, inputs, labels = problem
    one = pgd(
        model, inputs, labels, norm=norm, eps=EPS[norm], steps=1, step_size=EPS[norm], start="clean", early_stop=False
    )
    step = fgsm(model, inputs, labels, norm=norm, eps=EPS[norm])
    better = margin(model(step), labels) > margin(model(inputs), labels)
    torch.testing.assert_close(one[better], step[better])
    assert int(better.sum()) > 30


def test_starts():
    model, inputs = Curved(), random_images(30)
    labels, seen = model(inputs).argmax(1), []
    model.register_forward_hook(lambda module, args, output: seen.append(args[0].detach().clone()))
    for start in ("clean", "uniform", "corner"):
        seen.clear()
        pgd(model, inputs, labels, eps=0.05, steps=1, start=start)
        d = seen[1] - inputs
        inside = (inputs > 0.05) & (inputs < 0.95)
        if start == "clean":
            assert torch.equal(seen[1], inputs)
        elif start == "uniform":
            assert 0.4 < float((d[inside].abs() / 0.05).mean()) < 0.6
        else:
            assert torch.allclose(d[inside].abs(), torch.full_like(d[inside], 0.05), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eps": -1.0}, "^eps: expected a positive number, got -1"),
        ({"eps": float("nan")}, "^eps: expected a positive number, got nan"),
        ({"eps": 0.1, "steps": 0}, "^steps: expected a whole number of at least 1, got 0"),
        ({"eps": 0.1, "restarts": 0}, "^restarts:"),
        ({"eps": 0.1, "step_size": 0.0}, "^step_size: expected a positive number, got 0"),
        ({"eps": 0.1, "step_size": float("nan")}, "^step_size:"),
        ({"eps": 0.1, "norm": "l0"}, "^norm: expected a norm that pgd attacks in, got 'l0'"),
        ({"eps": 0.1, "start": "middle"}, "^start: .*clean, corner, uniform"),
        ({"eps": 0.1, "loss": "hinge"}, "^loss: expected a loss"),
    ],
)
def test_bad_options_are_one_line(options, said):
    x = random_images(2)
    with pytest.raises(InputError, match=said):
        pgd(Curved(), x, Curved()(x).argmax(1), **options)
