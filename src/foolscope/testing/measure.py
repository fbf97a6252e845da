"""Running an attack as the suite does, and judging what it returns without taking its word for anything."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.testing.distances import Array, norm_size

if TYPE_CHECKING:
    from foolscope.attacks import Attack

EPS = {"linf": 0.1, "l2": 0.7, "l1": 4.0, "l0": 6.0}  # for checks where any size will do
FEW = 10  # steps, for checks that hold whatever the number of steps
UNIT_BOX = (0.0, 1.0)


def run(
    row: Attack,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    norm: str,
    *,
    eps: float | None = None,
    targets: Tensor | None = None,
    bounds: tuple[float, float] | None = UNIT_BOX,
    index: Tensor | None = None,
    seed: int = 0,
    few: bool = False,
) -> Tensor:
    """Runs a row's attack by the house signature, with the options that its function has.

    The model is given as it is unless ``bounds`` or ``index`` differ from what an attack assumes of a bare one; then an
    ``Oracle`` carries them.

    Args:
        row: the attack.
        model: logits (b, k) of images.
        inputs: (b, C, H, W) within bounds.
        labels: (b,).
        norm: one of the row's.
        eps: None: EPS[norm]. Not passed to minimal-norm attacks.
        targets: (b,) or None.
        bounds: the box, None if there is none.
        index: (b,) the images' indices in the data set; None: 0, 1, ...
        seed: of the random draws.
        few: only FEW steps, if the attack has steps.

    Returns:
        What the attack returned.
    """
    options: dict[str, Any] = {"norm": norm, "seed": seed}
    if row.kind != "minimal norm":
        options["eps"] = EPS[norm] if eps is None else eps
    if targets is not None:
        options["targets"] = targets
    if few:
        options["steps"] = FEW
    parameters = inspect.signature(row.function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in ("norm", "seed", "steps"):  # fgsm has no steps, a single-norm attack needs no norm
        if name not in parameters and not takes_any:
            options.pop(name, None)
    if bounds == UNIT_BOX and index is None:
        return row.function(model, inputs, labels, **options)
    from foolscope.oracle import Oracle

    oracle = Oracle(model, inputs, labels, targets=targets, bounds=bounds, index=index)
    return row.function(oracle, inputs, labels, **options)


def fooled(model: nn.Module, adversarial: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Whether a fresh forward pass puts each image into another class, or into its target if there are any: (b,) bool.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(2))
        >>> fooled(model, torch.tensor([[0.4, 0.6], [0.6, 0.4]]), torch.tensor([0, 0])).tolist()
        [True, False]
    """
    if not len(adversarial):
        return torch.zeros(0, dtype=torch.bool)
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(adversarial.detach())
    predicted: Tensor = logits.argmax(1)
    return predicted.ne(labels) if targets is None else predicted.eq(targets)


def sizes(adversarial: Tensor, inputs: Tensor, norm: str) -> Array:
    """Sizes of the changes in ``norm``, in float64: (b,)."""
    return norm_size((adversarial.detach().double() - inputs.double()).flatten(1).numpy(force=True), norm)


def ball_slack(inputs: Tensor, norm: str) -> float:
    """How far beyond eps rounding alone may push a change, in ``norm``: two roundings of a value of size 1 a pixel.

    A millionth of eps comes on top, see :func:`require_inside`. For l0, which counts, nothing.
    """
    pixels = inputs[0].numel()
    each = 2 * float(torch.finfo(inputs.dtype).eps)
    return {"linf": each, "l2": each * float(pixels**0.5), "l1": each * pixels, "l0": 0.0}[norm]


def require(holds: bool | Tensor, row: Attack, norm: str, complaint: str) -> None:
    """Raises AssertionError in the row's name unless ``holds``."""
    if not bool(holds):
        raise AssertionError(f"{row.name}, {norm}: {complaint}")


def require_inside(
    row: Attack,
    norm: str,
    adversarial: object,
    inputs: Tensor,
    *,
    eps: float | None = None,
    bounds: tuple[float, float] | None = UNIT_BOX,
) -> None:
    """Raises AssertionError unless the result is a finite tensor like the inputs, in the box, and within eps if given.

    Args:
        row: the attack, for the message.
        norm: of the ball.
        adversarial: what the attack returned.
        inputs: (b, C, H, W) what it was given.
        eps: radius; a relative 1e-6 of it and :func:`ball_slack` are let pass. None: no ball.
        bounds: the box, to the bit; None: no box.
    """
    require(isinstance(adversarial, Tensor), row, norm, f"returned a {type(adversarial).__name__}, not a tensor")
    assert isinstance(adversarial, Tensor)
    for what in ("shape", "dtype", "device"):
        came, meant = getattr(adversarial, what), getattr(inputs, what)
        require(came == meant, row, norm, f"{what} of the result is {came}, of the inputs {meant}")
    require(not adversarial.requires_grad, row, norm, "the result still requires gradients")
    if not len(inputs):
        return
    require(torch.isfinite(adversarial).all(), row, norm, "the result is not finite")
    if bounds is not None:
        low, high = adversarial.min().item(), adversarial.max().item()
        require(
            bounds[0] <= low and high <= bounds[1], row, norm, f"left the box {bounds}: values from {low} to {high}"
        )
    if eps is not None:
        largest = float(sizes(adversarial, inputs, norm).max())
        allowed = eps * (1 + 1e-6) + ball_slack(inputs, norm)
        require(largest <= allowed, row, norm, f"left the ball: size {largest} with eps {eps}")


def check_norm(row: Attack, norm: str) -> None:
    """Raises InputError unless the row attacks in ``norm``."""
    if norm not in row.norms:
        raise InputError("norm", f"a norm of {row.name}", norm, row.norms)
