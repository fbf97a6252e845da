"""Lend a model to an attack and give it back exactly as it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from foolscope.stems import quick_stems

# Where nn.Module keeps its hooks; the names of those that a torch version lacks are passed over.
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


@contextmanager
def untouched(module: nn.Module) -> Iterator[tuple[str, ...]]:
    """Inside: eval mode, no parameter requires a gradient, stems quick. Afterwards, exceptions included, the model is as it was.

    Given back are each submodule's methods, training flag and hooks, each parameter's identity, memory, dtype, device,
    `requires_grad` and `.grad`, and each buffer with its values. Parameters' values are not copied: an attack never
    writes to them.

    Args:
        module: the model; may be moved and cast inside (`module.to`, `module.double`).

    Yields:
        Notes for the user: whether the model was left in train mode.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        >>> with untouched(model) as notes:
        ...     model.training, model[0].weight.requires_grad, notes
        (False, False, ('the model was in train mode; attacked in eval mode, given back in train mode',))
        >>> model.training, model[0].weight.requires_grad
        (True, True)
    """
    was_training = module.training
    partly = any(part.training for part in module.modules())
    undo = [restore for part in module.modules() for restore in (_training(part), _hooks(part), _tensors(part))]
    mode = "in train mode" if was_training else "partly in train mode"
    notes = (f"the model was {mode}; attacked in eval mode, given back {mode}",) if partly else ()
    try:
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None  # kept aside: nothing inside can add to it, move it or cast it
        with quick_stems(module):
            yield notes
    finally:
        if was_training:
            module.train()  # a model with a train() of its own may have more to undo than flags
        for restore in undo:
            restore()


def _training(part: nn.Module) -> Callable[[], None]:
    training = part.training

    def restore() -> None:
        part.training = training

    return restore


def _hooks(part: nn.Module) -> Callable[[], None]:
    kept = [(hooks, dict(hooks)) for hooks in (getattr(part, name, None) for name in HOOKS) if hooks is not None]

    def restore() -> None:
        for hooks, before in kept:
            if list(hooks.items()) != list(before.items()):
                hooks.clear()
                hooks.update(before)

    return restore


def _tensors(part: nn.Module) -> Callable[[], None]:
    own: MutableMapping[str, Any] = part._parameters
    buffers: MutableMapping[str, Any] = part._buffers
    parameters = [_parameter(own, name, value) for name, value in own.items() if value is not None]
    copies = [_buffer(buffers, name, value) for name, value in buffers.items() if value is not None]

    def restore() -> None:
        for undo in (*parameters, *copies):
            undo()

    return restore


def _parameter(owner: MutableMapping[str, Any], name: str, parameter: nn.Parameter) -> Callable[[], None]:
    data, grad, requires_grad = parameter.data, parameter.grad, parameter.requires_grad

    def restore() -> None:
        if name not in owner or owner[name] is not parameter:
            owner[name] = parameter
        parameter.grad = None  # a gradient has to fit the data, so it is put back last
        if not _same_memory(parameter, data):
            parameter.data = data
        parameter.requires_grad_(requires_grad)
        parameter.grad = grad

    return restore


def _buffer(owner: MutableMapping[str, Any], name: str, buffer: Tensor) -> Callable[[], None]:
    data, values = buffer.data, buffer.detach().clone()

    def restore() -> None:
        if name not in owner or owner[name] is not buffer:
            owner[name] = buffer
        if not _same_memory(buffer, data):
            buffer.data = data
        if not torch.equal(buffer, values):  # written only if it changed: a write would spoil a graph the caller holds
            with torch.no_grad():
                buffer.copy_(values)

    return restore


def _same_memory(tensor: Tensor, data: Tensor) -> bool:
    return tensor.dtype == data.dtype and tensor.device == data.device and tensor.data_ptr() == data.data_ptr()
