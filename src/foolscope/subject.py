"""A model and data brought together: what fits, what does not, and how the run is set up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from foolscope import __version__
from foolscope.environment import environment
from foolscope.errors import ForeignError, InputError
from foolscope.intervals import wilson
from foolscope.ledger import Case, Ints, Ledger, Progress, clean_pass, predicted
from foolscope.models.adapters import CopiedInputs
from foolscope.norms import NORMS, get_norm
from foolscope.oracle import Oracle
from foolscope.probabilities import LogProbabilities, are_probabilities
from foolscope.rng import uniform
from foolscope.store import Store
from foolscope.swift import swift_copy
from foolscope.untouched import untouched

if TYPE_CHECKING:
    from foolscope.data import DataSet

SCHEMA = 1
DEFAULT_EPS = 8 / 255  # linf; other norms have no default


@dataclass(frozen=True)
class Subject:
    """A model and what is known of it.

    Attributes:
        module: images to logits.
        name: as the user named it.
        parameters: how many numbers it has learned.
        sha256: of its state dict.
        notes: what the user should be told.
        shape: of the images it takes, where known.
        source: SHA-256 of the user's file that builds it, or "".
    """

    module: nn.Module
    name: str
    parameters: int
    sha256: str
    notes: tuple[str, ...] = ()
    shape: tuple[int, int, int] | None = None
    source: str = ""

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))


@dataclass(frozen=True)
class Opened:
    """A case whose clean pass is done.

    Attributes:
        case: what is attacked.
        ledger: after the clean pass.
        correct: positions of the images that are right when clean.
        probabilities: whether the model hands out probabilities; the case is then over their logarithm.
        notes: what the user should be told.
    """

    case: Case
    ledger: Ledger
    correct: np.ndarray
    probabilities: bool
    notes: tuple[str, ...]


def checked_eps(norm: str, eps: float | None, shape: Sequence[int], bounds: tuple[float, float] | None) -> float:
    """The radius that decides.

    Raises:
        InputError: missing where the norm has no default, not a positive number, or more than the box allows.
    """
    get_norm(norm)
    if eps is None:
        if norm != "linf":
            raise InputError("--eps", f"a radius, which {norm} has no default for", None)
        return DEFAULT_EPS
    if not 0 < eps < 1e18:  # whose square float32 still holds
        raise InputError("--eps", "a positive number below 1e18", eps)
    if norm == "l0" and eps != int(eps):
        raise InputError("--eps", "a whole number of components in l0", eps)
    if norm == "l0" and bounds is None:
        raise InputError("--bounds", "a box, without which one component can change everything in l0", "none")
    largest = NORMS[norm].largest(int(np.prod(shape)), bounds[1] - bounds[0]) if bounds else float("inf")
    if eps > largest:
        raise InputError("--eps", f"at most {largest:g}, the largest {norm} distance inside the box", eps)
    return float(eps)


def checked_batch_size(batch_size: int | None, shape: Sequence[int], device: torch.device) -> int:
    """Images a batch; by default as many as fill a processor's caches or keep an accelerator busy, a power of two from 8 to 1,024."""
    if batch_size is not None:
        if batch_size < 1:
            raise InputError("--batch-size", "a whole number of at least 1", batch_size)
        return batch_size
    budget = 2**18 if device.type == "cpu" else 2**24
    return int(min(1024, max(8, 2 ** int(np.log2(max(1.0, budget / max(1, math.prod(shape))))))))


def settings_of(run: str, subject: Subject, data: DataSet, data_sha256: str, **rest: Any) -> dict[str, Any]:
    """What makes a run this run; `run` is the command."""
    return {
        "schema": SCHEMA,
        "foolscope": __version__,
        "run": run,
        "model": {"name": subject.name, "sha256": subject.sha256, "source": subject.source},
        "data": {"name": data.name, "sha256": data_sha256, "n": len(data)},
        "device": str(subject.device),
        **rest,
    }


def described(subject: Subject, data: DataSet, data_sha256: str, command: str, **of_model: Any) -> dict[str, Any]:
    """What a record says of the machine, the model (`of_model` beside its name and hash) and the images."""
    return {
        "foolscope": __version__,
        "command": command,
        "environment": environment(),
        "model": {
            "name": subject.name,
            "parameters": subject.parameters,
            "sha256": subject.sha256,
            **of_model,
        },
        "data": {"name": data.name, "sha256": data_sha256, "n": len(data), "shape": list(data.shape)},
    }


