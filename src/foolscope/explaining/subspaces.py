"""Where an image sits in the eyes of cross-entropy: three subspaces, the identity behind them, where floating point ends its gradient."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from foolscope.oracle import Oracle

CONFIDENT = 0.99  # the probability that makes a class confident; the paper gives none


def subspace(probabilities: Tensor, targets: Tensor) -> Tensor:
    """1, 2 or 3 for each row: S1, another class than the target is confident; S2, no class is; S3, the target is.

    Args:
        probabilities: `(b, c)`.
        targets: `(b,)`.

    Returns:
        int64 `(b,)`.

    Example:
        >>> p = torch.tensor([[0.995, 0.005], [0.5, 0.5], [0.002, 0.998]])
        >>> subspace(p, torch.tensor([1, 1, 1])).tolist()
        [1, 2, 3]

    References:
        Ozbulak, Gasparyan, De Neve & Van Messem 2020, arXiv:2006.01456, definition IV.1 and eq. 8-10.
    """
    confident, largest = probabilities.max(1)
    where = torch.where(largest == targets, 3, 1)
    return torch.where(confident > CONFIDENT, where, 2)


def decomposed(oracle: Oracle) -> tuple[Tensor, Tensor]:
    """Cross-entropy's input gradient twice: as it is, and as ``grad CE_c = sum_{i != c} P_i grad(g_i - g_c)``; `(b, ...)` each.

    The identity is exact, with c the oracle's label; S1, S2 and S3 are what becomes of it where one P_i is near 1, none is, or P_c is.
    Costs one gradient, and one more for each other class.

    Args:
        oracle: over the images.

    Example:
        >>> model = torch.nn.Linear(2, 3, bias=False).double()
        >>> oracle = Oracle(model, torch.rand(4, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0]))
        >>> torch.testing.assert_close(*decomposed(oracle), rtol=0, atol=1e-15)
    """
    logits, labels = oracle.clean, oracle.labels[:, None]
    n, classes = logits.shape
    direct = oracle.gradient(oracle.inputs, oracle.rows_all, "ce").gradient
    others = torch.arange(1, classes, device=logits.device)
    pairs = (labels + others) % classes  # every class but the label
    repeated = oracle.rows_all.repeat_interleave(classes - 1)
    lead, slopes = oracle.lead(oracle.inputs[repeated], repeated, pairs.flatten())
    lead, slopes = lead.view(n, -1), slopes.view(n, classes - 1, *slopes.shape[1:])
    gap = logits.gather(1, pairs) - logits.gather(1, labels)
    widest = gap.abs().argmax(1, keepdim=True)
    scale = lead.gather(1, widest) / gap.gather(
        1, widest
    )  # the power of two by which an oracle rescales this image's logits
    weights = logits.softmax(1).gather(1, pairs) / scale
    return direct, (weights.view(n, -1, *[1] * (slopes.ndim - 2)) * slopes).sum(1)


def blind_gaps(dtype: torch.dtype) -> tuple[float, float]:
    """The logit gaps of two classes from which cross-entropy's derivative by the confident class's own logit is exactly 0, and by both.

    Found by bisection on autograd itself.

    Args:
        dtype: of the logits.

    Example:
        >>> [round(gap, 1) for gap in blind_gaps(torch.float32)]
        [16.6, 104.0]
    """

    def dead(gap: float) -> tuple[bool, bool]:
        logits = torch.tensor([[gap, 0.0]], dtype=dtype)
        oracle = Oracle(nn.Identity(), logits, torch.tensor([0]), bounds=None)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loss=ce")
            gradient = oracle.gradient(logits, oracle.rows_all, "ce").gradient[0]
        return bool(gradient[0] == 0), bool((gradient == 0).all())

    found = []
    for which in (0, 1):
        low, high = 0.0, 2000.0
        while high - low > 1e-3:
            middle = (low + high) / 2
            low, high = (low, middle) if dead(middle)[which] else (middle, high)
        found.append(high)
    return found[0], found[1]
