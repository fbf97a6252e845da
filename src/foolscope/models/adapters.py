"""Adapters around a classifier: its normalisation inside, plain logits out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.models.networks import Standardise
from foolscope.probabilities import LogProbabilities


def logits_of(output: object) -> Tensor:
    """The logits `(b, classes)` in what a classifier returned.

    That is the tensor itself, its `.logits` or `["logits"]`, or the first element of a tuple or list.

    Raises:
        InputError: if there are no logits of that shape in it.

    Example:
        >>> import torch
        >>> logits_of({"logits": torch.zeros(2, 10), "loss": None}).shape
        torch.Size([2, 10])
    """
    found = output
    if not isinstance(found, Tensor):
        if isinstance(found, Mapping):
            found = found.get("logits")
        elif hasattr(found, "logits"):
            found = found.logits
        elif isinstance(found, tuple | list) and found:
            found = found[0]
    if isinstance(found, Tensor) and found.ndim == 2 and found.is_floating_point():
        return found
    raise InputError("MODEL", "output logits of shape (b, classes), or an object that has .logits", _described(output))


def _described(output: object) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)} of {output.dtype}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with keys {', '.join(map(str, output))}"
    return f"a {type(output).__name__}"


class Adapted(nn.Module):
    """images -> logits_of(module(normalise(images)))."""

    def __init__(self, module: nn.Module, normalise: Standardise | None) -> None:
        super().__init__()
        self.module = module
        self.normalise = normalise

    def forward(self, inputs: Tensor) -> Tensor:
        """Images `(b, C, H, W)` to logits `(b, classes)`."""
        return logits_of(self.module(inputs if self.normalise is None else self.normalise(inputs)))


class CopiedInputs(nn.Module):
    """A model that changes its images in place (`x.sub_(mean)`, `nn.ReLU(inplace=True)`), run on a copy of them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        """Images `(b, C, H, W)` to logits `(b, classes)`."""
        logits: Tensor = self.module(inputs.clone())
        return logits


def core(module: nn.Module) -> nn.Module:
    """The user's own module inside the adapters that we put around it."""
    while isinstance(module, Adapted | CopiedInputs | LogProbabilities):
        module = module.model if isinstance(module, LogProbabilities) else module.module
    return module


def wrap(module: nn.Module, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> nn.Module:
    """A module from images in [0, 1] to plain logits, around one that is fed normalised images or wraps its output.

    Args:
        module: the classifier; it is called, never changed.
        mean: what to subtract from each channel, in input units; `std` must come with it.
        std: what to divide each channel by.

    Returns:
        A module around `module` (shared, not copied), whose output is a tensor `(b, classes)`.

    Raises:
        InputError: if `module` is no module; if mean and std differ in length, are not finite or std not positive.

    Example:
        >>> import torch
        >>> model = wrap(nn.Flatten(), mean=[0.5], std=[0.25])
        >>> model(torch.ones(1, 1, 1, 2))
        tensor([[2., 2.]])
    """
    if not isinstance(module, nn.Module):
        raise InputError("model", "a torch.nn.Module", f"a {type(module).__name__}")
    normalise = normalisation(mean, std)
    if normalise is not None:
        normalise.train(module.training)
        tensor = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)
        if tensor is not None:
            normalise.to(device=tensor.device, dtype=tensor.dtype)
    adapted = Adapted(module, normalise)
    adapted.training = module.training
    return adapted


def normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> Standardise | None:
    """The normalising module for `mean` and `std`, checked; None where neither is given."""
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        missing, given = ("--mean", "--std") if mean is None else ("--std", "--mean")
        raise InputError(missing, f"as many numbers as {given}", None)
    _check_numbers("--mean", mean, positive=False)
    _check_numbers("--std", std, positive=True)
    if len(mean) != len(std):
        raise InputError("--std", f"as many numbers as --mean ({len(mean)})", len(std))
    return Standardise(mean, std)


def _check_numbers(argument: str, values: Sequence[float], *, positive: bool) -> None:
    expected = f"finite{', positive' if positive else ''} numbers, one for each channel"
    if len(values) == 0:
        raise InputError(argument, expected, None)
    for value in values:
        if not math.isfinite(value) or (positive and value <= 0):
            raise InputError(argument, expected, value)
