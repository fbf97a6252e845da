"""APGD: its checkpoints are the paper's, its path that of a loop written independently, and its targets are all tried."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import apgd
from foolscope.attacks.apgd import _checkpoints
from foolscope.errors import InputError
from foolscope.losses import get_loss, margin
from foolscope.norms import NORMS as ROWS
from foolscope.oracle import Oracle
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

EPS = {"linf": 0.04, "l2": 0.25, "l1": 1.2}
NORMS = sorted(EPS)


@pytest.fixture(scope="module")
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    model, inputs = Curved().double().requires_grad_(False), random_images(40, dtype=torch.float64)
    return model, inputs, model(inputs).argmax(1)


@pytest.mark.parametrize("steps", [50, 100, 200, 1000])
def test_the_checkpoints_are_the_papers(steps):
    """p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), in whole percents (sec. 3.2)."""
    before, now, shares = 0, 22, []
    while now < 100:
        shares.append(now)
        before, now = now, now + max(now - before - 3, 6)
    assert shares[:4] == [22, 41, 57, 70]
    # windows are whole steps: of 50, the first has 11, each next 1 less, none less than 3
    wanted = {share * steps // 100 for share in shares} if steps >= 100 else {11, 21, 30, 38, 45}
    assert {at for at in _checkpoints(ROWS["linf"], steps) if at < steps} - {48, 49} == wanted


def reference(model, x, label, norm, eps, steps, loss):
    """Algorithm 1, for one image in an unbounded space, from the image itself: the iterate of the largest loss."""
    origin, function = x, get_loss(loss).function
    clean = model(x).detach()

    def look(x: Tensor) -> tuple[float, Tensor]:
        x = x.detach().requires_grad_()
        value = function(model(x), label, None, clean)
        return value.item(), torch.autograd.grad(value.sum(), x)[0]

    def back(z: Tensor) -> Tensor:
        d = z - origin
        return origin + (
            d.clamp(-eps, eps) if norm == "linf" else d * min(1.0, eps / float(d.norm().clamp_min(1e-300)))
        )

    def uphill(g: Tensor) -> Tensor:
        return g.sign() if norm == "linf" else g / g.norm()

    size, (value, slope), old = 2 * eps, look(x), x
    best, best_x, best_slope = value, x, slope
    checkpoints = sorted(_checkpoints(ROWS["linf"], steps))
    rises, last, halved, best_then, restored = 0, 0, True, -math.inf, 0
    for step in range(1, steps + 1):
        z = back(x + size * uphill(slope))
        weight = 1.0 if step == 1 else 0.75
        x, old = back(x + weight * (z - x) + (1 - weight) * (x - old)), x
        before = value
        value, slope = look(x)
        rises += value > before
        if value > best:
            best, best_x, best_slope = value, x, slope
        if step in checkpoints:
            poor = rises <= 0.75 * (step - last) or (not halved and best <= best_then)
            if poor:
                size, x, slope, restored = size / 2, best_x, best_slope, restored + 1
            rises, last, halved, best_then = 0, step, poor, best
    return best_x, best, restored


@pytest.mark.parametrize("loss", ["margin", "ce", "dlr"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_its_path_is_that_of_a_loop_written_independently(norm, loss, problem):
    model, inputs, labels = (part if isinstance(part, nn.Module) else part[:12] for part in problem)
    oracle = Oracle(model, inputs, labels, bounds=None)
    eps = EPS[norm] / 4  # too small to fool: the best iterate is then the one of the largest loss alone
    x = apgd(oracle, inputs, labels, norm=norm, eps=eps, steps=60, start="clean", loss=loss, early_stop=False)
    standing = model(x).argmax(1) == labels
    assert standing.sum() >= 6
    restored = 0
    for i in standing.nonzero().flatten().tolist():
        found, best, count = reference(model, inputs[i : i + 1], labels[i : i + 1], norm, eps, 60, loss)
        reached = get_loss(loss).function(model(x[i : i + 1]), labels[i : i + 1], None, model(inputs[i : i + 1]))
        assert reached.item() == pytest.approx(best, rel=1e-6)
        assert (found - x[i : i + 1]).abs().max() < 1e-6
        restored += count
    assert restored > 0  # or going back to the best point was not tested


def ladder() -> tuple[nn.Module, Tensor, Tensor]:
    """Five classes; 1 is the likeliest wrong one and out of reach, then come 2, 3 and 4, each of which climbs faster."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5))
    weight = torch.zeros(5, 6)
    weight[2, 0], weight[3, 1], weight[4, 2] = 1.0, 4.0, 16.0
    model[1].weight.data.copy_(weight)
    model[1].bias.data.copy_(torch.tensor([1.0, 0.9, 0.3, -1.2, -6.9]) - weight @ torch.full((6,), 0.5))
    return model.eval(), torch.full((3, 1, 2, 3), 0.5), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(("classes", "found"), [(1, False), (2, False), (3, False), (4, True), (9, True)])
