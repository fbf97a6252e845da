"""Any fixed-eps attack as a minimal-norm one."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from foolscope.attacks._best import take_rows
from foolscope.attacks._called import attacked
from foolscope.attacks._step import checked_count, checked_norm
from foolscope.errors import InputError
from foolscope.oracle import Oracle

if TYPE_CHECKING:
    from foolscope.attacks._table import Attack

NORMS = ("linf", "l2", "l1")
OVERSHOOT = 1.01  # how far beyond the linear estimate of the boundary the first ball reaches


def minimal(
    model: nn.Module | Oracle,
    inputs: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    norm: str = "linf",
    attack: str = "apgd",
    radii: int = 10,
    seed: int = 0,
    **options: Any,
) -> Tensor:
    """The nearest fooling image that a fixed-eps attack finds, by a search over eps, each image's own.

    ``eps <- 2 * eps`` until a ball is large enough, then ``(eps_failed + nearest) / 2``, where `nearest` is the size of the nearest fooling
    change so far, which may be less than the ball's. The first ball reaches to the boundary of the linearised model (box included).

    Args:
        model: images to logits; a network or an `Oracle`.
        inputs: `(b, ...)`, in the box.
        labels: `(b,)`.
        targets: `(b,)`; fooled then means classified as the target.
        norm: linf, l2 or l1, if `attack` has it.
        attack: a fixed-eps attack that takes an eps an image.
        radii: how many are tried, each by one run of the attack.
        seed: of its random draws.
        **options: of `attack`, all but eps: `minimal:attack=apgd,steps=20` on the command line.

    Returns:
        `(b, ...)`: the nearest fooling image, or the image itself where none was found or the model gets it wrong already.

    Raises:
        InputError: an unknown attack or norm, an option that the attack does not have, or a number out of its range.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        >>> x = torch.tensor([[0.9, 0.1]])  # the boundary is at x_1 = 3 x_2
        >>> near = minimal(model, x, torch.tensor([0]), norm="l1", attack="apgd", steps=20)
        >>> [round(v, 2) for v in (near - x)[0].tolist()]
        [0.0, 0.2]

    References:
        Bisection on the radius is folklore; the linear estimate and the exact crossing are our own.
    """
    row, inner = checked_norm("minimal", norm, NORMS), inner_attack(attack)
    checked_norm(attack, norm, inner.norms), checked_count("radii", radii)
    for key in options.keys() - inner_options(attack):
        raise InputError(f"minimal:{key}", f"an option of {attack}", f"{key}={options[key]}", inner_options(attack))
    with attacked(model, inputs, labels, targets) as oracle:
        best, rows = oracle.inputs.clone(), oracle.undecided()
        if not len(rows):
            return best
        origin, (lower, upper) = best[rows], oracle.box(rows)
        margin, _, gradient = oracle.gradient(origin, rows)
        first = row.size(row.cross(gradient, -OVERSHOOT * margin, lower, upper))
        failed, nearest = torch.zeros_like(first), torch.full_like(first, torch.inf)
        most = nearest.clone() if oracle.bounds is None else row.size(upper.maximum(-lower))
        radius, near = torch.where(first > 0, first, 1.0).minimum(most), origin.clone()
        eps = first.new_ones(len(oracle))
        for _ in range(radii):
            eps[rows] = radius
            x = inner.function(oracle, oracle.inputs, oracle.labels, norm=norm, eps=eps, seed=seed, **options)[rows]
            size, fooled = row.size(x - origin), oracle.value(x, rows)[0] > 0
            nearer = fooled & (size < nearest)
            take_rows(near, x, nearer)
            take_rows(nearest, size, nearer)
            failed = torch.where(fooled, failed, radius)
            failed = torch.where(
                failed < nearest, failed, 0
            )  # an attack may fail in a ball and succeed in a smaller one
            middle = (failed + nearest) / 2
            before, radius = radius, torch.where(torch.isfinite(middle), middle, 2 * radius).minimum(most)
            if torch.equal(radius, before):  # the whole box, in vain: the same attack again would say the same
                break
        best[rows] = near
    return best


def inner_attack(name: str) -> Attack:
    """The row of a fixed-eps attack that takes an eps an image.

    Raises:
        InputError: any other name.
    """
    from foolscope.attacks._table import ATTACKS  # the table needs this file first

    rows = {row.name: row for row in ATTACKS.values() if "Tensor" in _annotation(row, "eps")}
    if name not in rows:
        raise InputError("minimal:attack", "a fixed-eps attack that takes an eps an image", name, rows)
    return rows[name]


def inner_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of the inner attack that are the user's to choose.

    Raises:
        InputError: as `inner_attack`.
    """
    ours = ("targets", "norm", "eps", "seed")
    parameters = inspect.signature(inner_attack(name).function).parameters.items()
    return {key: value for key, value in parameters if value.kind is value.KEYWORD_ONLY and key not in ours}


def _annotation(row: Attack, key: str) -> str:
    parameter = inspect.signature(row.function).parameters.get(key)
    return "" if parameter is None else str(parameter.annotation)
