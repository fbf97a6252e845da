"""Objectives that train on clean and perturbed images together; arguments as in `foolscope.training.objectives`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.attacks._table import Function
from foolscope.errors import InputError
from foolscope.models.adapters import core
from foolscope.numbers import within
from foolscope.training.inner import Bounds, attacked, moved, noisy, towards_least_likely
from foolscope.training.objectives import plain
from foolscope.training.shared import loss_and_slope, same_in_both_modes
from foolscope.training.terms import Criterion, cross_entropy


def fgsm_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    alpha: float = 0.5,
    attack: str | Function = "fgsm",
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Clean and attacked images together: ``alpha L(x, y) + (1 - alpha) L(x', y)``, ``x' = x + eps sign grad_x L(x, y)``.

    Where training mode changes nothing (no dropout, no batch-norm) the clean pass also yields the gradient to attack along.

    Args:
        alpha: the share of the clean loss, in [0, 1].
        attack: what takes FGSM's place: a text such as `pgd:steps=5`, or a function `(model, inputs, labels, *, eps, ...) -> (b, ...)`
            that is given those of `eps`, `norm` and `seed` which it takes. The attacks of `ATTACKS` leave images that are wrong already
            as they are; nobody checks that a function stays in ball and box.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(2))
        >>> fgsm_mix(model, torch.tensor([[0.5, 0.5]]), torch.tensor([0]), eps=0.25, alpha=0.0).detach()  # log(1 + e^0.5)
        tensor([0.9741])

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 6, alpha = 0.5.
    """
    within("alpha", alpha, 0, 1)
    if attack == "fgsm" and same_in_both_modes(model):
        clean, slope = loss_and_slope(model, inputs, labels, criterion)
        x = moved(norm, eps, inputs, slope, bounds)
    else:
        x = attacked(
            model,
            inputs,
            labels,
            attack,
            norm=norm,
            eps=eps,
            criterion=criterion,
            bounds=bounds,
            index=index,
            seed=seed,
        )
        clean = plain(model, inputs, labels, criterion=criterion)
    return alpha * clean + (1 - alpha) * plain(model, x, labels, criterion=criterion)


def step_ll_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    share: float = 0.5,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
) -> Tensor:
    """Part of the batch one step towards its least likely class, the rest clean: ``L(x', y)`` or ``L(x, y)``; no label leaks.

    ``x' = x - eps sign grad_x L(x, argmin_k p_k(x))``. The first images of the batch are the attacked ones (a loop shuffles).

    Args:
        share: of the batch that is attacked, in [0, 1].

    References:
        Kurakin, Goodfellow & Bengio 2017, arXiv:1611.01236, alg. 1; half of each batch as in Cubuk et al., arXiv:1711.02846.
    """
    count = round(within("share", share, 0, 1) * len(inputs))
    x = towards_least_likely(model, inputs[:count], labels[:count], norm=norm, eps=eps, bounds=bounds)
    return plain(model, torch.cat([x, inputs[count:]]), labels, criterion=criterion)


def noise_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    kind: str = "sign",
    alpha: float = 0.0,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """The control: ``alpha L(x, y) + (1 - alpha) L(x + noise, y)``, fresh noise of the attack's size each epoch.

    Args:
        kind: `sign` (+-eps a component) or `uniform` (in [-eps, eps]).
        alpha: the share of the clean loss; 0 trains on noisy images alone.

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 7.
    """
    within("alpha", alpha, 0, 1)
    x = noisy(inputs, eps=eps, kind=kind, bounds=bounds, index=index, seed=seed)
    loss = (1 - alpha) * plain(model, x, labels, criterion=criterion)
    return loss + alpha * plain(model, inputs, labels, criterion=criterion) if alpha else loss


def static_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    reference: nn.Module,
    eps: float,
    norm: str = "linf",
    alpha: float = 0.5,
    attack: str | Function = "fgsm",
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
) -> Tensor:
    """A static adversarial set beside the clean one: `fgsm_mix` with examples of a network that does not change.

    Args:
        reference: the network that the examples fool. Its attack draws the same for an image every time, so that the examples
            are the same in every epoch. In `train`: the model as it was when training began.
        alpha: the share of the clean loss; 0.5 is one adversarial copy of each image.
        attack: as in `fgsm_mix`.

    References:
        Szegedy et al. 2014, arXiv:1312.6199, sec. 4.3.
    """
    within("alpha", alpha, 0, 1)
    x = attacked(
        reference,
        inputs,
        labels,
        attack,
        norm=norm,
        eps=eps,
        criterion=criterion,
        bounds=bounds,
        index=index,
        seed=0,
    )
    clean = plain(model, inputs, labels, criterion=criterion)
    return alpha * clean + (1 - alpha) * plain(model, x.to(inputs), labels, criterion=criterion)


def hidden_mix(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    layer: str,
    norm: str = "linf",
    alpha: float = 0.5,
    criterion: Criterion = cross_entropy,
) -> Tensor:
    """`fgsm_mix` with the perturbation in a hidden layer: ``alpha L(h) + (1 - alpha) L(h + eps sign grad_h L(h))``.

    Args:
        eps: in the units of the layer's output; hidden units are not bounded and may grow out of its reach.
        layer: the name of a module as `named_modules` has it, such as `3` or `features.0`.

    Raises:
        InputError: an unknown layer, or one whose output is no tensor.

    References:
        Szegedy et al. 2014, arXiv:1312.6199, sec. 4.3; Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 6.
    """
    within("alpha", alpha, 0, 1)
    modules = dict(core(model).named_modules())
    if not layer or layer not in modules:
        raise InputError("layer", "a layer of the model", layer, filter(None, modules))
    seen: list[Tensor] = []

    def keep(module: nn.Module, arguments: object, output: object) -> None:
        if not isinstance(output, Tensor):
            raise InputError("layer", f"a tensor from {layer}", f"a {type(output).__name__}")
        seen.append(output)

    with _hooked(modules[layer], keep):
        clean = plain(model, inputs, labels, criterion=criterion)
    hidden = seen[-1]
    (slope,) = torch.autograd.grad(clean.sum(), hidden, retain_graph=True)
    step = moved(norm, eps, torch.zeros_like(hidden), slope, None)
    with _hooked(modules[layer], lambda module, arguments, output: output + step):
        other = plain(model, inputs, labels, criterion=criterion)
    return alpha * clean + (1 - alpha) * other


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
