"""A copy of a network that computes the same with less work: batch norms folded away, weights in an order that suits the processor.

Attacks run on the copy. It rounds differently, so what they find is checked on the network as the user gave it.
"""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from foolscope.oracle import Oracle
from foolscope.untouched import HOOKS

FOLDED, CHANNELS_LAST = "folded", "channels-last"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
DEEP = 8  # convolutions from which channels-last pays on a processor: a network of 19 gains by it, one of 2 loses (docs/benchmarks.md)
ROUNDING = 1e-9  # relative difference of logits and gradients in float64


def swift_copy(model: nn.Module, inputs: Tensor, ways: tuple[str, ...] | None = None) -> tuple[nn.Module | None, str]:
    """A copy with each batch norm folded into the layer before it, and deep networks' convolutions channels-last.

    ``W' = s W,  b' = s (b - mean) + beta`` with ``s = gamma / sqrt(variance + epsilon)``, computed in float64 and rounded once. Which
    layers follow each other is read off a run; that logits and input gradients are the same is checked in float64, to rounding.

    Args:
        model: images to logits, in eval mode and frozen; it is not touched.
        inputs: a few images to run it on, `(b, ...)`.
        ways: `folded`, `channels-last` or both; those that pay when None.

    Returns:
        The copy and what was done, in words; None and "" where nothing pays, or where it can't be shown to be the same function (hooks,
        several dtypes, draws at random, a norm that uses the batch's own statistics).

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval().requires_grad_(False)
        >>> other, done = swift_copy(model, torch.rand(2, 1, 4, 4))
        >>> other[1], done
        (Identity(), 'batch norms folded away: 1')

    References:
        Jacob et al. 2018, arXiv:1712.05877, sec. 3.2, eq. 14.
    """
    dtypes = {t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()}
    if len(dtypes) != 1 or any(getattr(part, name, None) for part in model.modules() for name in HOOKS):
        return None, ""
    for wanted in [ways] if ways else _paying(model, inputs):
        # A network may refuse to be copied, cast or taken apart in any way it likes: it is then used as it is.
        with contextlib.suppress(Exception), torch.no_grad():
            exact = copy.deepcopy(model).double()
            other, done = copy.deepcopy(exact), []
            if FOLDED in wanted and (count := _fold(other, inputs.double())):
                done.append(f"batch norms folded away: {count}")
            if CHANNELS_LAST in wanted:
                other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                done.append("convolutions channels-last")
            if done and _same(exact, other, inputs.double()):
                return other.to(dtypes.pop()).requires_grad_(False), ", ".join(done)
    return None, ""


def _paying(model: nn.Module, inputs: Tensor) -> list[tuple[str, ...]]:
    """What is worth a try, the best first."""
    parts = [type(part) for part in model.modules()]
    tried: list[tuple[str, ...]] = []
    if inputs.device.type == "cpu" and parts.count(nn.Conv2d) >= DEEP:
        tried.append((FOLDED, CHANNELS_LAST))
    if any(part in NORMS for part in parts):
        tried.append((FOLDED,))
    return tried


def _same(model: nn.Module, other: nn.Module, inputs: Tensor) -> bool:
    """Whether logits, and gradients of the margin, agree to rounding."""
    pairs = []
    for network in (model, other):
        oracle = Oracle(network, inputs, torch.zeros(len(inputs), dtype=torch.int64), bounds=None)
        pairs.append((oracle.clean, oracle.gradient(inputs, oracle.rows_all).gradient))
    return all(bool((a - b).abs().max() <= ROUNDING * a.abs().max()) for a, b in zip(*pairs, strict=True))


def _fold(model: nn.Module, inputs: Tensor) -> int:
    """Folds in place; how many."""
    pairs = _pairs(copy.deepcopy(model), inputs)
    for layer, norm in pairs:
        fuse: Any = fuse_conv_bn_eval  # typed too narrowly
        if type(model.get_submodule(layer)) is nn.Linear:
            fuse = fuse_linear_bn_eval
        model.set_submodule(layer, fuse(model.get_submodule(layer), model.get_submodule(norm)))
        model.set_submodule(norm, nn.Identity())
    return len(pairs)


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
