"""How all logits answer, to first order, to a step along a direction: one gradient and one forward-mode pass, however many classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foolscope.losses import Loss
from foolscope.norms import get_norm
from foolscope.oracle import Oracle

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def _others_lead(logits: Tensor, labels: Tensor, targets: Tensor | None, clean: Tensor | None) -> Tensor:
    own = (labels if targets is None else targets)[:, None]
    lead = logits.scatter(1, own, -torch.inf).logsumexp(1) - logits.gather(1, own).squeeze(1)
    return lead if targets is None else -lead


# grad CE_y = (1 - p_y) grad (log sum_{i != y} exp z_i - z_y): the same direction, and no 1 - p_y to underflow on confident logits.
CE_DIRECTION = Loss("ce_direction", _others_lead, False, "the direction of cross-entropy's gradient")


@dataclass(frozen=True)
class Response:
    """The logits to first order along a direction d of size 1: h(x + eps d) = h(x) + eps slope + O(eps^2).

    Attributes:
        logits: h(x), `(r, c)`.
        slope: Gamma = J^T d, `(r, c)`.
        direction: d, `(r, ...)`; zero where the gradient is.
    """

    logits: Tensor
    slope: Tensor
    direction: Tensor


def respond(oracle: Oracle, rows: Tensor, norm: str = "l2", direction: Tensor | None = None) -> Response:
    """The response to a step along cross-entropy's gradient: J^T J delta / |J delta| in l2, J^T sign(J delta) in linf (FGSM).

    delta = softmax(h) - onehot(y). The direction is computed so that confident logits cannot make it vanish.

    Args:
        oracle: over the images.
        rows: which of them, `(r,)`.
        norm: l2, linf or l1; the direction of size 1 along which the loss rises fastest, the box left aside.
        direction: another direction, `(r, ...)`, instead.

    Returns:
        A `Response`; one gradient (none for another direction) and one forward-mode pass an image.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> oracle = Oracle(model.requires_grad_(False), torch.tensor([[0.6, 0.1]]), torch.tensor([0]))
        >>> respond(oracle, oracle.rows_all, "linf").slope
        tensor([[-1.,  3.]])

    References:
        Cubuk et al. 2017, arXiv:1711.02846, sec. on the linear response.
    """
    x = oracle.inputs[rows]
    if direction is None:
        free = torch.full_like(x, torch.inf)
        direction = get_norm(norm).steepest(oracle.gradient(x, rows, CE_DIRECTION).gradient, 1.0, -free, free)
    logits, slope = oracle.slope(x, rows, direction)
    return Response(logits, slope, direction)


@dataclass(frozen=True)
class Crossing:
    """Where the linear response says that a class overtakes the largest, `(n,)` each.

    Attributes:
        eps: the smallest such step; infinite where no class gains on the largest.
        rank: of the class that overtakes there, counted on the image itself from 2; 0 where none does.
        label: that class; -1 where none does.
        gap: h_1 - h_2.
        gain: Gamma_2 - Gamma_1.
    """

    eps: Floats
    rank: Ints
    label: Ints
    gap: Floats
    gain: Floats


def cross(logits: npt.ArrayLike, slope: npt.ArrayLike) -> Crossing:
    """eps_linear = min_j (h_1 - h_j) / (Gamma_j - Gamma_1) over the j that gain on rank 1; ranks by size of the logits.

    Args:
        logits: `(n, c)`.
        slope: `(n, c)`.

    Example:
        >>> at = cross([[3.0, 2.0, 0.0]], [[0.0, 1.0, 6.0]])
        >>> at.eps, at.rank, at.label
        (array([0.5]), array([3]), array([2]))
    """
    h, gamma = np.asarray(logits, np.float64), np.asarray(slope, np.float64)
    order = np.argsort(-h, axis=1, kind="stable")
    h, gamma = np.take_along_axis(h, order, 1), np.take_along_axis(gamma, order, 1)
    gap, gain = h[:, :1] - h[:, 1:], gamma[:, 1:] - gamma[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        eps = np.where(gain > 0, gap / gain, np.inf)
    first = eps.argmin(1)[:, None]
    nearest = np.take_along_axis(eps, first, 1)[:, 0]
    reached = np.isfinite(nearest)
    label = np.take_along_axis(order, first + 1, 1)[:, 0]
    return Crossing(nearest, np.where(reached, first[:, 0] + 2, 0), np.where(reached, label, -1), gap[:, 0], gain[:, 0])


def mean_field(gap: npt.ArrayLike, gain: npt.ArrayLike) -> Floats:
    """eps_MF = (h_1 - h_2) / (<Gamma_2> - <Gamma_1>), the slopes averaged over all images by rank; infinite if rank 2 never gains.

    Args:
        gap: h_1 - h_2, `(n,)`.
        gain: Gamma_2 - Gamma_1, `(n,)`.

    Example:
        >>> mean_field([1.0, 4.0], [1.0, 3.0])
        array([0.5, 2. ])
    """
    gap, mean = np.asarray(gap, np.float64), float(np.asarray(gain, np.float64).mean())
    return np.asarray(gap / mean if mean > 0 else np.full_like(gap, np.inf))
