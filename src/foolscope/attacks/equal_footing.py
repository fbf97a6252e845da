"""Four iterative attacks that differ in their loss alone, compared on an equal footing."""

from __future__ import annotations

from torch import Tensor, nn

from foolscope.attacks._called import attacked
from foolscope.attacks._step import checked_count, checked_norm, checked_positive
from foolscope.errors import InputError
from foolscope.losses import Loss, get_loss
from foolscope.norms import get_norm
from foolscope.oracle import Oracle

NORMS = ("l2",)
SOURCES = {
    "ce": "ce",
    "ce_sign": "ce",
    "logit": "logit",
    "m_logit": "margin",
}  # which row of LOSSES each takes its slope from
FOOTINGS = ("perturbation", "multiplier")


def equal_footing(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "l2",
    loss: str = "m_logit",
    footing: str = "perturbation",
    step_size: float = 0.01,
    steps: int = 500,
    kappa: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Steps ``x <- clip(x + alpha * p)`` until the image is fooled, p the gradient of one of four losses.

    p, towards the target t (or away from the label y): `ce` ``grad log p_t``, `ce_sign` its sign, `logit` ``grad z_t``, `m_logit`
    ``grad (z_t - max_{j != t} z_j)``; of the logits as they are. Equal perturbation: what a step adds has l2 size `step_size` exactly, also
    where the box stops some components (the paper: ``alpha = step_size / |p|_2``, the same inside the box). Equal multiplier:
    ``alpha = step_size``. An image whose p is 0 has stalled for good and leaves (the oracle's `state` says so).

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`, as in the paper; fooled then means classified as the target.
        norm: l2, in which steps are made equal.
        loss: `ce`, `ce_sign`, `logit` or `m_logit`.
        footing: equal `perturbation` or equal `multiplier`.
        step_size: l2 size of what a step adds, in input units, or the multiplier. The paper's constants are not known; see docs/decisions.
        steps: at most.
        kappa: with `m_logit`, go on until the margin of the logits is at least this.
        seed: not used; nothing is random.

    Returns:
        `(b, ...)`: the first iterate that fools (by kappa, with `m_logit`), or the image itself where none did or the model gets it wrong
        already.

    Raises:
        InputError: an unknown norm, loss or footing, a number out of its range, or kappa with another loss.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> x = torch.tensor([[0.75, 0.25]])  # `logit` lowers z_0 alone, `m_logit` raises z_1 as well
        >>> near = [equal_footing(model, x, torch.tensor([0]), loss=loss) - x for loss in ("logit", "m_logit")]
        >>> [[round(v, 2) for v in d[0].tolist()] for d in near]
        [[-0.51, 0.0], [-0.25, 0.25]]

    References:
        Ozbulak, Gasparyan, De Neve & Van Messem 2020, arXiv:2006.01456, eq. 11-16; kappa: Carlini & Wagner 2017, arXiv:1608.04644.
    """
    checked_norm("equal_footing", norm, NORMS)
    for name, given, accepted in (("loss", loss, tuple(SOURCES)), ("footing", footing, FOOTINGS)):
        if given not in accepted:
            raise InputError(name, f"a {name} of equal_footing", given, accepted)
    checked_count("steps", steps)
    checked_positive("step_size", step_size)
    if not 0 <= kappa < float("inf") or (kappa and loss != "m_logit"):
        raise InputError("kappa", "a number of at least 0 with loss=m_logit, else 0", kappa)
    raw = raw_loss(loss)
    with attacked(model, inputs, labels, targets) as oracle:
        found = oracle.inputs.clone()
        rows = oracle.undecided()
        x = oracle.inputs[rows]
        for step in range(steps + 1):
            if not len(rows):
                break
            if step < steps:
                reached, value, p = oracle.gradient(x, rows, raw)
            else:
                reached, value = oracle.value(x, rows, raw)
            done = reached > 0 if loss != "m_logit" else (reached > 0) & (value >= kappa)
            found[rows[done]] = x[done]
            if step == steps:
                break
            stay = ~done & (p != 0).flatten(1).any(1)
            rows, x, p = rows[stay], x[stay], p[stay]
            x = moved(oracle, rows, x, p, loss=loss, footing=footing, step_size=step_size)
    return found


def raw_loss(loss: str) -> Loss:
    """What one of the four takes its slope from: alpha multiplies the gradients of the logits as they are."""
    source = get_loss(SOURCES[loss])
    return Loss(loss, source.function, homogeneous=False, source=source.source)


def moved(oracle: Oracle, rows: Tensor, x: Tensor, p: Tensor, *, loss: str, footing: str, step_size: float) -> Tensor:
    """One step from `x` `(r, ...)` along the gradient `p` of the loss, inside the box; spoils `p`."""
    if loss == "ce_sign":
        p = p.sign_()
    if footing == "perturbation":
        lower, upper = oracle.box(rows)
        d = x - oracle.inputs[rows]
        p = get_norm("l2").steepest(p, step_size, lower - d, upper - d)
    else:
        p = p.mul_(step_size)
    return oracle.clip(x + p)
