"""What every attack must keep to, as plain functions that raise AssertionError; `check_attack` runs them all."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.testing.affine import affine_problem
from foolscope.testing.exactness import (
    check_active_box,
    check_curved_boundary,
    check_inactive_box,
    check_many_classes,
    check_no_box,
    check_relu_network,
    check_sphere,
    check_targets,
)
from foolscope.testing.measure import EPS, check_norm, fooled, require, require_inside, run
from foolscope.testing.models import BrokenGradient, Curved, Flat, Steps, random_images

if TYPE_CHECKING:
    from foolscope.attacks import Attack

Check = Callable[["Attack", str], None]


def check_result(row: Attack, norm: str) -> None:
    """Shape, dtype and device are the inputs'; the result is finite, needs no gradient and lies in ball and box."""
    for dtype in (torch.float32, torch.float64):
        model, inputs = Curved().to(dtype), random_images(8, dtype=dtype)
        labels = model(inputs).argmax(1)
        result = run(row, model, inputs, labels, norm, few=True)
        require_inside(row, norm, result, inputs, eps=_radius(row, norm))


def check_box_and_ball(row: Attack, norm: str) -> None:
    """The box holds to the bit, other boxes than [0, 1] and none included; the ball for small, usual and huge eps."""
    model = Curved()
    boxes: list[tuple[float, float] | None] = [(0.0, 1.0), (-1.0, 1.5)]
    for bounds in boxes if norm == "l0" else [*boxes, None]:  # without a box, l0 means nothing
        inputs = random_images(8)
        if bounds is not None:
            inputs = bounds[0] + (bounds[1] - bounds[0]) * inputs
        labels = model(inputs).argmax(1).detach()
        for factor in (1.0,) if row.kind == "minimal norm" else (0.2, 1.0, 5.0):
            eps = max(1.0, round(factor * EPS[norm])) if norm == "l0" else factor * EPS[norm]
            result = run(row, model, inputs, labels, norm, eps=eps, bounds=bounds, few=True)
            require_inside(row, norm, result, inputs, eps=eps if _radius(row, norm) else None, bounds=bounds)


def check_untouched(row: Attack, norm: str) -> None:
    """Inputs, labels and the model (values, gradients, modes, hooks) are as before, also after a model that raised."""
    for failing_call in (None, 1, 3):
        model = _Failing(failing_call)
        parameters = dict(model.named_parameters())
        for i, parameter in enumerate(parameters.values()):  # a model in the middle of something
            parameter.grad = torch.full_like(parameter, float(i)) if i % 2 else None
        parameters["body.body.1.bias"].requires_grad_(False)
        model.body.body[4].train()
        inputs = random_images(8)
        labels = torch.zeros(8, dtype=torch.int64)
        before = copy.deepcopy(_state(model)), inputs.clone(), labels.clone()
        try:
            run(row, model, inputs, labels, norm, few=True)
        except Exception:
            if failing_call is None:
                raise
        after = _state(model), inputs, labels
        when = f" after call {failing_call} of the model raised" if failing_call else ""
        require(torch.equal(after[1], before[1]), row, norm, f"changed its inputs{when}")
        require(inputs.grad is None and not inputs.requires_grad, row, norm, f"left a gradient on its inputs{when}")
        require(torch.equal(after[2], before[2]), row, norm, f"changed its labels{when}")
        for what, value in before[0].items():
            require(_same(value, after[0][what]), row, norm, f"changed the model's {what}{when}")


def check_seed(row: Attack, norm: str) -> None:
    """The same seed gives the same bits, whatever the global generators hold; those are neither drawn from nor set."""
    model, inputs = Curved(), random_images(8)
    labels = model(inputs).argmax(1).detach()
    results = []
    for state in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(state)
            kept = random.getstate(), np.random.get_state(legacy=False)
            random.seed(state), np.random.seed(state)
            before = _generators()
            results.append(run(row, model, inputs, labels, norm, seed=7, few=True))
            after = _generators()
            random.setstate(kept[0]), np.random.set_state(kept[1])
            require(before == after, row, norm, "drew from, or set, a global random generator")
    require(torch.equal(*results), row, norm, "the same seed gave another result")


