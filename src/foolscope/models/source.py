"""What every kind of MODEL text turns into before weights, normalisation and device are applied."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Source:
    """A module as its builder made it, with what the builder knows about it.

    `mean` and `std` are the normalisation that pretrained weights were trained behind; `shape` (C, H, W) and `classes`
    are known for built-in networks; `adapt` says that the output may be something that merely carries logits.
    """

    module: nn.Module
    notes: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    shape: tuple[int, int, int] | None = None
    classes: int | None = None
    adapt: bool = False