def test_each_of_the_classes_asked_for_is_aimed_at(classes, found, monkeypatch):
    model, inputs, labels = ladder()
    aims, aimed = [], Oracle.aimed

    def recorded(self: Oracle, towards: Tensor) -> Oracle:
        aims.append(towards.tolist())
        return aimed(self, towards)

    monkeypatch.setattr(Oracle, "aimed", recorded)
    # z_4 = -6.9 + 16 * 0.499 > 1, the label's logit; no other class gets there
    x = apgd(model, inputs, labels, eps=0.499, steps=10, targeted_classes=classes, start="clean")
    assert bool((model(x).argmax(1) == 4).all()) is found
    assert aims == [[c] * 3 for c in range(1, min(classes, 4) + 1)]


def test_any_wrong_class_counts_on_the_way_to_another():
    model, inputs, labels = ladder()
    model[1].weight.data[1, 0] = 1.0  # what raises class 2 raises class 1 too, which is ahead of it
    x = apgd(model, inputs, labels, eps=0.2, steps=10, targeted_classes=2, start="clean")
    assert (model(x).argmax(1) == 1).all()


def test_restarts_never_make_it_worse(problem):
    model, inputs, labels = problem
    gained = 0
    for norm in NORMS:
        once, often = (apgd(model, inputs, labels, norm=norm, eps=EPS[norm], steps=6, restarts=k) for k in (1, 4))
        won = model(once).argmax(1) != labels
        assert (model(often).argmax(1) != labels)[won].all()
        gain = (margin(model(often), labels) - margin(model(once), labels))[~won]
        assert (gain >= 0).all()
        gained += int((gain > 0).sum())
    assert gained > 0


@pytest.mark.parametrize("norm", NORMS)
def test_what_early_stop_returns_is_fooled_too_when_it_goes_on(norm, problem):
    model, inputs, labels = problem
    stopped, whole = (
        apgd(model, inputs, labels, norm=norm, eps=EPS[norm], steps=20, early_stop=stop) for stop in (True, False)
    )
    assert torch.equal(model(stopped).argmax(1) != labels, model(whole).argmax(1) != labels)
    # Fewer images a pass may round otherwise.
    assert (margin(model(whole), labels) >= margin(model(stopped), labels) - 1e-12).all()


def test_images_leave_when_they_are_fooled(problem):
    model, inputs, labels = problem
    oracle = Oracle(model, inputs, labels)
    x = apgd(oracle, inputs, labels, eps=EPS["linf"], steps=20, targeted_classes=2)
    fooled = model(x).argmax(1) != labels
    assert fooled.any()
    assert not fooled.all()
    assert (oracle.backwards[~fooled] == 40).all()  # two classes, twenty gradients each
    assert (oracle.forwards[~fooled] == 1 + 2 * 21).all()  # the clean pass, and a last look each
    assert (oracle.backwards[fooled] <= 40).all()
    assert (oracle.backwards[fooled] < 20).any()


def test_k_falls_to_the_components_that_are_still_to_be_settled():
    """In l1 most components of the best change are at a wall: counted as changed, they would keep k from falling to the last one."""
    weight = torch.linspace(2, 1, 40) * torch.tensor([[-1.0], [1.0]])
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 2, bias=False))
    model[1].weight.data.copy_(weight)
    inputs = torch.full((1, 40), 0.1)  # eps = 3.05 makes thirty components black and changes one by half
    found = apgd(model, inputs, torch.tensor([1]), norm="l1", eps=3.05, loss="logit", early_stop=False)
    fall = (inputs - found)[0]
    assert torch.allclose(fall[:30], torch.tensor(0.1), atol=1e-5)
    assert fall[30].item() == pytest.approx(0.05, abs=1e-3)
    assert fall[31:].abs().max() < 1e-3


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"targeted_classes": -1}, "targeted_classes"),
        ({"targeted_classes": 1, "targets": torch.tensor([1, 1, 1])}, "targeted_classes"),
        ({"norm": "l0"}, "norm"),
        ({"loss": "hinge"}, "loss"),
        ({"start": "middle"}, "start"),
        ({"steps": 0}, "steps"),
        ({"restarts": 0}, "restarts"),
    ],
)
def test_bad_options_are_said_so(options, argument):
    model, inputs, labels = ladder()
    with pytest.raises(InputError, match=argument):
        apgd(model, inputs, labels, **{"eps": 0.1, **options})
    if "targets" in options:
        oracle = Oracle(model, inputs, labels, targets=options["targets"])
        with pytest.raises(InputError, match=argument):
            apgd(oracle, inputs, labels, eps=0.1, targeted_classes=1)