@contextmanager
def opened(
    subject: Subject,
    data: DataSet,
    store: Store,
    *,
    norm: str,
    eps: float | None,
    seed: int,
    batch_size: int,
    bounds: tuple[float, float] | None,
    time_limit: float | None = None,
    progress: Progress,
    rehearse: Callable[[Case, Ints], None] = lambda case, positions: None,
) -> Iterator[Opened]:
    """The model, untouched, over the data, with the clean pass done; nothing is written before the two are known to fit.

    `rehearse` is called before that too, with two images that are right when clean, unless the run has begun already.

    Raises:
        InputError: model and data do not fit each other.
        ForeignError: the model raised.
    """
    deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
    with untouched(subject.module) as notes, ExitStack() as stack:
        case = Case(subject.module, data, bounds, norm, eps, seed, batch_size, store, progress, deadline)
        case, probabilities, first = _look(case, subject)
        looked = first.forwards.numpy().copy()
        right = np.flatnonzero((predicted(first.clean) == first.labels).cpu().numpy())
        if len(right) and not store.resumed:
            rehearse(case, right[:2])
        stack.enter_context(store.begin())
        ledger = clean_pass(case)
        ledger.forwards[: len(looked)] += looked
        ledger.stages[0] = replace(ledger.stages[0], forwards=int(ledger.forwards.sum()))
        correct = np.flatnonzero(ledger.correct(data.labels))
        swift, done = swift_copy(case.model, _probe(case))
        if swift is not None:
            case = replace(case, swift=swift)
            notes = (
                *notes,
                f"attacks ran on a faster copy of the model ({done}); every answer was checked on the model itself",
            )
        told = (*subject.notes, *data.notes, *_no_better_than_guessing(len(correct), ledger), *notes)
        yield Opened(case, ledger, correct, probabilities, told)


def _no_better_than_guessing(right: int, ledger: Ledger) -> tuple[str, ...]:
    """What looks like a fragile model is most often one that was given its images, or its labels, another way than in training."""
    n, classes = ledger.logits.shape
    if wilson(right, n)[0] > 1 / classes:
        return ()
    return (
        f"clean accuracy is {right / n:.1%}, not clearly better than guessing among {classes} classes: check the order of "
        "the labels, the size of the images, and whether the model itself does the normalisation that it was trained with",
    )


def _probe(case: Case) -> torch.Tensor:
    """Two random images: what is tried out on them is no image's cost."""
    low, high = case.bounds or (0.0, 1.0)
    like = next((t for t in (*case.model.parameters(), *case.model.buffers())), torch.empty(0))
    return low + (high - low) * uniform(case.seed, torch.arange(2, device=like.device), 0, case.data.shape)


def adapted(subject: Subject, data: DataSet, bounds: tuple[float, float] | None, batch_size: int) -> nn.Module:
    """The model as it is attacked: over the logarithm of its outputs where they are probabilities."""
    return _look(Case(subject.module, data, bounds, "linf", None, 0, batch_size, Store(Path())), subject)[0].model


def _look(case: Case, subject: Subject) -> tuple[Case, bool, Oracle]:
    """A first look at the first images, through an oracle: does the model take them, and does it hand out logits?"""
    channels = case.data.shape[0]
    if subject.shape is not None and channels != subject.shape[0]:
        raise InputError("DATA", f"images of {subject.shape[0]} channels for {subject.name}", f"{channels} channels")
    oracle = case.oracle(np.arange(min(len(case.data), case.batch_size)))
    version = oracle.inputs._version
    try:
        logits = oracle.clean
    except ForeignError as error:
        expected = _first_layer(subject.module, case.data.shape, error)
        if expected is None:
            raise
        raise InputError("DATA", f"{expected} ({error})", f"images of shape {tuple(case.data.shape)}") from error
    _check_classes(case.data, logits.shape[1])
    if oracle.inputs._version != version:
        case = replace(case, model=CopiedInputs(case.model))
    probabilities = are_probabilities(logits)
    if probabilities:
        case = replace(case, model=LogProbabilities(case.model))
    return case, probabilities, oracle


def _first_layer(module: nn.Module, shape: Sequence[int], error: ForeignError) -> str | None:
    """What the model's first layer takes, if the error looks like torch's about a wrong shape of the images; else None."""
    words = ("shape", "size", "channels", "dimension")
    if not isinstance(error.__cause__, RuntimeError) or not any(word in str(error) for word in words):
        return None
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return f"images of {layer.in_channels} channels that its layers have room for"
        if isinstance(layer, nn.Linear):
            fits = layer.in_features == math.prod(shape)
            return None if fits else f"images of {layer.in_features} components"
    return None


def _check_classes(data: DataSet, classes: int) -> None:
    largest = int(data.labels.max())
    if classes < 2:
        raise InputError("MODEL", "at least two classes", f"logits for {classes}")
    if largest >= classes:
        raise InputError("MODEL", f"a class for every label up to {largest}", f"logits for {classes} classes")