def check_batch_independence(row: Attack, norm: str) -> None:
    """An image alone, in another order or among others has the same result, to 1e-6 in float64.

    An ``Oracle`` tells the attack each image's index, which is all that its random draws may hang on.
    """
    model, inputs = Curved().double(), random_images(8, dtype=torch.float64)
    labels = model(inputs).argmax(1).detach()
    labels[2] = (labels[2] + 1) % 3  # one that is wrong from the start
    index = torch.arange(20, 28)
    together = run(row, model, inputs, labels, norm, index=index, few=True)

    def compare(places: Tensor, result: Tensor, how: str) -> None:
        apart = float((result[: len(places)] - together[places]).abs().max())
        require(apart <= 1e-6, row, norm, f"{how} an image has another result, by {apart:.3g}")

    for i in range(len(inputs)):
        place = torch.tensor([i])
        compare(place, run(row, model, inputs[place], labels[place], norm, index=index[place], few=True), "alone")
    order = torch.tensor([5, 2, 7, 0, 1, 6, 4, 3])
    compare(
        order, run(row, model, inputs[order], labels[order], norm, index=index[order], few=True), "in another order"
    )
    mates = random_images(9, dtype=torch.float64, seed=1)
    wider = torch.cat([inputs[order], mates]), torch.cat([labels[order], model(mates).argmax(1).detach()])
    indices = torch.cat([index[order], torch.arange(9)])
    compare(order, run(row, model, *wider, norm, index=indices, few=True), "among other images")


def check_no_gradient(row: Attack, norm: str) -> None:
    """A flat loss and a model that cuts the graph: a finite result in ball and box. A warning is welcome."""
    _check_survives(row, norm, Flat(), Steps())


def check_broken_gradient(row: Attack, norm: str) -> None:
    """Gradients that are NaN, or infinite at some pixels: a finite result in ball and box. A warning is welcome."""
    _check_survives(row, norm, BrokenGradient(), BrokenGradient(only_at_zero=True))


def check_misclassified(row: Attack, norm: str) -> None:
    """Images that the model gets wrong already stay wrong and don't spoil the others."""
    problem = affine_problem(32, norm=norm)
    labels = problem.labels.clone()
    labels[::2] = 1 - labels[::2]
    eps = _generous(row, norm, float(problem.distance.max()))
    result = run(row, problem.model, problem.inputs, labels, norm, eps=eps)
    require_inside(row, norm, result, problem.inputs, eps=eps if _radius(row, norm) else None)
    if row.kind != "control":
        now = fooled(problem.model, result, labels)
        require(now[::2].all(), row, norm, "put an image right that was misclassified")
        if row.gradient:
            require(now[1::2].all(), row, norm, "misclassified images in the batch kept it from fooling the others")


def check_extreme_pixels(row: Attack, norm: str) -> None:
    """Pixels that are exactly 0 or 1 move inwards."""
    problem = affine_problem(64, box="active", norm=norm)
    binary = ((problem.inputs == 0) | (problem.inputs == 1)).flatten(1).all(1)
    inputs, labels = problem.inputs[binary], problem.labels[binary]
    result = run(row, problem.model, inputs, labels, norm, eps=_generous(row, norm, float(problem.distance.max())))
    require_inside(row, norm, result, inputs)
    for value, name in ((0, "black"), (1, "white")):
        require(
            (result[inputs == value] != value).any(),
            row,
            norm,
            f"no {name} pixel of a binary image ever moved",
        )


def check_small_batches(row: Attack, norm: str) -> None:
    """A batch of one image, and of none."""
    model = Curved()
    for n in (1, 0):
        inputs = random_images(n)
        result = run(row, model, inputs, torch.zeros(n, dtype=torch.int64), norm, few=True)
        require_inside(row, norm, result, inputs, eps=_radius(row, norm))


