"""Faults that were found in other libraries (PF1 to PF8 and PF11): each a check that every attack it concerns passes, and that an attack
with the fault fails.
"""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import foolscope
from foolscope import ledger
from foolscope.attacks import ATTACKS, bind
from foolscope.auditing.battery import battery
from foolscope.bench.optimality import local_optimality
from foolscope.errors import ForeignError
from foolscope.oracle import Oracle
from foolscope.testing.conformance import CHECKS
from foolscope.testing.measure import fooled
from foolscope.testing.models import Curved, random_images

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = [(row, norm) for row in ATTACKS.values() for norm in row.norms]
MINIMAL = [(row, norm) for row, norm in ROWS if row.kind == "minimal norm"]
EPS = {"linf": 0.1, "l2": 0.6, "l1": 2.5, "l0": 3}
HAS_STEPS = [case for case in ROWS if "steps" in inspect.signature(case[0].function).parameters]


def each(cases):
    return pytest.mark.parametrize(
        ("row", "norm"), [pytest.param(row, norm, id=f"{row.name}-{norm}") for row, norm in cases]
    )


def faulty(function, like="pgd"):
    """A row like one of ours, with another function."""
    return replace(ATTACKS[like], name=function.__name__, function=function)


@pytest.fixture(scope="module")
def right(_trained, digits_data):
    """The digits network, and 50 digits that it gets right."""
    images, labels = digits_data
    good = _trained(images).argmax(1) == labels
    return copy.deepcopy(_trained).eval(), images[good][:50], labels[good][:50]


def gradient_of_margin(model, x, labels):
    x = x.detach().clone().requires_grad_()
    logits = model(x)
    margin = logits.scatter(1, labels[:, None], -torch.inf).amax(1) - logits.gather(1, labels[:, None])[:, 0]
    return margin.detach(), torch.autograd.grad(margin.sum(), x)[0]


# -- PF1: a projection that never projects, so that a minimal-norm attack is plain gradient ascent ---------------------


@each([case for case in ROWS if case[0].kind == "fixed eps"])
def test_pf1_projections_project(row, norm):
    CHECKS["result"](row, norm)


@each(MINIMAL)
def test_pf1_a_linear_model_is_solved(row, norm):
    CHECKS["inactive box"](row, norm)


def test_pf1_an_attack_that_never_projects_fails():
    def climbs(model, inputs, labels, *, norm="l2", steps=100, seed=0, eps=None, targets=None):
        """foolbox's L2FMNAttack: `minimum(1, norms / norms)` is 1."""
        best, x = inputs.clone(), inputs
        for _ in range(steps):
            margin, gradient = gradient_of_margin(model, x, labels)
            best = torch.where(((margin > 0) & (best == inputs).flatten(1).all(1)).view(-1, 1, 1, 1), x, best)
            x = (x + gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).clamp(0, 1)
        return best if eps is None else x

    with pytest.raises(AssertionError, match="median of size / optimum"):
        CHECKS["inactive box"](faulty(climbs, "fmn"), "l2")
    with pytest.raises(AssertionError, match="left the ball"):
        CHECKS["result"](faulty(climbs), "l2")


# -- PF2: the clean image, handed back as if it were an answer; PF7: fooling images that 8 bits undo, without a word ----


@pytest.fixture(scope="module")
def evaluated(right, tmp_path_factory):
    """The evaluation of an attack on the digits, run once for all tests here."""
    model, images, labels = right
    done = {}

    def run(row, norm):
        if (row.name, norm) not in done:
            out = tmp_path_factory.mktemp("evaluated") / "out"
            done[row.name, norm] = foolscope.evaluate(model, (images, labels), row.name, norm=norm, out=out)
        return done[row.name, norm]

    return run


def check_finds(done):
    assert done.record["fooled"] >= 0.99 * done.record["n"], "the clean image instead of an answer"


@each(MINIMAL)
def test_pf2_no_clean_image_instead_of_an_answer(row, norm, evaluated):
    check_finds(evaluated(row, norm))


def test_pf2_an_attack_that_stops_just_inside_the_boundary_fails(right, tmp_path):
    model, images, labels = right
    near = foolscope.attacks.fmn(model, images, labels, norm="l2")
    torch.save(images + 0.99 * (near - images), tmp_path / "inside.pt")
    (tmp_path / "inside.py").write_text(
        "import torch\ndef inside(model, inputs, labels, *, norm='l2'):\n"
        f"    return torch.load({str(tmp_path / 'inside.pt')!r})[: len(inputs)]\n"
    )
    done = foolscope.evaluate(model, (images, labels), f"{tmp_path / 'inside.py'}:inside", norm="l2")
    assert done.record["fooled"] < 40
    assert set(np.array(done.samples["outcome"])[np.array(done.samples["distance_l2"]) > 0].tolist()) <= {"fooled"}
    with pytest.raises(AssertionError, match="clean image"):
        check_finds(done)


