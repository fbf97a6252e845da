"""What the attacker does inside a training step: on every image of the batch, with frozen parameters, in eval mode.

Eval mode: the attack sees the network that will be judged. Dropout does not blur its gradients, batch-norm's running statistics are left to
the training passes, and an image's perturbation does not depend on its neighbours. Images that are wrong already are attacked too, and the
last iterate counts, as in Madry et al.; the attacks of `foolscope.attacks` leave such images alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope import rng
from foolscope.attacks import bind
from foolscope.attacks._step import STRIDE, checked_count, checked_eps, mover, random_point
from foolscope.attacks._table import Function
from foolscope.errors import InputError
from foolscope.foreign import foreign_code
from foolscope.norms import get_norm
from foolscope.oracle import Oracle
from foolscope.stems import quick_stems
from foolscope.training.terms import Criterion, cross_entropy

Bounds = tuple[float, float] | None
Rise = Callable[[Tensor], Tensor]
"""Logits (b, c) -> what the attacker raises, (b,) or (); must not mix images."""


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside: eval mode, and no parameter requires a gradient, so that a backward pass computes the input's alone, and quickly."""
    modes = [module for module in model.modules() if module.training]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for module in modes:
            module.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        with quick_stems(model):
            yield
    finally:
        for module in modes:
            module.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def climbed(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    steps: int = 1,
    step_size: float | None = None,
    start: str = "clean",
    rise: Rise | None = None,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Steps of steepest ascent inside ball and box from each image; the last iterate `(b, ...)`. One forward and backward a step.

    Args:
        model: images to logits.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        norm, eps: the ball.
        steps: how many.
        step_size: of each, in input units; eps when None.
        start: `clean`, `uniform`, `corner`, or `near`: 0.001 of a standard normal away (Zhang et al.).
        rise: what is raised; cross-entropy with the labels when None.
        bounds: the box.
        index, seed: key the random start.
    """
    row, radius = get_norm(norm), checked_eps(eps, len(inputs))
    with frozen(model):
        oracle = Oracle(model, inputs, labels, bounds=bounds, index=index)
        rows = oracle.rows_all
        if start == "near":
            noise = torch.special.ndtri(rng.uniform(seed, oracle.index, 0, inputs.shape[1:], torch.float64))
            x = oracle.clip(oracle.inputs + 0.001 * noise.to(oracle.inputs.dtype))
        else:
            x = random_point(oracle, rows, row, radius, start, seed, 0)
        move = mover(oracle, rows, row, radius)
        for _ in range(steps):
            x = move(x, slope(oracle, x, rise or partial(cross_entropy, labels=labels)), step_size or eps)
    return x


def stride_of(eps: float, steps: int, step_size: float | None) -> float:
    """The size of one of `steps` steps: as given, or 2.5 eps / steps (Madry et al.)."""
    checked_count("steps", steps)
    if step_size is None:
        return STRIDE * eps / steps
    checked_eps(step_size, 1, "step_size")
    return step_size


def slope(oracle: Oracle, x: Tensor, rise: Rise) -> Tensor:
    """The gradient of `rise` with respect to the images `x`, `(b, ...)`."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = rise(oracle.run(x)).sum()
    with foreign_code():
        (gradient,) = torch.autograd.grad(value, x)
    return gradient.contiguous()


def attacked(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    attack: str | Function,
    *,
    norm: str,
    eps: float,
    criterion: Criterion,
    bounds: Bounds,
    index: Tensor | None,
    seed: int,
) -> Tensor:
    """The images `(b, ...)` after an attack, given as an ATTACK text or a function: `fgsm` is one step on the criterion, on every image."""
    if attack == "fgsm":
        return climbed(
            model,
            inputs,
            labels,
            norm=norm,
            eps=eps,
            rise=lambda logits: criterion(logits, labels),
            bounds=bounds,
        )
    with frozen(model):
        oracle = Oracle(model, inputs, labels, bounds=bounds, index=index)
        given: dict[str, Any] = {"norm": norm, "eps": eps, "seed": seed}
        if isinstance(attack, str):
            return bind(attack, **given)(oracle)
        own = Oracle(model, inputs.clone(), labels, bounds=bounds, index=index)  # images that it may change
        return bind(getattr(attack, "__name__", "attack"), attack, **given)(own).detach()


def towards_least_likely(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: str, eps: float, bounds: Bounds
) -> Tensor:
    """One step of size eps that raises the least likely class's log-probability, `(b, ...)`; one forward and backward."""

    def rise(logits: Tensor) -> Tensor:
        return -F.cross_entropy(logits, logits.detach().argmin(1), reduction="none")

    return climbed(model, inputs, labels, norm=norm, eps=eps, rise=rise, bounds=bounds)


def moved(norm: str, eps: float, inputs: Tensor, gradient: Tensor, bounds: Bounds) -> Tensor:
    """`inputs` after one steepest step of size eps along a known gradient, in the box."""
    row, radius = get_norm(norm), checked_eps(eps, len(inputs))
    low, high = bounds or (-torch.inf, torch.inf)
    return (inputs + row.steepest(gradient, radius, low - inputs, high - inputs)).clamp(low, high)


def noisy(inputs: Tensor, *, eps: float, kind: str, bounds: Bounds, index: Tensor | None, seed: int) -> Tensor:
    """The images plus noise, `(b, ...)`: +-eps a component (`sign`) or uniform in [-eps, eps] (`uniform`), in the box."""
    if kind not in ("sign", "uniform"):
        raise InputError("kind", "a kind of noise", kind, ("sign", "uniform"))
    index = torch.arange(len(inputs)) if index is None else index
    u = 2 * rng.uniform(seed, index.to(inputs.device), 0, inputs.shape[1:], inputs.dtype) - 1
    checked_eps(eps, len(inputs))
    x = inputs + eps * (u.sign() if kind == "sign" else u)
    return x if bounds is None else x.clamp(*bounds)
