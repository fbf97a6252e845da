"""DeepFool: straight to the nearest of the linearised boundaries, again and again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foolscope.attacks._best import take_rows
from foolscope.attacks._called import attacked
from foolscope.attacks._step import checked_count, checked_norm
from foolscope.errors import InputError
from foolscope.norms import Norm
from foolscope.oracle import Oracle

NORMS = ("l2", "linf")
ROUNDING = 1e-5  # of the rescaled logits (spread 1/2 to 1): aimed beyond the boundary at least, more than a forward pass is off by
BEYOND = (
    0.1  # share of what is left of the line by which a search goes beyond its estimate, to end on the side that fools
)
REACHED = 0.999  # share of the lead to be made up that counts as reachable within the box


def deepfool(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "l2",
    steps: int = 50,
    candidates: int = 10,
    overshoot: float = 0.02,
    search: int = 4,
    seed: int = 0,
) -> Tensor:
    """A near fooling image: steps to the nearest linearised boundary until the class changes.

    ``x <- x + argmin |d|`` subject to ``z_k(x) - z_y(x) + <grad(z_k - z_y), d> >= overshoot * (z_y(x) - z_k(x))`` in the box, for the
    class `k` for which it is shortest. Beyond the paper: each step is exact for the norm and the box; each overshoots by itself, where
    the paper stretches the sum of all; and the result is brought back along the straight line to the image.

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target, and each step crosses to it from the class that leads.
        norm: l2 or linf.
        steps: linearisations at most.
        candidates: classes considered: those of the clean image's largest logits, the label's among them.
        overshoot: how far beyond the linear boundary a step aims, relative to the step: so much too long the result is on an affine
            model (box inactive) before it is brought back.
        search: forward passes that bring it back; 0 for none, as in the paper.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the first fooling iterate, brought back, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: an unknown norm, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 3, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
        >>> x = torch.tensor([[0.8, 0.4]])  # class 1 is at x_1 = x_2, class 2 at x_1 = 0
        >>> near = deepfool(model, x, torch.tensor([0]), overshoot=0.01, search=0)
        >>> [round(v, 3) for v in (near - x)[0].tolist()]
        [-0.202, 0.202]

    References:
        Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, alg. 2 and eq. 11-12 (other norms).
    """
    row = checked_norm("deepfool", norm, NORMS)
    checked_count("steps", steps)
    if candidates < 2:
        raise InputError("candidates", "a whole number of at least 2", candidates)
    if not overshoot >= 0:
        raise InputError("overshoot", "a number that is not negative", overshoot)
    if search < 0:
        raise InputError("search", "a whole number that is not negative", search)
    with attacked(model, inputs, labels, targets) as oracle:
        best = oracle.inputs.clone()
        rows = oracle.undecided()
        x = oracle.inputs[rows]
        rivals = oracle.rivals(candidates - 1)
        for _ in range(steps):
            if not len(rows):
                break
            x = _crossed(oracle, rows, x, row, rivals[rows], overshoot)
            fooled = oracle.value(x, rows)[0] > 0
            best[rows[fooled]] = x[fooled]
            rows, x = rows[~fooled], x[~fooled]
        _bring_back(oracle, best, search)
    return best


def _crossed(oracle: Oracle, rows: Tensor, x: Tensor, norm: Norm, rivals: Tensor, overshoot: float) -> Tensor:
    """`x` after the shortest step that the linearised model lets cross."""
    if oracle.targets is not None:
        lead, _, gradient = oracle.gradient(x, rows)
        return oracle.clip(x + _step(oracle, x, norm, lead, gradient, overshoot))
    # All classes of some images at once: as many rows a pass as a batch should hold, whatever the number of classes.
    size, moved = max(1, oracle.batch // rivals.shape[1]), []
    for part, at, classes in zip(*(torch.split(t, size) for t in (rows, x, rivals)), strict=True):
        here = at.repeat_interleave(classes.shape[1], 0)
        lead, gradient = oracle.lead(here, part.repeat_interleave(classes.shape[1]), classes.flatten())
        d = _step(oracle, here, norm, lead, gradient, overshoot)
        gained = (d * gradient).flatten(1).sum(1) >= REACHED * (1 + overshoot) * -lead
        length = torch.where(gained, norm.size(d), torch.inf).view(classes.shape)
        nearest = torch.arange(len(part), device=x.device) * classes.shape[1] + length.argmin(1)
        moved.append(at + d[nearest])
    return oracle.clip(torch.cat(moved))


def _step(oracle: Oracle, x: Tensor, norm: Norm, lead: Tensor, gradient: Tensor, overshoot: float) -> Tensor:
    """The shortest step that makes up for a lead that is negative."""
    bounds = (-torch.inf, torch.inf) if oracle.bounds is None else oracle.bounds
    rounding = max(ROUNDING, 2 * torch.finfo(x.dtype).eps)  # by less, half precision would round the step away
    return norm.cross(gradient, rounding - (1 + overshoot) * lead, bounds[0] - x, bounds[1] - x)


def _bring_back(oracle: Oracle, best: Tensor, search: int) -> None:
    """Moves what was found towards the image as far as it goes on fooling, in place: regula falsi on the margin along the line."""
    rows = oracle.rows_all[(best != oracle.inputs).flatten(1).any(1)]
    if not search or not len(rows):
        return
    origin, far = oracle.inputs[rows], best[rows]
    found, view = far.clone(), (-1, *[1] * (far.ndim - 1))
    low, high = torch.zeros_like(far.flatten(1)[:, 0]), torch.ones_like(far.flatten(1)[:, 0])
    below, above = oracle.margin(oracle.clean[rows], rows), oracle.value(far, rows)[0]
    for _ in range(search):
        share = (below / (below - above)).nan_to_num(0.5)
        at = low + (high - low) * (share + BEYOND * (1 - share))
        x = oracle.clip(torch.lerp(origin, far, at.view(view)))
        margin, _ = oracle.value(x, rows)
        fooled = margin > 0
        take_rows(found, x, fooled)
        high, above = torch.where(fooled, at, high), torch.where(fooled, margin, above)
        low, below = torch.where(fooled, low, at), torch.where(fooled, below, margin)
    best[rows] = found
