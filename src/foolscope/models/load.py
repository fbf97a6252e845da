"""MODEL, as the command line says it, to a network that is ready to be attacked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from foolscope.errors import InputError
from foolscope.models.adapters import normalisation, wrap
from foolscope.models.builtin import MODELS, build_builtin
from foolscope.models.digits import seeded
from foolscope.models.foreign import build_object
from foolscope.models.source import Source
from foolscope.models.vision import build_hf, build_timm, build_torchvision
from foolscope.models.weights import fingerprint, fit, read_state

LIBRARIES = {"torchvision": build_torchvision, "timm": build_timm, "hf": build_hf}


@dataclass(frozen=True)
class LoadedModel:
    """A classifier ready for use.

    Attributes:
        module: images (b, C, H, W) in [0, 1] to logits (b, classes); in eval mode, on the device that was asked for.
        name: MODEL as it was given.
        parameters: how many numbers the network has learned.
        sha256: of the state dict (names, dtypes, shapes, bytes, in order), normalisation of `mean` and `std` included.
        notes: what the user should be told.
        shape: the images' (C, H, W), where it is known (built-in networks).
        classes: the number of classes, where it is known.
    """

    module: nn.Module
    name: str
    parameters: int
    sha256: str
    notes: tuple[str, ...]
    shape: tuple[int, int, int] | None = None
    classes: int | None = None


def load_model(
    text: str,
    *,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str = "cpu",
    seed: int = 0,
    untrained: bool = False,
) -> LoadedModel:
    """Build the classifier that MODEL names, load its weights and put its normalisation inside.

    Args:
        text: a built-in name, ``file.py:NAME``, ``package.module:NAME``, ``torchvision:NAME``, ``timm:NAME`` or
            ``hf:ID``.
        weights: a safetensors file, a state dict read with ``weights_only``, or a name under ``$FOOLSCOPE_WEIGHTS``.
        mean: what to subtract from each channel, in input units (with `std`); replaces what pretrained weights bring.
        std: what to divide each channel by.
        device: as torch names it.
        seed: of initial weights and of the training of `digits_cnn`; torch's own generator is left as it was.
        untrained: the model is about to be trained: `digits_cnn` does not train itself, and nobody warns of random weights.

    Returns:
        The model; what it prints while it is built goes to standard error.

    Raises:
        InputError: on a name, a file, weights or numbers that don't fit.
        ForeignError: if the user's own file raises.

    Example:
        >>> model = load_model("mlp", seed=1)
        >>> model.parameters, model.shape
        (235146, (1, 28, 28))
    """
    place = checked_device(device)
    given = normalisation(mean, std)
    state = None if weights is None else read_state(weights)
    with seeded(seed), redirect_stdout(sys.stderr):
        source = _build(text, weights is not None, seed, untrained)
    if given is not None and source.shape is not None and given.m.numel() != source.shape[0]:
        raise InputError("--mean", f"{source.shape[0]} numbers, one for each channel of {text}", given.m.numel())
    notes = source.notes + (() if state is None else fit(source.module, state))
    tensors = (*source.module.parameters(), *source.module.buffers())
    if any(isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in tensors):
        raise InputError("MODEL", "a model whose layers know their sizes (or --weights)", f"{text} with lazy layers")
    parameters = sum(p.numel() for p in source.module.parameters())
    module = source.module
    if given is not None:
        module = wrap(module, mean=mean, std=std)
    elif source.adapt:
        module = wrap(module, mean=source.mean, std=source.std)
    sha256 = fingerprint(module)
    module = module.eval().to(place)
    return LoadedModel(module, text, parameters, sha256, notes, source.shape, source.classes)


def checked_device(text: str) -> torch.device:
    """A device that tensors can live on."""
    try:
        device = torch.device(text)
        if device.type != "meta":
            torch.empty(0, device=device)
            return device
    except (RuntimeError, AssertionError, NotImplementedError):
        pass
    present = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    raise InputError("--device", "a device of this machine", text, present)


def _build(text: str, weights: bool, seed: int, untrained: bool) -> Source:
    if text in MODELS:
        return build_builtin(text, weights=weights or untrained, seed=seed)
    prefix, colon, name = text.partition(":")
    if colon and name and prefix in LIBRARIES:
        return LIBRARIES[prefix](name, pretrained=not weights)
    where, _, name = text.rpartition(":")
    if where and name:
        return build_object(text)
    owner = next((model for model, row in MODELS.items() if text in row.weights), None)
    hint = f"; {text} is weights: {owner} --weights {text}" if owner else ""
    kinds = "file.py:NAME, package.module:NAME, torchvision:NAME, timm:NAME, hf:ID_OR_FOLDER"
    raise InputError("MODEL", f"a built-in network, {kinds}{hint}", text, MODELS)
