"""Per-sample losses `(b, c), (b,) -> (b,)`: the larger, the nearer to being fooled. `targets` turns each into its targeted form.

All but cross-entropy are *homogeneous*: multiplying the logits by a positive number multiplies the loss by it too (DLR: by 1), so that
what they prefer does not depend on the scale of the logits. Cross-entropy's gradient underflows on confident logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from foolscope.errors import InputError

LossFunction = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


@dataclass(frozen=True)
class Loss:
    """One row of `LOSSES`.

    Attributes:
        name: as on the command line (`loss=margin`).
        function: `logits (b, c), labels (b,), targets (b,) or None, clean (b, c) or None -> (b,)`.
        homogeneous: whether the images' logits may be rescaled by a positive number without changing what the loss prefers.
        source: where it comes from.
    """

    name: str
    function: LossFunction
    homogeneous: bool
    source: str


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _best_other(logits: Tensor, classes: Tensor) -> Tensor:
    """The largest logit but that of `classes`."""
    return logits.scatter(1, classes[:, None], -torch.inf).amax(1)


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None = None, clean: Tensor | None = None) -> Tensor:
    """-log p_y, or log p_t when targeted."""
    log_p = logits.log_softmax(1)
    return -_of(log_p, labels) if targets is None else _of(log_p, targets)


def logit(logits: Tensor, labels: Tensor, targets: Tensor | None = None, clean: Tensor | None = None) -> Tensor:
    """-z_y, or z_t when targeted."""
    return -_of(logits, labels) if targets is None else _of(logits, targets)


def margin(logits: Tensor, labels: Tensor, targets: Tensor | None = None, clean: Tensor | None = None) -> Tensor:
    """max_{j != y} z_j - z_y, or z_t - max_{j != t} z_j when targeted: positive exactly where the image is fooled.

    Example:
        >>> margin(torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([0]))
        tensor([3.])
        >>> margin(torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([0]), torch.tensor([2]))
        tensor([-4.])
    """
    if targets is None:
        return _best_other(logits, labels) - _of(logits, labels)
    return _of(logits, targets) - _best_other(logits, targets)


def margin_slope(
    logits: Tensor, own: Tensor, size: Tensor, base: Tensor, aim: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`margin` times a factor and its gradient with respect to the logits, `(b,)` and `(b, c)`, in closed form: no graph, six operations.

    Args:
        logits: `(b, c)`.
        own: `(b, 1)`: the labels, or the targets.
        size: `(b, 1)`: the factor; negative for the targeted margin.
        base: `margin_base(...)`: the part of the gradient that does not depend on the logits.
        aim: `(b, 1)`: the gradient is that of this class's logit, not of the rival's that is largest now.

    Example:
        >>> own, size = torch.tensor([[0]]), torch.tensor([[1.0]])
        >>> margin_slope(torch.tensor([[2.0, 5.0, 1.0]]), own, size, margin_base(own, size, 3))
        (tensor([3.]), tensor([[-1.,  1.,  0.]]))
    """
    rival = logits.scatter(1, own, -torch.inf).max(1, keepdim=True)
    value = rival.values * size - logits.gather(1, own) * size
    return value.squeeze(1), base.scatter(1, rival.indices if aim is None else aim, size)


def margin_base(own: Tensor, size: Tensor, classes: int) -> Tensor:
    """-size at `own` and 0 elsewhere, `(b, classes)`."""
    return size.new_zeros(len(own), classes).scatter_(1, own, -size)


def dlr(logits: Tensor, labels: Tensor, targets: Tensor | None = None, clean: Tensor | None = None) -> Tensor:
    """The difference of logits ratio: (max_{j != y} z_j - z_y) / (z_1 - z_3), sorted logits z_1 >= z_2 >= ...

    Targeted: (z_t - z_y) / (z_1 - (z_3 + z_4) / 2); with three classes the denominator is z_1 - z_3. With two classes there is no third
    logit: the margin over the clean image's |margin|, detached.

    Args:
        logits: `(b, c)`, c >= 2.
        labels: `(b,)`.
        targets: `(b,)` or None.
        clean: the clean image's logits `(b, c)`, used with two classes; the logits themselves when None.
    """
    classes = logits.shape[1]
    if classes == 2:
        reference = logits if clean is None else clean
        return margin(logits, labels, targets) / _positive(margin(reference, labels, targets).abs(), reference).detach()
    top = logits.topk(min(classes, 4), dim=1).values
    if targets is None:
        return margin(logits, labels) / _positive(top[:, 0] - top[:, 2], logits)
    third = top[:, 2] if classes == 3 else (top[:, 2] + top[:, 3]) / 2
    return (_of(logits, targets) - _of(logits, labels)) / _positive(top[:, 0] - third, logits)


def _positive(denominator: Tensor, logits: Tensor) -> Tensor:
    """`denominator`; where ties make it 0 a rounding error of the logits' spread, and 1 for flat logits: the ratio stays finite."""
    spread = (logits.amax(1) - logits.amin(1)).detach()
    return denominator.maximum(torch.where(spread > 0, torch.finfo(logits.dtype).eps * spread, 1.0))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("ce", cross_entropy, False, "cross-entropy"),
        Loss("logit", logit, True, "Ozbulak et al. 2020 (arXiv:2006.01456)"),
        Loss("margin", margin, True, "Carlini & Wagner 2017 (arXiv:1608.04644), f_6 without its cut"),
        Loss("dlr", dlr, True, "Croce & Hein 2020 (arXiv:2003.01690), eq. 6-7"),
    )
}


def get_loss(name: str) -> Loss:
    """The row of `LOSSES` with this name.

    Raises:
        InputError: for an unknown name; the nearest are offered.
    """
    if name not in LOSSES:
        raise InputError("loss", "a loss", name, LOSSES)
    return LOSSES[name]
