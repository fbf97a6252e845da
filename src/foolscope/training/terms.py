"""The loss of one image from its logits, and what may be added to it: terms over logits, penalties on parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.numbers import within

Criterion = Callable[[Tensor, Tensor], Tensor]
"""Logits (b, c) and labels (b,) -> losses (b,)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y, `(b,)`."""
    return F.cross_entropy(logits, labels, reduction="none")


def sigmoid(logits: Tensor, labels: Tensor) -> Tensor:
    """Classes as independent yes-or-no questions, in place of cross-entropy: ``-log s(z_y) - sum_{k != y} log(1 - s(z_k))``, `(b,)`.

    Example:
        >>> import torch
        >>> sigmoid(torch.zeros(1, 2), torch.tensor([0]))  # 2 log 2
        tensor([1.3863])
    """
    return F.softplus(logits).sum(1) - logits.gather(1, labels[:, None]).squeeze(1)


def entropy(logits: Tensor, labels: Tensor, *, weight: float = 1.0) -> Tensor:
    """``weight * H(p)``, ``H(p) = -sum_i p_i log p_i``, `(b,)`: minimised, so that confidence and the logits' gaps grow.

    The opposite sign of the confidence penalty of Pereyra et al.

    Example:
        >>> import torch
        >>> entropy(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])

    References:
        Cubuk et al. 2017, arXiv:1711.02846, sec. 4; weight 1 as displayed there.
    """
    log_p = logits.log_softmax(1)
    return -weight * (log_p.exp() * log_p).sum(1)


def l1(model: nn.Module, *, weight: float) -> Tensor:
    """``weight * |W|_1`` of the first layer's weights, `()`.

    Raises:
        InputError: a model without a weight matrix.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(model.weight, -0.5)
        >>> l1(model, weight=0.1).item()
        0.10000000149011612

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 5 (0.0025 was too large for maxout on MNIST).
    """
    first = next((parameter for parameter in model.parameters() if parameter.ndim > 1), None)
    if first is None:
        raise InputError("MODEL", "a first layer with weights, for l1", type(model).__name__)
    return within("weight", weight, 0) * first.abs().sum()
