"""Networks that claims share: trained once, found again by what they were trained from, interruptible at any moment."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from foolscope.data import DataSet, fingerprint
from foolscope.ledger import Progress
from foolscope.models.digits import seeded
from foolscope.models.weights import fingerprint as weights_fingerprint
from foolscope.models.weights import fit, read_state
from foolscope.reproducing.networks import NETWORKS

VARIABLE = "FOOLSCOPE_CACHE"
VERSION = 1  # goes up when training comes to other weights from the same settings


@dataclass(frozen=True)
class Recipe:
    """All that a trained network follows from.

    Attributes:
        network: a name in `NETWORKS`.
        arguments: of its builder, beside the images' shape and the number of classes.
        objective: an objective's text.
        data: the DATA text of the training images.
        only: the labels kept, renumbered from 0; all where empty.
        options: of `foolscope.training.train`.
        seed: of the initial weights and every draw.
        start: the recipe whose network training starts from; None for fresh weights.
        remarks: what a record says of it under `substituted`; not part of its address.
    """

    network: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    objective: str = "plain"
    data: str = "mnist:train"
    only: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    start: Recipe | None = None
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The settings as one line."""
        return json.dumps(self.settings(), sort_keys=True)

    def settings(self) -> dict[str, Any]:
        """What the address is made from, as JSON has it."""
        content = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("remarks", "start")
        }
        content["start"] = None if self.start is None else self.start.settings()
        found: dict[str, Any] = json.loads(json.dumps(content, default=dict))
        return found


@dataclass(frozen=True)
class Found:
    """A trained network of the cache.

    Attributes:
        module: in eval mode.
        address: its folder's name.
        seconds: of training, summed over interruptions and the networks that it started from.
        history: a record an epoch, as `train.json` has it.
    """

    module: nn.Module
    address: str
    seconds: float
    history: tuple[Mapping[str, Any], ...]


def cache_folder(given: str | Path | None = None) -> Path:
    """The folder of trained networks: as given, else ``$FOOLSCOPE_CACHE``, else the user's own cache folder."""
    if given is not None:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(VARIABLE) or Path(home) / "foolscope")


def untrained(recipe: Recipe, data: DataSet) -> nn.Module:
    """The network of a recipe with its initial weights."""
    classes = len(recipe.only) or len(data.classes)
    with seeded(recipe.seed):
        return NETWORKS[recipe.network](data.shape, classes, **recipe.arguments).eval()


def trained(
    recipe: Recipe,
    data: DataSet,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress = lambda stage, done, total: None,
) -> Found:
    """The network of a recipe: from the cache, or trained now; a training that was interrupted goes on.

    Its address is a hash of the recipe, of the images, of the initial weights and of `VERSION`.

    Args:
        recipe: what to train.
        data: the data set that `recipe.data` names.
        folder: the cache.
        device: as torch names it.
        progress: told (stage, images done, images in all).

    Raises:
        InputError: a cache that can't be written, or a loss that is no longer finite.
    """
    from foolscope.training import train

    images = kept(data, recipe.only)
    first = None if recipe.start is None else trained(recipe.start, data, folder, device=device, progress=progress)
    module = untrained(recipe, data) if first is None else first.module
    parts = [VERSION, recipe.settings(), fingerprint(images), weights_fingerprint(module)]
    address = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
    place = folder / "networks" / address
    record = _record(place)
    if record is None:
        folder.mkdir(parents=True, exist_ok=True)
        train(
            module.to(device),
            images,
            objective=recipe.objective,
            **recipe.options,
            seed=recipe.seed,
            out=place,
            overwrite=True,
            command=recipe.text,
            progress=lambda stage, done, total: progress(f"{stage} {recipe.network} {recipe.objective}", done, total),
        )
        record = _record(place)
        assert record is not None  # train() returns when it is done
    fit(module, read_state(str(place / "best.safetensors")))
    seconds = record["seconds"] + (0.0 if first is None else first.seconds)
    return Found(module.to(device).eval(), address, seconds, tuple(record["history"]))


def kept(data: DataSet, only: tuple[int, ...]) -> DataSet:
    """The images with one of these labels, which are renumbered from 0 in the order given; all where `only` is empty."""
    if not only:
        return data
    places = np.flatnonzero(np.isin(data.labels, only))
    number = {label: k for k, label in enumerate(only)}
    labels = np.array([number[int(label)] for label in data.labels[places]], np.int64)
    classes = tuple(data.classes[label] for label in only)
    return replace(data, labels=labels, classes=classes, read=lambda positions: data.read(places[positions]))


def _record(place: Path) -> dict[str, Any] | None:
    """`train.json` of a finished training; None if there is none."""
    try:
        record: dict[str, Any] = json.loads((place / "train.json").read_text())
    except (OSError, ValueError):
        return None
    return record if record["complete"] and (place / "best.safetensors").is_file() else None