def check_8_bits_told(done, model):
    kept = load_file(done.folder / "adversarial.safetensors")
    levels = (kept["adversarial"].double() * 255).round().to(torch.uint8)
    survives = fooled(model, levels.float() / 255, kept["label"])
    told = np.array(done.samples["survives_8bit"])[kept["index"]].astype(bool)
    assert np.array_equal(told, survives.numpy()), "told wrongly whether it survives 8 bits"
    return int(survives.sum()), len(survives)


@each(MINIMAL)
def test_pf7_whether_it_survives_8_bits_is_said_and_right(row, norm, evaluated, right):
    survive, found = check_8_bits_told(evaluated(row, norm), right[0])
    assert found >= 45
    if norm in ("linf", "l2"):
        assert 0 < survive < found  # something to be told


def test_pf7_a_tool_that_does_not_look_fails(right, tmp_path, monkeypatch):
    model, images, labels = right
    judge = ledger.judge
    monkeypatch.setattr(
        ledger, "judge", lambda *args: (verdict := judge(*args)) | {"survives_8bit": verdict["found"].clone()}
    )
    done = foolscope.evaluate(model, (images, labels), "fmn:steps=20", norm="l2", out=tmp_path / "out")
    with pytest.raises(AssertionError, match="told wrongly"):
        check_8_bits_told(done, model)


# -- PF3: an attack, or a battery, that runs fewer steps than it says --------------------------------------------------


class Unbeatable(nn.Module):
    """`Curved`, always of the opinion that it is class 0; counts, by hooks of PyTorch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Curved().body.requires_grad_(False)
        self.forwards = self.backwards = 0
        self.register_forward_hook(lambda module, args, output: self.count(forwards=len(output)))
        self.body[1].register_full_backward_hook(lambda module, inner, outer: self.count(backwards=len(outer[0])))

    def count(self, forwards: int = 0, backwards: int = 0) -> None:
        self.forwards, self.backwards = self.forwards + forwards, self.backwards + backwards

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + torch.tensor([100.0, 0.0, 0.0])


def promised(row, options):
    """Forwards and backwards an image, from the row's words for its cost: `f` a forward, `g` a forward and a backward."""
    parameters = inspect.signature(row.function).parameters
    values = (
        {key: p.default for key, p in parameters.items()} | options | {"candidates": 3, "targeted_classes": 1}
    )  # three classes; no targets
    formula = re.sub(r" ([fg])\b", r" * \1", row.cost.replace(" x ", " * "))
    return tuple(eval(formula, {}, values | {"f": f, "g": 1}) for f in (1, 0))


def check_steps(row, norm, text):
    """Nobody is fooled, so that hardly anybody leaves early: no pass more than was promised, and no tenth of the steps less."""
    inputs, labels, model = random_images(3), torch.zeros(3, dtype=torch.int64), Unbeatable().eval()
    attack = bind(text, None if row.name in ATTACKS else row.function, norm=norm, eps=EPS[norm], steps=100)
    attack(Oracle(model, inputs, labels))
    forwards, backwards = promised(row, attack.options)
    assert model.forwards <= (forwards + 1) * len(inputs), "more forwards than promised"  # the clean pass is shared
    assert model.backwards <= backwards * len(inputs), "more backwards than promised"
    assert (model.backwards if row.gradient else model.forwards) >= 0.9 * attack.budget * len(inputs), "fewer steps"


@each(HAS_STEPS)
@pytest.mark.parametrize("steps", [7, 23])
def test_pf3_the_steps_asked_for_are_run(row, norm, steps):
    check_steps(row, norm, f"{row.name}:steps={steps}")


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_pf3_the_battery_runs_the_steps_it_says(effort):
    for step in battery(effort, "linf"):
        check_steps(ATTACKS[step.attack.partition(":")[0]], "linf", step.attack)


def test_pf3_an_attack_of_ten_steps_by_another_name_fails():
    def ten(model, inputs, labels, *, norm, eps, steps=100, restarts=1):
        return foolscope.attacks.pgd(model, inputs, labels, norm=norm, eps=eps, steps=10, restarts=restarts)

    with pytest.raises(AssertionError, match="fewer steps"):
        check_steps(faulty(ten), "linf", "ten")


# -- PF4: pixels at exactly 0 or 1 that a change of variables can never move ------------------------------------------


@each(ROWS)
def test_pf4_pixels_at_0_and_1_move(row, norm):
    CHECKS["extreme pixels"](row, norm)


def test_pf4_an_attack_that_cannot_move_them_fails():
    def tanh(model, inputs, labels, **options):
        return torch.where(
            (inputs == 0) | (inputs == 1), inputs, foolscope.attacks.pgd(model, inputs, labels, **options)
        )

    with pytest.raises(AssertionError, match="no black pixel"):
        CHECKS["extreme pixels"](faulty(tanh), "l2")


# -- PF5: logits times a hundred, and the network passes for robust ---------------------------------------------------


