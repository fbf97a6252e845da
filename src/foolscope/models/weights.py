"""State dicts from files: read without executing anything, unwrapped, and fitted to a module."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.models.adapters import Adapted

SUFFIX = ".safetensors"
WRAPPINGS = ("state_dict", "model_state_dict", "model", "net")  # how training scripts nest a state dict in a checkpoint
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning
READABLE = "a safetensors file or a state dict that torch.load(weights_only=True) reads"


def find_weights(text: str) -> Path:
    """The file that `--weights TEXT` means: a path, or a name under `$FOOLSCOPE_WEIGHTS`, with or without its ending.

    Raises:
        InputError: if there is no such file.
    """
    folder = os.environ.get("FOOLSCOPE_WEIGHTS", "")
    places = [Path(text)]
    if folder:
        places += [Path(folder) / text, Path(folder) / (text + SUFFIX)]
    for place in places:
        if place.is_file():
            return place
    names = [p.name.removesuffix(SUFFIX) for p in Path(folder).glob(f"*{SUFFIX}")] if folder else []
    where = "" if folder else " ($FOOLSCOPE_WEIGHTS, where bare names are looked up, is not set)"
    raise InputError("--weights", f"an existing file{where}", text, names)


def read_state(text: str) -> dict[str, Tensor]:
    """The state dict in a weights file, unwrapped, on the CPU. Nothing in the file is executed.

    Raises:
        InputError: on a file that is missing, corrupt, asks for code to be run, or holds no state dict.
    """
    path = find_weights(text)
    loaded = _read(path)
    while isinstance(loaded, Mapping):
        inner = next((loaded[key] for key in WRAPPINGS if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    if not isinstance(loaded, Mapping) or not any(isinstance(value, Tensor) for value in loaded.values()):
        raise InputError("--weights", "a state dict (names to tensors)", f"{path.name} with {_kind(loaded)}")
    other = [str(key) for key, value in loaded.items() if not isinstance(value, Tensor)]
    if other:
        raise InputError("--weights", "a state dict (names to tensors)", f"{path.name}, where {other[0]} is no tensor")
    return {str(key): value for key, value in loaded.items()}


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return f"keys {', '.join(map(str, list(value)[:5]))}" if value else "nothing in it"
    return f"a {type(value).__name__}"


def _read(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            start = file.read(9)
        if path.suffix == SUFFIX or start[8:] == b"{":  # eight bytes of length, then a JSON header
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError("--weights", "a readable safetensors file", f"{path.name}: {error}") from error
    except OSError as error:
        raise InputError("--weights", "a readable file", f"{path.name}: {error.strerror or error}") from error
    except Exception as error:  # torch.load has no error of its own: a damaged pickle raises whatever it stumbles over
        raise InputError("--weights", READABLE, f"{path.name}, {_refusal(error)}") from error


def _refusal(error: Exception) -> str:
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted:
        return f"a pickle that would run code ({wanted[1]}); refused"
    return f"which it does not ({type(error).__name__})"


def fit(module: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Load `state` into `module`, in the module's own dtypes.

    What a checkpoint's wrapper put before every name (``module.``) is dropped.

    Returns:
        Notes: which dtypes were converted.

    Raises:
        InputError: naming the first missing or unexpected keys, or the shape that differs.
    """
    own = module.state_dict()
    state = _stripped(state, own)
    try:
        result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        _refuse_keys(own.keys() - state.keys(), state.keys() - own.keys(), own)
        for name, value in own.items():
            if name in state and state[name].shape != value.shape:
                expected = f"weights that fit: {name} of shape {tuple(value.shape)}"
                raise InputError("--weights", expected, f"{tuple(state[name].shape)}") from error
        raise InputError("--weights", "weights that fit the model", " ".join(str(error).split())[:200]) from error
    _refuse_keys(result.missing_keys, result.unexpected_keys, own)
    return _converted(module, state)


def _stripped(state: Mapping[str, Tensor], own: Mapping[str, object]) -> Mapping[str, Tensor]:
    while not own.keys() & state.keys():
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _refuse_keys(missing: Iterable[str], unexpected: Iterable[str], own: Mapping[str, object]) -> None:
    # Batch-norm's step counter came late to PyTorch: old files lack it, and it has no part in inference.
    places = {name: place for place, name in enumerate(own)}
    gone = sorted(
        (name for name in missing if not name.endswith("num_batches_tracked")), key=lambda n: places.get(n, 0)
    )
    extra = sorted(unexpected)
    if not gone and not extra:
        return
    told = [f"{kind} {_first(names)}" for kind, names in (("missing", gone), ("unexpected", extra)) if names]
    raise InputError("--weights", f"weights that fit the model's {len(own)} entries", "; ".join(told))


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _converted(module: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    pairs = sorted(
        {
            (str(state[name].dtype), str(value.dtype))
            for name, value in module.state_dict().items()
            if name in state and isinstance(value, Tensor) and value.dtype != state[name].dtype
        }
    )
    return tuple(f"weights of {given} loaded into {own}".replace("torch.", "") for given, own in pairs)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 (hex) of the module's state dict: each entry's name, dtype, shape and bytes, in order.

    An adapter that `wrap` put around a module adds its normalisation after the module's own entries, and nothing else.

    Raises:
        InputError: if an entry is on the device `meta`, where tensors hold no numbers.

    Example:
        >>> fingerprint(nn.Flatten()) == hashlib.sha256().hexdigest()
        True
    """
    digest = hashlib.sha256()
    entries = module.state_dict()
    if isinstance(module, Adapted):
        entries = {name.removeprefix("module."): value for name, value in entries.items()}
    for name, value in entries.items():
        if not isinstance(value, Tensor):
            digest.update(f"{name} {type(value).__name__}\n".encode())
            continue
        if value.is_meta:
            raise InputError("MODEL", "weights that hold numbers", f"{name} on the device meta")
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
