"""Fast gradient (sign) method."""

from __future__ import annotations

from torch import Tensor, nn

from foolscope.attacks._called import attacked
from foolscope.attacks._step import checked_eps, checked_norm, of_rows
from foolscope.losses import get_loss
from foolscope.oracle import Oracle

NORMS = ("linf", "l2", "l1")


def fgsm(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    eps: float | Tensor,
    loss: str = "margin",
    seed: int = 0,
) -> Tensor:
    """One step of size eps along the direction in which the loss rises fastest in the norm, inside the box.

    ``x + argmax {<g, d> : |d| <= eps, x + d in the box}``. linf: eps * sign(g), clipped. l2 and l1: the dual direction, eps * g / |g|_2
    and the components of largest |g|; what the box cuts off goes to the components that still have room.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; the step then raises the targeted loss.
        norm: linf, l2 or l1.
        eps: radius of the ball, in input units; one for all, or one an image, `(b,)`.
        loss: `margin`, `ce` (Goodfellow et al.'s own), `logit` or `dlr`.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the image after the step. Images that the model gets wrong already come back as they are.

    Raises:
        InputError: an unknown norm or loss, or an eps that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> fgsm(model, torch.tensor([[0.6, 0.1]]), torch.tensor([0]), norm="l1", eps=0.25)
        tensor([[0.6000, 0.3500]])

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 4.
    """
    row, eps, slope_of = checked_norm("fgsm", norm, NORMS), checked_eps(eps, len(inputs)), get_loss(loss)
    with attacked(model, inputs, labels, targets) as oracle:
        adversarial = oracle.inputs.clone()
        rows = oracle.undecided()
        if len(rows):
            x = oracle.inputs[rows]
            gradient = oracle.gradient(x, rows, slope_of).gradient
            adversarial[rows] = oracle.clip(x + row.steepest(gradient, of_rows(eps, rows), *oracle.box(rows)))
    return adversarial
