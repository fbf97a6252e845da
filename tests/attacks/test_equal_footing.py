"""The four attacks on an equal footing: what a step adds, where cross-entropy stalls, and a loop written independently."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import equal_footing
from foolscope.errors import InputError
from foolscope.oracle import ZERO, Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

LOSSES = ("ce", "ce_sign", "logit", "m_logit")


def problem(n: int = 12, binary: bool = False) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """Images some of whose components are 0 or 1, or all of them."""
    model, inputs = Curved().double().requires_grad_(False), random_images(n, dtype=torch.float64)
    inputs = inputs.round() if binary else inputs
    labels = model(inputs).argmax(1)
    return model, inputs, labels, (labels + 1) % 3


class Watched(Oracle):
    """Keeps the iterates that it was asked about, by image."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.path = {i: [] for i in range(len(self))}

    def gradient(self, x, rows, loss="margin"):
        self._keep(x, rows)
        return super().gradient(x, rows, loss)

    def value(self, x, rows, loss="margin"):
        self._keep(x, rows)
        return super().value(x, rows, loss)

    def _keep(self, x, rows):
        for place, row in enumerate(rows.tolist()):
            self.path[row].append(x[place].clone())


def path(loss: str, footing: str, step_size: float, *, binary=False, targeted=True, bounds=(0.0, 1.0), steps: int = 12):
    """The iterates of each image, the image first."""
    model, inputs, labels, targets = problem(binary=binary)
    oracle = Watched(model, inputs, labels, targets=targets if targeted else None, bounds=bounds)
    equal_footing(oracle, inputs, labels, loss=loss, footing=footing, step_size=step_size, steps=steps)
    return [torch.stack(each) for each in oracle.path.values() if len(each) > 1]


@pytest.mark.parametrize("binary", [False, True], ids=["mixed", "binary"])
@pytest.mark.parametrize("loss", LOSSES)
def test_equal_perturbation_adds_exactly_that(loss, binary):
    """Also where half of the components are at a wall and cannot move the way they would."""
    paths = path(loss, "perturbation", 0.05, binary=binary)
    assert len(paths) >= 10
    for each in paths:
        sizes = (each[1:] - each[:-1]).flatten(1).norm(dim=1)
        assert torch.allclose(sizes, torch.full_like(sizes, 0.05), rtol=1e-9)


def naive(model, x, label, target, loss, footing, step_size, steps):
    """Equations 11 to 16 for one image: the iterates up to the first that fools. Equal multiplier: in the box; else without one."""
    iterates = [x]
    for _ in range(steps):
        leaf = x[None].detach().requires_grad_()
        z = model(leaf)[0]
        others = (
            torch.cat([z[:target], z[target + 1 :]]) if target is not None else torch.cat([z[:label], z[label + 1 :]])
        )
        if target is not None:
            done = z[target] > others.max()
            j = {"logit": z[target], "m_logit": z[target] - others.max()}.get(loss, z.log_softmax(0)[target])
        else:
            done = z[label] < others.max()
            j = {"logit": -z[label], "m_logit": others.max() - z[label]}.get(loss, -z.log_softmax(0)[label])
        if done:
            break
        p = torch.autograd.grad(j, leaf)[0][0]
        p = p.sign() if loss == "ce_sign" else p
        alpha = step_size if footing == "multiplier" else step_size / p.norm()
        x = (x + alpha * p).clamp(0, 1) if footing == "multiplier" else x + alpha * p
        iterates.append(x)
    return torch.stack(iterates)


