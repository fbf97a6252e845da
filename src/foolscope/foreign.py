"""Code that the user wrote: `file.py:NAME` and `package.module:NAME`, and what it raises."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

import foolscope
from foolscope.errors import ForeignError, InputError

LIBRARIES = tuple(
    os.path.join(os.path.realpath(folder), "")
    for folder in (
        *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
        os.path.dirname(torch.__file__),
        os.path.dirname(foolscope.__file__),
    )
)


def foreign_error(error: BaseException) -> ForeignError:
    """Someone else's exception as one line: where in their own code, and what it said.

    Their own code is what lies neither in this package nor in an installed library; its last frame counts.

    Args:
        error: what the user's model (or attack) raised, with its traceback.

    Returns:
        A ForeignError to raise from `error`. If every frame lies in a library, the last one is named.

    Example:
        >>> print(foreign_error(ValueError("a shape")))
        ValueError: a shape
    """
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):  # its place is in the error, not in the traceback
        return _one_line(f"{Path(error.filename or '?').name}:{error.lineno}", f"{type(error).__name__}: {error.msg}")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    own = [frame for frame in frames if not os.path.realpath(frame.filename).startswith(LIBRARIES)]
    if not frames:
        return _one_line("", words)
    last = (own or frames)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    return _one_line(place if last.name == "<module>" else f"{place} in {last.name}", words)


def _one_line(place: str, words: str) -> ForeignError:
    line = " ".join(f"{place}: {words}".split()) if place else " ".join(words.split())
    return ForeignError(line if len(line) <= 400 else line[:399] + "…")


@contextmanager
def foreign_code() -> Iterator[None]:
    """Around a call into the user's code: whatever it raises, `sys.exit` included, becomes a ForeignError."""
    try:
        yield
    except (InputError, ForeignError):  # told already: an attack of theirs may have called a model of theirs
        raise
    except (Exception, SystemExit) as error:
        raise foreign_error(error) from error


@contextmanager
def loaded_object(argument: str, text: str) -> Iterator[object]:
    """What `file.py:NAME` or `package.module:NAME` names; inside, the file's folder can be imported from.

    Args:
        argument: what the user knows it by (MODEL, ATTACK).
        text: where it is.

    Raises:
        InputError: if the file, the module or NAME is missing.
        ForeignError: if the user's code raises while it is imported.
    """
    where, _, name = text.rpartition(":")
    is_file = where.endswith(".py") or os.sep in where
    folder = os.path.dirname(os.path.abspath(where)) if is_file else os.getcwd()
    # As `python file.py` and `python -m package.module` would have it.
    sys.path.insert(0, folder)
    try:
        module = _execute(argument, Path(where)) if is_file else _import(argument, where)
        yield _attribute(argument, module, where, name)
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _execute(argument: str, path: Path) -> ModuleType:
    """Run a Python file as a module; compiled afresh, so that no stale cache can answer and none is written."""
    if not path.is_file():
        raise InputError(argument, "an existing Python file before ':NAME'", str(path))
    name = f"foolscope_user_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    try:
        with foreign_code():
            code = compile(path.read_bytes(), str(path.resolve()), "exec", dont_inherit=True)
            exec(code, module.__dict__)
    except BaseException:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise
    return module


def _import(argument: str, where: str) -> ModuleType:
    if not where.strip() or where.startswith("."):
        raise InputError(argument, "an importable module before ':NAME'", where)
    try:
        with foreign_code():
            return importlib.import_module(where)
    except ForeignError as error:
        cause = error.__cause__
        # The module itself is missing, not something that it imports.
        if isinstance(cause, ModuleNotFoundError) and f"{where}.".startswith(f"{cause.name}."):
            raise InputError(argument, "an importable module before ':NAME'", where) from None
        raise


def _attribute(argument: str, module: ModuleType, where: str, name: str) -> object:
    with foreign_code():  # a module may define __getattr__
        found = getattr(module, name, None)
    if found is None:
        names = [key for key, value in vars(module).items() if _offered(module, key, value)]
        raise InputError(argument, f"a name in {where}", name, names)
    return found


def _offered(module: ModuleType, name: str, value: object) -> bool:
    if name.startswith("_"):
        return False
    if isinstance(value, type) or not callable(value):
        return callable(value) and getattr(value, "__module__", "") == module.__name__
    return getattr(value, "__module__", "") == module.__name__
