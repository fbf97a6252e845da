"""The basic iterative method (I-FGSM): PGD from the clean image in small equal steps."""

from __future__ import annotations

from torch import Tensor, nn

from foolscope.attacks._step import STRIDE, checked_count, checked_eps
from foolscope.attacks.pgd import NORMS, pgd
from foolscope.oracle import Oracle

__all__ = ["NORMS", "bim"]


def bim(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    eps: float | Tensor,
    steps: int = 10,
    step_size: float | Tensor | None = None,
    loss: str = "margin",
    seed: int = 0,
) -> Tensor:
    """`pgd` from the clean image with equal steps and no momentum.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf, l2 or l1.
        eps: radius of the ball, in input units; one for all, or one an image, `(b,)`.
        steps: gradient steps.
        step_size: of every step; STRIDE * eps / steps when None.
        loss: `margin`, `ce`, `logit` or `dlr`.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)` as from `pgd`.

    Raises:
        InputError: as `pgd`.

    References:
        Kurakin, Goodfellow & Bengio 2017, arXiv:1607.02533, sec. 2.2.
    """
    size = STRIDE * checked_eps(eps, len(inputs)) / checked_count("steps", steps) if step_size is None else step_size
    return pgd(
        model,
        inputs,
        labels,
        targets=targets,
        norm=norm,
        eps=eps,
        steps=steps,
        step_size=size,
        start="clean",
        loss=loss,
        seed=seed,
    )
