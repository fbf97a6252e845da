"""Layers that hide a network's gradients without making it robust: what an audit has to notice.

Put them before, inside or after a network (`nn.Sequential(QuantisedInput(8), network)`, `with_activation(network, ...)`): its robust
accuracy under gradient attacks rises, its true robustness does not.

References:
    Athalye, Carlini & Wagner 2018, arXiv:1802.00420 (shattered and stochastic gradients); Carlini & Wagner 2016, arXiv:1607.04311
    (confident softmax); Guo et al. 2018, arXiv:1711.00117 and Buckman et al. 2018 (quantised inputs); Xiao, Zhong & Zheng 2019,
    arXiv:1905.10510 (k-winners-take-all).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from foolscope.errors import InputError

SURROGATES = ("none", "identity", "sigmoid")


class QuantisedInput(nn.Module):
    """Rounds [0, 1] to evenly spaced levels.

    Args:
        levels: how many, 0 and 1 included; at least 2.
        surrogate: the gradient it claims: `none` (zero, the true one) or `identity` (straight through).

    Example:
        >>> QuantisedInput(3)(torch.tensor([0.1, 0.3, 0.9]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    def __init__(self, levels: int, surrogate: str = "none") -> None:
        super().__init__()
        if levels < 2:
            raise InputError("levels", "at least 2", levels)
        self.levels, self.surrogate = levels, _known(surrogate, SURROGATES[:2])

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of any shape, rounded."""
        return _claimed((inputs * (self.levels - 1)).round() / (self.levels - 1), inputs, self.surrogate)


class HardThreshold(nn.Module):
    """1 above a threshold, else 0.

    Args:
        at: the threshold.
        surrogate: the gradient it claims: `none` (zero, the true one), `identity` (straight through) or `sigmoid` (that of
            sigmoid(4 (x - at)), of slope 1 at the threshold).

    Example:
        >>> HardThreshold(0.5)(torch.tensor([0.4, 0.6]))
        tensor([0., 1.])
    """

    def __init__(self, at: float = 0.0, surrogate: str = "none") -> None:
        super().__init__()
        self.at, self.surrogate = at, _known(surrogate, SURROGATES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of any shape, thresholded."""
        soft = torch.sigmoid(4 * (inputs - self.at)) if self.surrogate == "sigmoid" else inputs
        return _claimed((inputs > self.at).to(inputs.dtype), soft, self.surrogate)


class AddedNoise(nn.Module):
    """Adds fresh Gaussian noise in every call, from torch's own generator: as with a stranger's defence, no seed reaches it.

    Args:
        sigma: standard deviation.
    """

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of any shape, blurred."""
        return inputs + self.sigma * torch.randn_like(inputs)


class Softmaxed(nn.Module):
    """Probabilities `(b, c)` of logits `(b, c)`: on confident logits, cross-entropy of them has hardly any gradient."""

    def forward(self, logits: Tensor) -> Tensor:
        """Logits to probabilities."""
        return logits.softmax(1)


class ScaledLogits(nn.Module):
    """Logits times a positive factor: no decision changes, but cross-entropy saturates.

    Args:
        factor: positive.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        """Logits, scaled."""
        return logits * self.factor


class KWinners(nn.Module):
    """Keeps each image's largest activations as they are and sets the others to 0: discontinuous, with a gradient that says nothing of it.

    Args:
        share: of the activations of one image that are kept, in (0, 1]; at least one is.

    Example:
        >>> KWinners(0.5)(torch.tensor([[3.0, -1.0, 2.0, 1.0]]))
        tensor([[3., 0., 2., 0.]])
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise InputError("share", "a number in (0, 1]", share)
        self.share = share

    def forward(self, inputs: Tensor) -> Tensor:
        """Features `(b, ...)`, the winners kept."""
        flat = inputs.flatten(1)
        winners = flat.topk(max(1, round(self.share * flat.shape[1])), dim=1)
        return torch.zeros_like(flat).scatter(1, winners.indices, winners.values).view_as(inputs)


def with_activation(network: nn.Module, make: Callable[[], nn.Module], *, only: int | None = None) -> nn.Module:
    """A copy of a network with other activations; it has to be trained (again) with them.

    Args:
        network: with `nn.ReLU` modules, counted in the order of `modules()`.
        make: builds one activation.
        only: replace the ReLU with this number alone, from 0; None replaces all.

    Returns:
        The copy, with the same weights.

    Raises:
        InputError: there is no such ReLU.

    Example:
        >>> with_activation(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), lambda: KWinners(0.5))[1]
        KWinners()
    """
    changed = copy.deepcopy(network)
    places = [
        (parent, name)
        for parent in changed.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ReLU)
    ]
    if only is not None and not 0 <= only < len(places) or not places:
        raise InputError("only", f"the number of one of {len(places)} nn.ReLU modules, from 0", only)
    for parent, name in places if only is None else [places[only]]:
        setattr(parent, name, make())
    return changed


def _known(surrogate: str, accepted: tuple[str, ...]) -> str:
    if surrogate not in accepted:
        raise InputError("surrogate", "a gradient to claim", surrogate, accepted)
    return surrogate


def _claimed(hard: Tensor, soft: Tensor, surrogate: str) -> Tensor:
    """The values of `hard`; the gradient of `soft`, or none (zero, with a graph, as `torch.round` has it)."""
    return hard.detach() + (soft * 0 if surrogate == "none" else soft - soft.detach())
