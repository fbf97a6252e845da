"""Optimisers, learning-rate schedules and the momentum's rise, by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from foolscope.binding import bound_options, keyword_only
from foolscope.errors import InputError
from foolscope.numbers import within

Schedule = Callable[[int, int], float]
"""Update (from 0), updates in all -> the factor of the learning rate."""

LIMITS = {  # of the schedules' options
    "end": (0.0,),
    "first": (0.0, 1.0),
    "second": (0.0, 1.0),
    "factor": (0.0,),
    "peak": (0.01, 0.99),
    "divisor": (1.0,),
    "least": (0.0,),
}
RATES = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3}  # where no learning rate is given


def constant(update: int, updates: int) -> float:
    """1 throughout."""
    return 1.0


def linear(update: int, updates: int, *, end: float = 0.0) -> float:
    """From 1 to `end` in a straight line.

    Example:
        >>> linear(5, 10)
        0.5
    """
    return 1 + (end - 1) * update / updates


def cosine(update: int, updates: int) -> float:
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * update / updates))


def steps(update: int, updates: int, *, first: float = 0.5, second: float = 0.75, factor: float = 0.1) -> float:
    """Times `factor` after the share `first` of the training, and again after `second`."""
    return factor ** ((update >= first * updates) + (update >= second * updates))


def cycle(update: int, updates: int, *, peak: float = 0.4) -> float:
    """From 0 up to 1 at the share `peak` of the training and back to 0, in straight lines."""
    at = (update + 0.5) / updates
    return min(at / peak, (1 - at) / (1 - peak))


def exponential(update: int, updates: int, *, divisor: float = 1.000004, least: float = 1e-5) -> float:
    """Divided by `divisor` at each update, down to `least` (pylearn2's maxout recipe, with its learning rate of 0.1: 1e-6)."""
    return max(least, divisor**-update)


SCHEDULES: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (constant, linear, cosine, steps, cycle, exponential)
}


def bind_schedule(text: str) -> Schedule:
    """A schedule's text, `NAME[:key=value,...]`.

    Raises:
        InputError: an unknown name or key, or a value out of its range.

    Example:
        >>> bind_schedule("linear:end=0.5")(10, 10)
        0.5
    """
    name, _, rest = text.partition(":")
    if name not in SCHEDULES:
        raise InputError("--schedule", "a schedule", name, SCHEDULES)
    function = SCHEDULES[name]
    options = bound_options(name, keyword_only(function), rest, {})
    for key, value in options.items():
        within(f"{name}:{key}", value, *LIMITS[key])
    return lambda update, updates: function(update, updates, **options)


def momentum_at(momentum: float | tuple[float, float, float], epoch: int) -> float:
    """The momentum in an epoch (from 0): a number, or (first, last, epochs) for a straight rise over that many epochs.

    Example:
        >>> momentum_at((0.5, 0.7, 250), 125), momentum_at((0.5, 0.7, 250), 900), momentum_at(0.9, 3)
        (0.6, 0.7, 0.9)
    """
    if isinstance(momentum, tuple | list):
        first, last, epochs = momentum
        return first + (last - first) * min(1.0, epoch / epochs)
    return momentum


def make_optimiser(
    name: str, model: nn.Module, lr: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with momentum, Adam or AdamW; a module's own `lr_scale` multiplies the learning rate of its parameters.

    Raises:
        InputError: an unknown name, or a model without parameters.
    """
    if name not in RATES:
        raise InputError("--optimiser", "an optimiser", name, RATES)
    scales = {
        id(parameter): scale
        for module in model.modules()
        if isinstance(scale := getattr(module, "lr_scale", None), float)
        for parameter in module.parameters()
    }
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault(scales.get(id(parameter), 1.0), []).append(parameter)
    if not groups:
        raise InputError("MODEL", "a model with parameters to learn", type(model).__name__)
    listed = [{"params": parameters, "scale": scale} for scale, parameters in groups.items()]
    if name == "sgd":
        return torch.optim.SGD(listed, lr, momentum=momentum, weight_decay=weight_decay)
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(listed, lr, weight_decay=weight_decay)
