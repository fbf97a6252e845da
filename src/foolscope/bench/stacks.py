"""Networks an hour: many of one shape trained as one program beside one at a time, in interleaved pairs; and the same by `vmap`.

One at a time is a plain network, PyTorch's Adam and a plain loop over the same batches. All in processor time on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from foolscope.bench.speed import Told, one_thread, paired, where
from foolscope.models.digits import seeded
from foolscope.search import Architecture, Stack
from foolscope.search.stacked import Schedule, train_stack

SHAPE, CLASSES, EPOCH = (1, 28, 28), 10, 60_000
STEPS = 5  # updates a measurement
PAIRS = 7
TARGET = 3.0
CASES = (  # architecture, images a batch, networks together
    *((Architecture((), (30,)), batch, many) for batch in (32, 100) for many in (4, 16)),
    (Architecture((), (30,) * 4), 100, 16),
    (Architecture((), (76, 76)), 100, 16),
    (Architecture((), (194, 194)), 100, 16),
    (Architecture((), (493, 493)), 100, 16),
    (Architecture((4,), (30,)), 100, 16),
    (Architecture((8, 16), (76,)), 100, 16),
)


@dataclass(frozen=True)
class StackRow:
    """One measurement.

    Attributes:
        architecture: the networks' shape.
        batch: images an update.
        together: networks in the stack.
        alone_an_hour: networks trained one at a time for an epoch of 60,000 images, an hour.
        gain: median over pairs of how many times as many the stack trains.
        spread: the smallest and the largest.
        by_vmap: the same median for `vmap` over `functional_call`.
    """

    architecture: str
    batch: int
    together: int
    alone_an_hour: float
    gain: float
    spread: tuple[float, float]
    by_vmap: float


def stack_table(
    cases: tuple[tuple[Architecture, int, int], ...] = CASES,
    pairs: int = PAIRS,
    told: Told = lambda stage, done, total: None,
) -> list[StackRow]:
    """A row for each of these stacks, on random images; `told` how many of how many rows are done."""
    rows: list[StackRow] = []
    with one_thread():
        for case in cases:
            rows.append(_row(*case, pairs))
            told("stacks", len(rows), len(cases))
    return rows


def _row(architecture: Architecture, batch: int, together: int, pairs: int) -> StackRow:
    with seeded(0):
        inputs, labels = torch.rand(batch * STEPS, *SHAPE), torch.randint(CLASSES, (batch * STEPS,))
    stack = Stack(architecture, SHAPE, CLASSES, torch.arange(together))
    schedule, dropout = Schedule(1, batch, 1e-3), torch.zeros(together)
    lone = _lone(stack, inputs, labels, batch)
    found = paired(lambda: train_stack(stack, inputs, labels, dropout, schedule), lone, pairs)
    mapped = paired(_mapped(stack, inputs, labels, batch), lone, pairs)
    low, high = (together / ratio for ratio in found.spread[::-1])
    seconds = found.seconds / found.median / STEPS * -(-EPOCH // batch)  # of one network's epoch, alone
    return StackRow(
        str(architecture),
        batch,
        together,
        3600 / seconds,
        together / found.median,
        (low, high),
        together / mapped.median,
    )


def _lone(stack: Stack, inputs: Tensor, labels: Tensor, batch: int) -> Callable[[], None]:
    """Training one network as anybody would."""
    model = stack.member(0).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def epoch() -> None:
        for rows in torch.randperm(len(inputs)).split(batch):  # type: ignore[no-untyped-call]
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()

    return epoch


def _mapped(stack: Stack, inputs: Tensor, labels: Tensor, batch: int) -> Callable[[], None]:
    """Training all by `vmap`, on the same batches."""
    members = [stack.member(place).train() for place in range(len(stack))]
    stacked, _ = torch.func.stack_module_state(members)
    weights = {key: value.detach().requires_grad_() for key, value in stacked.items()}
    optimiser = torch.optim.Adam(weights.values(), 1e-3, fused=True)
    forward = torch.vmap(
        lambda own, x: torch.func.functional_call(members[0], own, (x,)), in_dims=(0, None), randomness="different"
    )

    def epoch() -> None:
        for rows in torch.randperm(len(inputs)).split(batch):  # type: ignore[no-untyped-call]
            logits, wanted = forward(weights, inputs[rows]), labels[rows].expand(len(members), -1)
            loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum") / batch
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()

    return epoch


def markdown(rows: list[StackRow]) -> str:
    """The rows as a Markdown table, with how and where they were measured."""
    lines = [
        f"{where()}; {PAIRS} interleaved pairs; networks an hour for one epoch of {EPOCH:,} images, updates alone.",
        "",
        "| network | batch | together | one at a time, an hour | together, an hour | gain | kept (3) | gain of vmap |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        kept = "yes" if row.gain >= TARGET else "**no**"
        lines.append(
            f"| {row.architecture} | {row.batch} | {row.together} | {row.alone_an_hour:,.0f} | {row.gain * row.alone_an_hour:,.0f} | "
            f"{row.gain:.2f} ({row.spread[0]:.2f}-{row.spread[1]:.2f}) | {kept} | {row.by_vmap:.2f} |"
        )
    return "\n".join(lines)
