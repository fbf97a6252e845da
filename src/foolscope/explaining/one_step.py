"""One-step attacks as rays: the direction from one gradient, and at which of many eps along it the class has changed."""

from __future__ import annotations

import torch
from torch import Tensor

from foolscope.errors import InputError
from foolscope.explaining.response import CE_DIRECTION
from foolscope.norms import NORMS
from foolscope.oracle import Oracle

RAYS = {
    "fgsm": ("linf", False),
    "l2": ("l2", False),
    "step_ll": ("linf", True),
}  # norm; towards the least likely class?


def direction_of(oracle: Oracle, kind: str) -> Tensor:
    """The direction of a one-step attack on cross-entropy, of size 1 in its norm; one gradient an image.

    `fgsm` ``sign(grad L(x, y))``, `l2` ``grad L(x, y) / |grad L|_2``, `step_ll` ``-sign(grad L(x, y_LL))`` with y_LL the least likely
    class. Computed so that confident logits cannot make it vanish (`CE_DIRECTION`).

    Args:
        oracle: over a batch.
        kind: `fgsm`, `l2` or `step_ll`.

    Returns:
        `(b, ...)`; 0 where the gradient is.

    Raises:
        InputError: an unknown kind.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> direction_of(Oracle(model, torch.tensor([[0.9, 0.1]]), torch.tensor([0])), "fgsm")
        tensor([[-1.,  1.]])

    References:
        Goodfellow et al. 2015, arXiv:1412.6572; Cubuk et al. 2017, arXiv:1711.02846 (all three).
    """
    if kind not in RAYS:
        raise InputError("attack", "a one-step attack", kind, RAYS)
    norm, least = RAYS[kind]
    aimed = oracle.towards(oracle.clean.argmin(1)) if least else oracle
    gradient = aimed.gradient(oracle.inputs, oracle.rows_all, CE_DIRECTION).gradient
    size = NORMS[norm].dual(gradient) if norm == "l2" else gradient.new_ones(len(gradient))
    unit = gradient if norm == "l2" else gradient.sign()
    return unit / size.clamp_min(torch.finfo(unit.dtype).tiny).view(-1, *[1] * (unit.ndim - 1))


def flipped_along(oracle: Oracle, direction: Tensor, eps: Tensor) -> Tensor:
    """Where along its ray each image is no longer given its label: bool `(b, m)`; all eps of an image share one batch.

    The points are ``clip(x + eps * direction)``. Chunks hold about as many of them as the batch has images.

    Args:
        oracle: over the batch.
        direction: `(b, ...)`, of size 1.
        eps: `(m,)`, in input units.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> oracle = Oracle(model, torch.tensor([[0.75, 0.25]]), torch.tensor([0]))
        >>> flipped_along(oracle, torch.tensor([[-1.0, 1.0]]), torch.tensor([0.125, 0.25, 0.5]))
        tensor([[False, False,  True]])
    """
    steps = eps.to(direction).view(1, -1, *[1] * (direction.ndim - 1))
    flips = []
    for rows in torch.chunk(oracle.rows_all, len(eps)):
        moved = oracle.clip((oracle.inputs[rows][:, None] + steps * direction[rows][:, None]).flatten(0, 1))
        repeated = rows.repeat_interleave(len(eps))
        flips.append((oracle.margin(oracle.logits(moved, repeated), repeated) > 0).view(len(rows), len(eps)))
    return torch.cat(flips)
