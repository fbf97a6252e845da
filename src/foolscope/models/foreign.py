"""Models that the user wrote: `file.py:NAME` and `package.module:NAME`."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import nn

from foolscope.errors import InputError
from foolscope.foreign import foreign_code, loaded_object
from foolscope.models.source import Source


def build_object(text: str) -> Source:
    """The model that `file.py:NAME` or `package.module:NAME` names: an `nn.Module`, or what NAME() returns.

    Raises:
        InputError: if the file, the module or NAME is missing, or it is or gives no `nn.Module`.
        ForeignError: if the user's code raises while it is imported or called.
    """
    with loaded_object("MODEL", text) as value:
        name = text.rpartition(":")[2]
        built = value if isinstance(value, nn.Module) else _call(value, text, name)
    if not isinstance(built, nn.Module):
        raise InputError("MODEL", f"a torch.nn.Module from {name}()", f"a {type(built).__name__}")
    notes = ("the model was in train mode; put in eval",) if any(m.training for m in built.modules()) else ()
    return Source(built, notes, adapt=True)


def _call(value: object, text: str, name: str) -> object:
    if not callable(value):
        raise InputError(
            "MODEL", f"{text} to be a torch.nn.Module or a function that returns one", f"a {type(value).__name__}"
        )
    needed = _required(value)
    if needed:
        raise InputError("MODEL", f"{text} to be callable without arguments", f"one that needs {', '.join(needed)}")
    with foreign_code():
        return value()


def _required(value: Callable[..., object]) -> list[str]:
    """The arguments without which `value` can't be called; none where its signature can't be told."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
