"""What a pass costs through copies of a network that compute the same: batch norms folded away, another memory format, both.

Weights and images are random: neither changes what a pass costs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foolscope.bench.speed import Ratio, bare_loop, one_thread, paired, where
from foolscope.errors import InputError
from foolscope.models import load_model
from foolscope.rng import uniform
from foolscope.stems import quicken
from foolscope.subject import checked_batch_size
from foolscope.swift import CHANNELS_LAST, FOLDED, swift_copy

SHAPES = {
    "mnist_cnn_a": (1, 28, 28),
    "cifar10_cnn_a": (3, 32, 32),
    "cifar10_resnet20": (3, 32, 32),
    "squeezenet1_0": (3, 227, 227),
}
SECONDS = 6.0  # for each row
FEWEST, MOST = 5, 25  # pairs


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        network: which.
        way: how the copy differs.
        kind: of pass, `gradient` or `forward`.
        n: images in the batch, as many as an audit would take.
        cost: of a pass through the copy, in units of one through the network.
        pairs: interleaved.
    """

    network: str
    way: str
    kind: str
    n: int
    cost: Ratio
    pairs: int


def copies_of(model: nn.Module, inputs: Tensor) -> dict[str, nn.Module]:
    """The copies, by how they differ."""
    ways = {"trainable": copy.deepcopy(model).requires_grad_(True), "quick stems": copy.deepcopy(model)}
    quicken(ways["quick stems"])
    for wanted in ((FOLDED,), (CHANNELS_LAST,), (FOLDED, CHANNELS_LAST)):
        other, done = swift_copy(model, inputs[:2], wanted)
        if other is not None and (len(wanted) == 1 or "," in done):  # both only where there is something to fold
            ways[", ".join(wanted)] = other
    return ways


def copies_table(names: tuple[str, ...] | None = None) -> list[Row]:
    """Every way on every network, a gradient pass and a forward pass.

    Raises:
        InputError: an unknown name.
    """
    for name in names or ():
        if name not in SHAPES:
            raise InputError("--network", "a network of this benchmark", name, SHAPES)
    rows = []
    with one_thread():
        for name in names or tuple(SHAPES):
            model = load_model(name).module.eval().requires_grad_(False)
            size = checked_batch_size(None, SHAPES[name], torch.device("cpu"))
            inputs = uniform(0, torch.arange(size), 0, SHAPES[name])
            for way, other in copies_of(model, inputs).items():
                for kind, work in (("gradient", bare_loop), ("forward", forward_loop)):
                    ours, plain = _through(work, other, inputs), _through(work, model, inputs)
                    rows.append(_row(name, way, kind, inputs, ours, plain))
    return rows


def forward_loop(model: nn.Module, inputs: Tensor, passes: int) -> None:
    """`passes` forward passes over the batch, and nothing else."""
    with torch.no_grad():
        for _ in range(passes):
            model(inputs)


def _through(work: Callable[[nn.Module, Tensor, int], None], model: nn.Module, inputs: Tensor) -> Callable[[], None]:
    return lambda: work(model, inputs, 1)


def _row(name: str, way: str, kind: str, inputs: Tensor, copied: Callable[[], None], plain: Callable[[], None]) -> Row:
    begun = time.process_time()
    copied()
    plain()
    pairs = int(min(MOST, max(FEWEST, SECONDS / (time.process_time() - begun))))
    return Row(name, way, kind, len(inputs), paired(copied, plain, pairs), pairs)


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"{where()}; cost of a pass through a copy in units of a pass through the network as it is: median of interleaved "
        "pairs (smallest-largest).",
        "",
        "| network | batch | copy | pass | cost | pairs | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cost = f"{row.cost.median:.3f} ({row.cost.spread[0]:.3f}-{row.cost.spread[1]:.3f})"
        lines.append(
            f"| {row.network} | {row.n} | {row.way} | {row.kind} | {cost} | {row.pairs} | {row.cost.seconds:.4f} |"
        )
    return "\n".join(lines)
