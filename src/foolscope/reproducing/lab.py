"""What a claim's function works with: a scale, data, and networks that are trained once and shared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from foolscope.data import DataSet, open_data
from foolscope.ledger import Progress
from foolscope.reproducing.cache import Found, Recipe, trained
from foolscope.reproducing.made_data import made
from foolscope.reproducing.measuring import Images

T = TypeVar("T")
TINY = "tiny"  # the scale of the tests: digits for MNIST, an epoch or two; its records prove nothing


@dataclass(frozen=True)
class Lab:
    """Where a claim is measured.

    Attributes:
        scale: `small` (two cores), `paper` (a GPU), or `tiny` in tests.
        cache: the folder of trained networks.
        device: as torch names it.
        progress: told (stage, done, in all).
        data: data sets opened so far, by name.
        seconds: of training that went into the networks used so far, by address in the cache.
        waited: seconds that getting each network took this time.
        known: networks found so far, by their recipes' texts.
    """

    scale: str
    cache: Path
    device: str = "cpu"
    progress: Progress = lambda stage, done, total: None
    data: dict[str, DataSet] = field(default_factory=dict, repr=False)
    seconds: dict[str, float] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)
    known: dict[str, Found] = field(default_factory=dict, repr=False)

    def fresh(self) -> Lab:
        """The same lab with its clocks at zero."""
        return replace(self, seconds={}, waited=[])

    def at(self, *, small: T, paper: T, tiny: T) -> T:
        """The setting for this scale."""
        return {"small": small, "paper": paper, TINY: tiny}[self.scale]

    def images(self, name: str, n: int | None = None) -> Images:
        """The first `n` images of a DATA text, all where None."""
        data = self.open(name)
        count = len(data) if n is None else min(n, len(data))
        return Images(
            data.read(np.arange(count)).to(self.device), torch.from_numpy(data.labels[:count]).to(self.device)
        )

    def open(self, name: str) -> DataSet:
        """The data set of a DATA text, with its images in memory; the tests' scale has digits where others have MNIST."""
        text = name.replace("mnist", "digits") if self.scale == TINY else name
        if text not in self.data:
            self.data[text] = _held(made(text, self.open) or open_data(text))
        return self.data[text]

    def found(self, recipe: Recipe) -> Found:
        """The trained network of a recipe with what is known of its training: trained now unless it was before."""
        if recipe.text not in self.known:
            begun = time.perf_counter()
            data = self.open(recipe.data)
            self.known[recipe.text] = trained(recipe, data, self.cache, device=self.device, progress=self.progress)
            self.waited.append(time.perf_counter() - begun)
        found = self.known[recipe.text]
        self.seconds[found.address] = found.seconds
        return found

    def network(self, recipe: Recipe) -> nn.Module:
        """The trained network of a recipe."""
        return self.found(recipe).module

    def networks(self, recipes: Mapping[str, Recipe]) -> dict[str, nn.Module]:
        """The networks of some recipes, by the same names."""
        return {name: self.network(recipe) for name, recipe in recipes.items()}


def _held(data: DataSet) -> DataSet:
    """The same data set, its images read once."""
    images = data.read(np.arange(len(data)))
    return replace(data, read=lambda positions: images[torch.from_numpy(np.asarray(positions))])
