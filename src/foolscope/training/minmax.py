"""Objectives that train on the worst image of the ball; arguments as in `foolscope.training.objectives`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foolscope.foreign import foreign_code
from foolscope.numbers import within
from foolscope.training.inner import Bounds, climbed, frozen, stride_of
from foolscope.training.objectives import plain
from foolscope.training.terms import Criterion, cross_entropy


def madry(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    steps: int = 7,
    step_size: float | None = None,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Min-max: ``max {L(x', y) : |x' - x| <= eps}``, the maximum sought by PGD from a uniform start.

    Args:
        steps: of PGD.
        step_size: in input units; 2.5 eps / steps when None.

    References:
        Madry et al. 2018, arXiv:1706.06083, eq. 2.1.
    """
    x = climbed(
        model,
        inputs,
        labels,
        norm=norm,
        eps=eps,
        steps=steps,
        step_size=stride_of(eps, steps, step_size),
        start="uniform",
        rise=lambda logits: criterion(logits, labels),
        bounds=bounds,
        index=index,
        seed=seed,
    )
    return plain(model, x, labels, criterion=criterion)


def fast(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    step_size: float | None = None,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Min-max with a single step from a uniform start; watch for catastrophic overfitting.

    Args:
        step_size: in input units; 1.25 eps when None.

    References:
        Wong, Rice & Kolter 2020, arXiv:2001.03994, alg. 3.
    """
    return madry(
        model,
        inputs,
        labels,
        eps=eps,
        norm=norm,
        steps=1,
        step_size=1.25 * eps if step_size is None else step_size,
        criterion=criterion,
        bounds=bounds,
        index=index,
        seed=seed,
    )


def trades(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    beta: float = 6.0,
    steps: int = 10,
    step_size: float | None = None,
    criterion: Criterion = cross_entropy,
    bounds: Bounds = (0.0, 1.0),
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """``L(x, y) + beta max {KL(p(x) | p(x')) : |x' - x| <= eps}``, the maximum sought by PGD from beside the image.

    Args:
        beta: weight of the second term (the paper's 1 / lambda).
        steps: of PGD.
        step_size: in input units; 2.5 eps / steps when None.

    References:
        Zhang et al. 2019, arXiv:1901.08573, eq. 5 and alg. 1.
    """
    within("beta", beta, 0)
    with frozen(model), torch.no_grad(), foreign_code():
        known = model(inputs).log_softmax(1)
    x = climbed(
        model,
        inputs,
        labels,
        norm=norm,
        eps=eps,
        steps=steps,
        step_size=stride_of(eps, steps, step_size),
        start="near",
        rise=lambda logits: _divergence(known, logits.log_softmax(1)),
        bounds=bounds,
        index=index,
        seed=seed,
    )
    with foreign_code():
        clean, other = model(inputs), model(x)
    return criterion(clean, labels) + beta * _divergence(clean.log_softmax(1), other.log_softmax(1))


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p | q), `(b,)`."""
    return (log_p.exp() * (log_p - log_q)).sum(1)
