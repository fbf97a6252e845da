"""One step towards the least likely class."""

from __future__ import annotations

from torch import Tensor, nn

from foolscope.attacks._called import attacked
from foolscope.attacks.fgsm import NORMS, fgsm
from foolscope.oracle import Oracle

__all__ = ["NORMS", "step_ll"]


def step_ll(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: str = "linf",
    eps: float | Tensor,
    loss: str = "ce",
    seed: int = 0,
) -> Tensor:
    """One step of size eps that raises the probability of the class which the model finds least likely on the clean image.

    ``x + argmax {<grad log p_ll(x), d> : |d| <= eps, x + d in the box}``; success still means any wrong class. It leaks no label, unlike
    `fgsm`. Cross-entropy is safe here: its gradient is alive exactly where the target is unlikely.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`; they only tell which images are wrong already.
        norm: linf, l2 or l1.
        eps: radius of the ball, in input units; one for all, or one an image, `(b,)`.
        loss: `ce`, `margin`, `logit` or `dlr`.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the image after the step. Images that the model gets wrong already come back as they are.

    Raises:
        InputError: an unknown norm or loss, or an eps that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> step_ll(model, torch.tensor([[0.75, 0.25]]), torch.tensor([0]), eps=0.25)
        tensor([[0.5000, 0.5000]])

    References:
        Kurakin, Goodfellow & Bengio 2017, arXiv:1611.01236, sec. 3.
    """
    with attacked(model, inputs, labels) as oracle:
        towards = oracle.towards(oracle.clean.argmin(1))
        moved = fgsm(towards, inputs, labels, norm=norm, eps=eps, loss=loss)
        wrong = (oracle.clean.argmax(1) != oracle.labels).view(-1, *[1] * (moved.ndim - 1))
        return moved.where(~wrong, oracle.inputs)
