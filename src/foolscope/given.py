"""What users hand over, by name or as an object: data, models and attacks."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.attacks import ATTACKS, Bound, bind
from foolscope.attacks._table import Function
from foolscope.data import DataSet, from_loader, from_tensors, open_data
from foolscope.data.pixels import DUST
from foolscope.errors import InputError
from foolscope.foreign import foreign_code, loaded_object
from foolscope.models import load_model, wrap
from foolscope.models.builtin import MODELS
from foolscope.models.weights import fingerprint
from foolscope.oracle import Oracle
from foolscope.subject import Subject, adapted

Bounds = tuple[float, float] | None
Data = str | DataSet | tuple[Any, Any] | Iterable[Any]


def checked_seed(seed: int) -> None:
    """Refuses a seed of more than 64 bits."""
    if not -(2**63) <= seed < 2**63:
        raise InputError("--seed", "a whole number of at most 64 bits", seed)


def source_of(text: str) -> str:
    """SHA-256 of the user's file that a text such as `file.py:NAME` names, so that a changed file is another run; "" for other texts."""
    file = Path(text.rpartition(":")[0])
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.suffix == ".py" and file.is_file() else ""


def is_foreign(attack: str) -> bool:
    """Whether an ATTACK text is a stranger's `file.py:FUNCTION` or `package.module:FUNCTION`.

    Example:
        >>> is_foreign("file.py:attack"), is_foreign("file.py:attack,steps=3"), is_foreign("pgd:steps=3"), is_foreign("pdg:steps=3")
        (True, True, False, False)
    """
    name, colon, rest = attack.partition(":")
    return name.endswith(".py") or bool(colon) and name not in ATTACKS and "=" not in rest


def attack_of(argument: str, text: str, stack: ExitStack, **given: Any) -> Bound:
    """The attack that an ATTACK text stands for; `given` applies where it has such options."""
    return bind(text, attack_function(argument, text, stack), **given) if is_foreign(text) else bind(text, **given)


def attack_function(argument: str, text: str, stack: ExitStack) -> Function:
    """A stranger's attack, `file.py:FUNCTION`, whose errors are told as theirs; its file can import its neighbours within `stack`."""
    function = stack.enter_context(loaded_object(argument, text))
    if not callable(function):
        came = f"a {type(function).__name__}"
        raise InputError(argument, f"{text} to be a function with the house signature", came)

    @functools.wraps(function)
    def guarded(model: Oracle, inputs: Tensor, labels: Tensor, **options: Any) -> Tensor:
        own = (model, inputs.clone(), labels.clone())  # theirs to change
        try:
            inspect.signature(function).bind(*own, **options)
        except TypeError as error:
            raise InputError(argument, f"{text} to take (model, inputs, labels, *, ...)", str(error)) from error
        with foreign_code():
            answer = function(*own, **options)
        if not isinstance(answer, Tensor) or answer.shape != inputs.shape:
            came = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
            raise InputError(argument, f"images of shape {tuple(inputs.shape)} from {text}", came)
        return _without_dust(answer.detach(), model.bounds)

    return guarded


def _without_dust(images: Tensor, bounds: Bounds) -> Tensor:
    """The images with what is outside the box by rounding moved to its edge."""
    if bounds is None:
        return images
    low, high = bounds
    inside = images.clamp(low, high)
    return torch.where((images - inside).abs() <= DUST * (high - low), inside, images)


def data_of(
    data: Data,
    samples: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
    bounds: Bounds = (0.0, 1.0),
) -> DataSet:
    """The data set that a DATA text, `(images, labels)`, an iterable of batches or a `DataSet` stands for."""
    if isinstance(data, str):
        return open_data(data, samples=samples, resize=resize, crop=crop, bounds=bounds)
    for option, value in (("--resize", resize), ("--crop", crop)):
        if value is not None:
            raise InputError(option, "nothing for images that are given as tensors", value)
    if isinstance(data, DataSet):
        if samples is not None and samples < 1:
            raise InputError("--samples", "a whole number of at least 1", samples)
        return replace(data, labels=data.labels[:samples])
    if isinstance(data, tuple) and len(data) == 2:
        return from_tensors(*data, bounds=bounds, samples=samples)
    if not hasattr(data, "__iter__"):
        expected = "a DATA text, (images, labels), a DataLoader or another iterable of batches, or a DataSet"
        raise InputError("DATA", expected, f"a {type(data).__name__}")
    return from_loader(data, bounds=bounds, samples=samples)


def name_of(model: str | nn.Module, weights: str | None = None) -> str:
    """A model as the user named it."""
    if isinstance(model, str):
        return f"{model} --weights {Path(weights).name}" if weights else model
    return type(model).__name__


def subject_of(
    model: str | nn.Module,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | None = None,
    seed: int = 0,
    untrained: bool = False,
) -> Subject:
    """The model that a MODEL text or a module stands for; `untrained`: a built-in that trains itself does not."""
    if isinstance(model, str):
        place = device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
        loaded = load_model(model, weights=weights, mean=mean, std=std, device=place, seed=seed, untrained=untrained)
        source = source_of(model)
        return Subject(
            loaded.module, name_of(model, weights), loaded.parameters, loaded.sha256, loaded.notes, loaded.shape, source
        )
    if not isinstance(model, nn.Module):
        raise InputError("MODEL", "a torch.nn.Module or a MODEL text", f"a {type(model).__name__}")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    adapted = wrap(model, mean=mean, std=std)
    return Subject(adapted, name_of(model), parameters, fingerprint(adapted))


def foreseen(
    run: str, model: str | nn.Module, weights: str | None, images: DataSet, bounds: Bounds, **rest: Any
) -> dict[str, Any]:
    """Of what makes a run this run (`settings_of`), as much as is known before the model is loaded or trained."""
    return {
        "run": run,
        "model": {"name": name_of(model, weights)},
        "data": {"name": images.name, "n": len(images)},
        "bounds": bounds,
        **rest,
    }


def fitting_subject(
    images: DataSet,
    bounds: Bounds,
    model: str | nn.Module,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | None = None,
    seed: int = 0,
) -> Subject:
    """As `subject_of`, for these images; of a built-in network that trains itself, what does not fit is told before it does."""
    if isinstance(model, str) and model in MODELS and MODELS[model].train is not None and weights is None:
        adapted(subject_of(model, None, mean, std, device, seed, untrained=True), images, bounds, batch_size=1)
    return subject_of(model, weights, mean, std, device, seed)
