"""Models of torchvision, timm and transformers, where those are installed."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from foolscope.errors import InputError
from foolscope.models.source import Source

_SCHEMAS: list[Any] = []  # a Library that nobody holds takes its definitions along


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators can't load (a CUDA build beside a CPU torch).

    Such a torchvision swallows the failure and then stops with "operator torchvision::nms does not exist", because it
    describes two operators that were never declared. Declared by hand, all but those and image reading works.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # imported by half
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _SCHEMAS.append(library)
    return importlib.import_module("torchvision")


def need(package: str, prefix: str) -> None:
    """Refuses models of a package that is not installed."""
    if importlib.util.find_spec(package) is None:
        expected = f"{package} to be installed for '{prefix}:' models (pip install {package})"
        raise InputError("MODEL", expected, "a Python without it")


def _unknown(library: str, name: str, names: Iterable[str]) -> InputError:
    """A library lists hundreds of names, so only the nearest are told."""
    near = difflib.get_close_matches(name, list(names), n=5, cutoff=0.5)
    hint = f" (nearest: {', '.join(near)})" if near else ""
    return InputError("MODEL", f"a name that {library} knows{hint}", name)


def _unloadable(text: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 200 else reason[:199] + "…"
    return InputError(
        "MODEL", f"{text} to load with its own weights (or give --weights FILE)", f"{type(error).__name__}: {reason}"
    )


def _note(text: str, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> str:
    if mean is None or std is None:
        return (
            f"{text}: no normalisation was found beside its weights; give --mean and --std if it was trained behind one"
        )
    return f"{text}: normalised inside with its weights' own mean {mean} and std {std}"


def _numbers(values: object) -> tuple[float, ...] | None:
    return tuple(float(value) for value in values) if isinstance(values, list | tuple) and values else None


def build_torchvision(name: str, *, pretrained: bool) -> Source:
    """`torchvision.models.NAME`, with its default weights and their normalisation if `pretrained`."""
    need("torchvision", "torchvision")
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    names = models.list_models(module=models)
    if name not in names:
        raise _unknown("torchvision", name, names)
    if not pretrained:
        return Source(models.get_model(name, weights=None), adapt=True)
    weights = models.get_model_weights(name).DEFAULT
    try:
        module = models.get_model(name, weights=weights)
    except Exception as error:  # downloads, caches, checksums: each library below has its own errors
        raise _unloadable(f"torchvision:{name}", error) from error
    preset = weights.transforms()
    mean, std = _numbers(preset.mean), _numbers(preset.std)
    return Source(module, (_note(f"torchvision:{name}", mean, std),), mean, std, adapt=True)


def build_timm(name: str, *, pretrained: bool) -> Source:
    """`timm.create_model(NAME)`, with its pretrained weights and their normalisation if `pretrained`."""
    need("timm", "timm")
    need("torchvision", "timm")  # which timm itself imports
    import_torchvision()
    timm = importlib.import_module("timm")
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    try:
        module = timm.create_model(name, pretrained=pretrained)
    except Exception as error:
        raise _unloadable(f"timm:{name}", error) from error
    if not pretrained:
        return Source(module, adapt=True)
    mean, std = _numbers(module.pretrained_cfg.get("mean")), _numbers(module.pretrained_cfg.get("std"))
    return Source(module, (_note(f"timm:{name}", mean, std),), mean, std, adapt=True)


def build_hf(name: str, *, pretrained: bool) -> Source:
    """The image classifier of a hub id or a `save_pretrained` folder; its configuration alone unless `pretrained`."""
    need("transformers", "hf")
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()  # transformers breaks on one that is installed and can't be imported
    transformers = importlib.import_module("transformers")
    automatic: Any = transformers.AutoModelForImageClassification
    try:
        if not pretrained:
            return Source(automatic.from_config(transformers.AutoConfig.from_pretrained(name)), adapt=True)
        module, loading = automatic.from_pretrained(name, output_loading_info=True)
    except Exception as error:
        raise _unloadable(f"hf:{name}", error) from error
    mean, std = _preprocessor(name)
    notes: tuple[str, ...] = (_note(f"hf:{name}", mean, std),)
    missing = sorted(loading["missing_keys"])
    if missing:  # a backbone without its classifier: transformers draws the rest at random and only warns
        told = f"{missing[0]} and {len(missing) - 1} more" if len(missing) > 1 else missing[0]
        notes += (f"UNTRAINED: hf:{name} has no weights for {told}; they are random",)
    return Source(module, notes, mean, std, adapt=True)


def _preprocessor(name: str) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """The mean and std in the `preprocessor_config.json` beside the weights, where there is one and it normalises."""
    path = Path(name) / "preprocessor_config.json"
    if not os.path.isdir(name):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = Path(hf_hub_download(name, "preprocessor_config.json"))
        except EntryNotFoundError:
            return None, None
    if not path.is_file():
        return None, None
    settings = json.loads(path.read_text(encoding="utf-8"))
    if not settings.get("do_normalize", True):
        return None, None
    return _numbers(settings.get("image_mean")), _numbers(settings.get("image_std"))
