"""Random noise: the control that every attack must beat."""

from __future__ import annotations

from torch import Tensor, nn

from foolscope.attacks._best import Best
from foolscope.attacks._called import attacked
from foolscope.attacks._step import checked_box, checked_count, checked_eps, checked_norm, random_point
from foolscope.norms import NORMS as ALL
from foolscope.oracle import Oracle

NORMS = tuple(ALL)


def noise(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    eps: float | Tensor,
    steps: int = 20,
    seed: int = 0,
) -> Tensor:
    """Random points of the ball, by turns uniform inside it and on its surface (linf: corners), clipped to the box.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf, l2, l1 or l0.
        eps: radius of the ball, in input units (l0: number of components); one for all, or one an image, `(b,)`.
        steps: points tried for each image that is not fooled before.
        seed: of the points.

    Returns:
        `(b, ...)`: for each image the first fooling point, else the one of the largest margin loss.

    Raises:
        InputError: an unknown norm, or a number out of its range.
    """
    row, eps = checked_norm("noise", norm, NORMS), checked_eps(eps, len(inputs))
    checked_count("steps", steps)
    with attacked(model, inputs, labels, targets) as oracle:
        checked_box(oracle, row)
        best = Best(oracle.inputs)
        rows = oracle.undecided()
        for draw in range(steps):
            if not len(rows):
                break
            x = random_point(oracle, rows, row, eps, ("uniform", "corner")[draw % 2], seed, draw)
            margin, _ = oracle.value(x, rows)
            best.take(rows, x, margin, margin > 0)
            rows = rows[margin <= 0]
    return best.x
