"""A copy of a network that computes the same with less work: batch norms folded into the layers before them.

Attacks run on the copy. It rounds differently, so what they find is checked on the network as the user gave it.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from foolscope.untouched import HOOKS

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ROUNDING = 1e-9  # relative difference of logits in float64


def folded(model: nn.Module, inputs: Tensor) -> tuple[nn.Module, int]:
    """The network with each batch norm that directly follows a convolution or a linear layer folded into it.

    ``W' = s W,  b' = s (b - mean) + beta`` with ``s = gamma / sqrt(variance + epsilon)``, computed in float64 and rounded once. Which
    layers follow each other is read off a run; that the copy is the same function is checked in float64, to rounding.

    Args:
        model: images to logits, in eval mode and frozen; it is not touched.
        inputs: a few images to run it on, `(b, ...)`.

    Returns:
        The copy and how many batch norms it has lost; the network itself and 0 where there is nothing to fold, or where it can't be shown
        to be exact (hooks, several dtypes, draws at random, a norm that uses the batch's own statistics).

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval().requires_grad_(False)
        >>> copy, count = folded(model, torch.rand(2, 1, 4, 4))
        >>> count, copy[1]
        (1, Identity())

    References:
        Jacob et al. 2018, arXiv:1712.05877, sec. 3.2, eq. 14.
    """
    dtypes = {t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()}
    foldable = any(type(part) in NORMS for part in model.modules())
    if not foldable or len(dtypes) != 1 or any(getattr(part, name, None) for part in model.modules() for name in HOOKS):
        return model, 0
    try:
        with torch.no_grad():
            exact, inputs = copy.deepcopy(model).double(), inputs.double()
            logits = exact(inputs)
            other = copy.deepcopy(exact)
            pairs = _pairs(copy.deepcopy(exact), inputs)
            for layer, norm in pairs:
                _fold(other, layer, norm)
            off = (other(inputs) - logits).abs().max()
            same = bool(off <= ROUNDING * logits.abs().max())
    except (
        Exception
    ):  # a network may refuse to be copied, cast or taken apart in any way it likes: it is then used as it is
        return model, 0
    if not pairs or not same:
        return model, 0
    return other.to(dtypes.pop()).requires_grad_(False), len(pairs)


def _pairs(model: nn.Module, inputs: Tensor) -> list[tuple[str, str]]:
    """Names of layers and of the batch norms that take what they hand out, unchanged, and nothing else; each used once."""
    calls: Counter[str] = Counter()
    made: list[tuple[str, Tensor, int]] = []  # by which layer, what, and its version: a change in place raises it
    pairs: list[tuple[str, str]] = []

    def note(name: str, output: Tensor) -> None:
        calls[name] += 1
        made.append((name, output, output._version))

    def look(name: str, given: Tensor) -> None:
        calls[name] += 1
        pairs.extend((layer, name) for layer, out, version in made if out is given and out._version == version)

    for name, part in model.named_modules():
        if type(part) in (*CONVOLUTIONS, nn.Linear):
            part.register_forward_hook(lambda part, args, output, name=name: note(name, output))
        elif type(part) in NORMS and part.running_mean is not None:
            part.register_forward_pre_hook(lambda part, args, name=name: look(name, args[0]))
    model(inputs)
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]


def _fold(model: nn.Module, layer: str, norm: str) -> None:
    fuse: Any = (
        fuse_linear_bn_eval if type(model.get_submodule(layer)) is nn.Linear else fuse_conv_bn_eval
    )  # typed too narrowly
    model.set_submodule(layer, fuse(model.get_submodule(layer), model.get_submodule(norm)))
    model.set_submodule(norm, nn.Identity())
