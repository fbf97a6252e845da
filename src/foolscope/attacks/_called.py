"""What an attack runs on: the oracle that it was called with, or one over the plain model that it was called with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.models.adapters import CopiedInputs
from foolscope.oracle import Oracle
from foolscope.untouched import untouched

OUTSIDE = 1e-6  # beyond the box: rounding


@contextmanager
def attacked(
    model: nn.Module | Oracle, inputs: Tensor, labels: Tensor, targets: Tensor | None = None
) -> Iterator[Oracle]:
    """The oracle that an attack runs on: `model` itself if it is one already, else a new one over an untouched model.

    Raises:
        InputError: images outside the box, labels or targets that are no classes of the model, or targets beside an oracle.
    """
    if isinstance(model, Oracle):
        if targets is not None and targets is not model.targets:
            raise InputError("targets", "none beside an Oracle, which has its own", f"shape {tuple(targets.shape)}")
        yield model
        return
    with torch.inference_mode(False), untouched(model):  # within it, nothing would have a gradient
        inputs, labels = _usual(inputs), _usual(labels)
        oracle = Oracle(model, inputs, labels, targets=None if targets is None else _usual(targets))
        _check_box(oracle)
        _look(oracle)
        yield oracle


def _usual(tensor: Tensor) -> Tensor:
    """A copy that a graph may hold, of a tensor made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def _check_box(oracle: Oracle) -> None:
    if oracle.bounds is None or not oracle.inputs.numel():
        return
    low, high = oracle.bounds
    least, most = (float(edge) for edge in torch.aminmax(oracle.inputs))
    if not low - OUTSIDE <= least <= most <= high + OUTSIDE:
        box = f"images in the box [{low:g}, {high:g}], or an Oracle with other `bounds` in place of the model"
        raise InputError("inputs", box, f"values from {least:g} to {most:g}")


def _look(oracle: Oracle) -> None:
    """The clean pass, on a copy: a model that works in place would spoil the caller's images, and is run on copies from then on."""
    copies = oracle.inputs.clone()
    version = copies._version
    oracle.clean = oracle.logits(copies, oracle.rows_all)
    if copies._version != version:
        oracle.model = CopiedInputs(oracle.model)
    classes = oracle.clean.shape[1]
    if classes < 2:
        raise InputError("model", "logits of at least two classes", classes)
    for name, value in (("labels", oracle.labels), ("targets", oracle.targets)):
        if value is not None and bool(((value < 0) | (value >= classes)).any()):
            raise InputError(name, f"classes from 0 to {classes - 1}", f"{int(value.min())} to {int(value.max())}")