@pytest.mark.parametrize("targeted", [True, False], ids=["targeted", "any"])
@pytest.mark.parametrize("footing", ["perturbation", "multiplier"])
@pytest.mark.parametrize("loss", LOSSES)
def test_its_steps_are_those_of_a_loop_written_independently(loss, footing, targeted):
    """Equal perturbation: without a box, where the paper's alpha is ours."""
    bounds = None if footing == "perturbation" else (0.0, 1.0)
    step_size = 0.05 if footing == "perturbation" else {"ce_sign": 0.005}.get(loss, 0.03)
    model, inputs, labels, targets = problem()
    found = path(loss, footing, step_size, bounds=bounds, targeted=targeted, steps=8)
    standing = (model(inputs).argmax(1) != targets).nonzero().flatten().tolist() if targeted else range(len(inputs))
    lengths = []
    for each, i in zip(found, standing, strict=True):
        target = int(targets[i]) if targeted else None
        wanted = naive(model, inputs[i], int(labels[i]), target, loss, footing, step_size, 8)
        assert len(each) == len(wanted)
        assert torch.allclose(each, wanted, atol=1e-12)
        lengths.append(len(each) - 1)
    assert sum(lengths) > 20
    assert min(lengths) < 8  # some were fooled on the way


def confident(gap: float) -> tuple[nn.Module, Tensor, Tensor]:
    """A network whose logits are apart by `gap` at its only image, as exactly as float32 allows."""
    model = nn.Linear(4, 3)
    model.weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]]))
    model.bias.data.copy_(torch.tensor([gap, 0.0, 0.0]))
    return model, torch.full((1, 4), 0.5), torch.tensor([0])


@pytest.mark.parametrize(("gap", "alive"), [(16.0, True), (100.0, True), (104.0, False), (1000.0, False)])
@pytest.mark.parametrize("loss", ["ce", "ce_sign"])
def test_cross_entropy_stalls_at_a_gap_of_104(loss, gap, alive):
    """exp(-104) is 0 in float32, so its gradient is 0, and its sign too; the logits' own gradients do not care."""
    model, x, labels = confident(gap)
    oracle = Watched(model, x, labels)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = equal_footing(oracle, x, labels, loss=loss, steps=5)
    assert torch.equal(result, x)
    assert (len(oracle.path[0]) == 6) is alive
    assert (oracle.state.tolist() == [ZERO]) is not alive
    assert bool(said) is not alive  # a dead gradient is not passed over in silence
    for margin_loss in ("logit", "m_logit"):
        other = Watched(model, x, labels)
        equal_footing(other, x, labels, loss=margin_loss, steps=5)
        assert len(other.path[0]) == 6


def test_an_image_that_stalls_costs_no_further_pass():
    model, x, labels = confident(104.0)
    oracle = Oracle(model, x, labels)
    with pytest.warns(UserWarning, match="loss=ce"):
        equal_footing(oracle, x, labels, loss="ce", steps=50)
    assert oracle.backwards.tolist() == [1]


def test_kappa_goes_on_until_the_margin_of_the_logits_is_that():
    model, inputs, labels, _ = problem()
    reached = []
    for kappa in (0.0, 0.5, 2.0):
        x = equal_footing(model, inputs, labels, kappa=kappa, step_size=0.02)
        z = model(x)
        other = z.scatter(1, labels[:, None], -torch.inf).amax(1) - z.gather(1, labels[:, None]).squeeze(1)
        moved = (x != inputs).flatten(1).any(1)
        assert moved.sum() > 6
        assert (other[moved] >= kappa).all()
        reached.append((x - inputs).flatten(1).norm(dim=1)[moved].mean())
    assert reached[0] < reached[1] < reached[2]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"norm": "linf"}, "norm"),
        ({"loss": "margin"}, "loss"),
        ({"footing": "equal"}, "footing"),
        ({"steps": 0}, "steps"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": float("inf")}, "step_size"),
        ({"kappa": -1.0}, "kappa"),
        ({"loss": "ce", "kappa": 1.0}, "kappa"),
    ],
)
def test_bad_options_are_said_so(options, argument):
    model, inputs, labels, _ = problem(2)
    with pytest.raises(InputError, match=argument):
        equal_footing(model, inputs, labels, **options)