CHECKS: dict[str, Check] = {
    "result": check_result,
    "box and ball": check_box_and_ball,
    "untouched": check_untouched,
    "seed": check_seed,
    "batch independence": check_batch_independence,
    "no gradient": check_no_gradient,
    "broken gradient": check_broken_gradient,
    "misclassified": check_misclassified,
    "extreme pixels": check_extreme_pixels,
    "small batches": check_small_batches,
    "inactive box": check_inactive_box,
    "active box": check_active_box,
    "no box": check_no_box,
    "many classes": check_many_classes,
    "targets": check_targets,
    "curved boundary": check_curved_boundary,
    "sphere": check_sphere,
    "ReLU network": check_relu_network,
}


def checks_for(row: Attack, norm: str) -> dict[str, Check]:
    """The checks that concern a row in one norm: no targets for attacks that take none, `curved boundary` in l2 alone.

    Raises:
        InputError: a norm that the row does not have.
    """
    check_norm(row, norm)
    left_out = set() if row.targeted else {"targets"}
    if norm != "l2":
        left_out.add("curved boundary")
    if norm == "l0":
        left_out.add("no box")  # without a box, one component can be changed without end
    return {name: check for name, check in CHECKS.items() if name not in left_out}


def check_attack(row: Attack, norms: tuple[str, ...] | None = None) -> None:
    """Runs every check that concerns an attack, and tells all that failed.

    Args:
        row: the attack; for one of your own, ``foolscope.attacks.Attack(...)``.
        norms: None: all of the row's.

    Raises:
        AssertionError: a line for each check that failed.
        InputError: a norm that the row does not have.
    """
    complaints = []
    for norm in row.norms if norms is None else norms:
        for name, check in checks_for(row, norm).items():
            try:
                check(row, norm)
            except AssertionError as failure:
                complaints.append(f"[{name}] {failure}")
            except Exception as error:  # whatever an attack raises is a finding, no crash of the suite
                complaints.append(f"[{name}] {row.name}, {norm}: raised {type(error).__name__}: {error}")
    if complaints:
        raise AssertionError("\n".join(complaints))


def _check_survives(row: Attack, norm: str, *models: nn.Module) -> None:
    inputs = random_images(8)
    for model in models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = run(row, model, inputs, model(inputs).argmax(1).detach(), norm, few=True)
        require_inside(row, norm, result, inputs, eps=_radius(row, norm))


def _radius(row: Attack, norm: str) -> float | None:
    """The eps that `run` uses by default, None for attacks without one."""
    return None if row.kind == "minimal norm" else EPS[norm]


def _generous(row: Attack, norm: str, distance: float) -> float:
    """An eps at which the row promises to fool an image that is ``distance`` away."""
    promise = row.tolerance.get(norm, 1.0)
    factor = promise if isinstance(promise, (int, float)) else 1.0
    eps = 1.5 * distance * min(max(factor, 1.0), 3.0)
    return float(np.ceil(eps)) if norm == "l0" else eps


class _Failing(nn.Module):
    """`Curved`, but for the one call that raises."""

    def __init__(self, failing_call: int | None) -> None:
        super().__init__()
        self.body = Curved()
        self.failing_call = failing_call
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.failing_call:
            raise ArithmeticError("this call was to fail")
        logits: Tensor = self.body(inputs)
        return logits


def _state(model: nn.Module) -> dict[str, Any]:
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    return {
        "weights or buffers": dict(model.state_dict()),
        "modes": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "gradients": {name: parameter.grad for name, parameter in parameters.items()},
        "hooks": {
            name: [len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks)]
            for name, module in modules.items()
        },
    }


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name])
        if isinstance(one[name], Tensor) and isinstance(other[name], Tensor)
        else type(one[name]) is type(other[name]) and bool(one[name] == other[name])
        for name in one
    )


def _generators() -> str:
    """The states of the three global generators, to be compared."""
    return repr((torch.get_rng_state().tolist(), np.random.get_state(legacy=False), random.getstate()))