class Louder(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 100 * self.body(x)


def check_scale(right, text, norm, allowed=0, dtype=torch.float64):
    model, images, labels = copy.deepcopy(right[0]).to(dtype), right[1][:16].to(dtype), right[2][:16]
    fooled_by = [
        fooled(model, bind(text, norm=norm, eps=EPS[norm])(Oracle(seen, images, labels)), labels)
        for seen in (model, Louder(model))
    ]
    assert bool(fooled_by[0].any())
    assert int((fooled_by[0] != fooled_by[1]).sum()) <= allowed, "another verdict on louder logits"


@each([case for case in ROWS if case[0].kind != "control"])
def test_pf5_logits_times_a_hundred_change_no_verdict(row, norm, right):
    # step_ll has cross-entropy by definition: another scale is a slightly other direction, but none that vanishes
    short = {"minimal": ":radii=3", "hybrid": ":steps=20,rounds=1", "equal_footing": ":steps=100"}
    text = row.name + short.get(row.name, ":steps=20" if (row, norm) in HAS_STEPS else "")
    check_scale(right, text, norm, allowed=2 if row.name == "step_ll" else 0)


@pytest.mark.filterwarnings("ignore:loss=ce")
def test_pf5_cross_entropy_fails(right):
    with pytest.raises(AssertionError, match="another verdict"):
        check_scale(right, "pgd:loss=ce,start=clean", "linf", dtype=torch.float32)


# -- PF6: results that hang on the other images of the batch ----------------------------------------------------------


@each(ROWS)
def test_pf6_an_image_has_the_same_result_in_any_batch(row, norm):
    CHECKS["batch independence"](row, norm)


def test_pf6_an_attack_that_stops_by_the_loss_of_the_batch_fails():
    def stops(model, inputs, labels, *, eps, norm="l2", seed=0, steps=10, targets=None):
        x = inputs
        for _ in range(steps):
            margin, gradient = gradient_of_margin(model, x, labels)
            if margin.mean() > -0.05:
                break
            x = (x + eps / steps * gradient.sign()).clamp(0, 1)
        return x.detach()

    with pytest.raises(AssertionError, match="alone an image has another result"):
        CHECKS["batch independence"](faulty(stops), "linf")


# -- PF8: a score that credits an attack which always fails -----------------------------------------------------------


def check_null_score(score):
    best = np.linspace(0.01, 1, 100)
    assert score(best, best) == pytest.approx(1)
    assert score(np.full(100, np.inf), best) == 0, "credit for nothing"


def test_pf8_an_attack_that_always_fails_scores_nothing():
    check_null_score(local_optimality)


def test_pf8_straight_lines_between_the_points_fail():
    def trapezoid(distance, best):
        eps0 = best.max()

        def area(d):
            points = np.unique(np.r_[0, d[np.isfinite(d)], eps0])
            still = np.array(
                [(d > eps).mean() for eps in points[:-1]] + [0.0]
            )  # a line to (max, 0), whoever stands there
            return np.trapezoid(still, points)

        return (eps0 - area(distance)) / (eps0 - area(best))

    with pytest.raises(AssertionError, match="credit for nothing"):
        check_null_score(trapezoid)


# -- PF11: gradients left on the model, in a run that ends well or not ------------------------------------------------


@each(ROWS)
def test_pf11_an_attack_leaves_no_gradients_on_the_model(row, norm):
    CHECKS["untouched"](row, norm)


def test_pf11_an_attack_that_calls_backward_fails():
    def backward(model, inputs, labels, *, eps, norm="linf", seed=0, steps=1, targets=None):
        x = inputs.clone().requires_grad_()
        nn.functional.cross_entropy(model(x), labels).backward()
        return (inputs + eps * x.grad.sign()).clamp(0, 1)

    with pytest.raises(AssertionError, match="changed the model's gradients"):
        CHECKS["untouched"](faulty(backward), "linf")


class FailsLate(nn.Module):
    def __init__(self, body: nn.Module, after: float) -> None:
        super().__init__()
        self.body, self.after, self.calls = body, after, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls > self.after:
            raise ArithmeticError("no more")
        return self.body(x)


@pytest.mark.parametrize("after", [2, float("inf")])
@pytest.mark.parametrize("run", ["audit", "evaluate"])
def test_pf11_a_training_loop_goes_on_as_if_nothing_had_happened(run, after, right):
    """Gradients, modes and flags of a model in the middle of training, before and after a run."""
    body, images, labels = copy.deepcopy(right[0]), *right[1:]
    body.train()
    first, *rest = body.parameters()
    first.requires_grad_(False)
    nn.functional.cross_entropy(body(images), labels).backward()
    model = FailsLate(body, after)
    before = copy.deepcopy([(p.detach(), p.grad, p.requires_grad) for p in model.parameters()])
    call = partial(foolscope.audit, effort="quick") if run == "audit" else foolscope.evaluate
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model given in train mode is worth a word
            call(model, (images[:10], labels[:10]), eps=0.05)
        raised = False
    except ForeignError:
        raised = True
    assert raised == (after == 2)
    assert all(part.training for part in model.modules())
    for p, (value, gradient, flag) in zip(model.parameters(), before, strict=True):
        assert torch.equal(p, value)
        assert p.requires_grad == flag
        assert (p.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(p.grad, gradient)
    assert first.grad is None
    assert all(p.grad is not None for p in rest)
