"""What a step of hardened training costs beside a plain one written by hand, in interleaved pairs on the same batch.

Beside it stands the floor: the passes that the objective cannot do without, written by hand, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.bench.speed import Ratio, Told, one_thread, paired, where
from foolscope.models.builtin import MODELS
from foolscope.models.digits import seeded
from foolscope.stems import quick_stems
from foolscope.training import bind_objective
from foolscope.training.inner import frozen
from foolscope.training.shared import same_in_both_modes

BATCH, STEPS = 128, 2  # images a batch, training steps a measurement
NETWORKS = ("cnn", "mnist_cnn_a", "cifar10_resnet20", "mlp", "maxout_240")
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One measurement, in units of a plain training step.

    Attributes:
        network: which.
        objective: its text.
        n: images a batch.
        ours: the objective.
        floor: its passes by hand.
        bound: what `ours` must not exceed.
    """

    network: str
    objective: str
    n: int
    ours: Ratio
    floor: Ratio
    bound: float


def training_table(
    networks: tuple[str, ...] = NETWORKS, pairs: int | None = None, told: Told = lambda stage, done, total: None
) -> list[Row]:
    """Each objective on each of these built-in networks, on random images; `told` how many of how many rows are done."""
    rows: list[Row] = []
    for name in networks:
        shape = MODELS[name].shape
        with seeded(0):
            inputs, labels = torch.rand(BATCH, *shape), torch.randint(10, (BATCH,))
        for text, (by_hand, bound) in OBJECTIVES.items():
            bare = _steps(name, inputs, labels, _plain)
            with one_thread():
                ours = paired(_steps(name, inputs, labels, bind_objective(text)), bare, pairs)
                floor = paired(_steps(name, inputs, labels, by_hand), bare, pairs)
            rows.append(Row(name, text, BATCH, ours, floor, bound))
            told("training", len(rows), len(networks) * len(OBJECTIVES))
    return rows


def _steps(name: str, inputs: Tensor, labels: Tensor, objective: Callable[..., Tensor]) -> Callable[[], None]:
    """`STEPS` updates by SGD with momentum of a network of its own."""
    with seeded(0):
        model = MODELS[name].build().train()
    optimiser = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)

    def steps() -> None:
        for _ in range(STEPS):
            loss = objective(model, inputs, labels).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()

    return steps


def _plain(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The loss as anybody would write it."""
    return F.cross_entropy(model(inputs), labels, reduction="none")


def _after(passes: int) -> Loss:
    """Input gradients with frozen parameters, then a plain step."""

    def loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        for _ in range(passes):
            with frozen(model):
                x = inputs.detach().requires_grad_()
                torch.autograd.grad(_plain(model, x, labels).sum(), x)
        return _plain(model, inputs, labels)

    return loss


def _mixed(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """A clean pass that also yields the input's gradient, where modes do not differ, and a second one to learn from."""
    if not same_in_both_modes(model):
        return _after(1)(model, inputs, labels) + _plain(model, inputs, labels)
    x = inputs.detach().requires_grad_()
    with quick_stems(model):
        torch.autograd.grad(_plain(model, x, labels).sum(), [x, *model.parameters()])
    return _plain(model, inputs, labels)


# Text, its passes by hand, and what a step may cost: 0.8 for each pass of the attack and 1.2 for the rest; the mix shares its clean pass.
OBJECTIVES: dict[str, tuple[Loss, float]] = {
    "plain": (_plain, 1.1),
    "fgsm_mix:eps=0.1": (_mixed, 2.0),
    "fast:eps=0.1": (_after(1), 0.8 + 1.2),
    "madry:eps=0.1,steps=7": (_after(7), 0.8 * 7 + 1.2),
}


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table, with how and where they were measured."""
    lines = [
        f"{where()}; a step of training on {BATCH} random images in units of a plain one: median of interleaved pairs (smallest-largest). "
        "Floor: the objective's passes by hand.",
        "",
        "| network | objective | cost | floor | bound | kept | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        (low, high), (least, most) = row.ours.spread, row.floor.spread
        kept = "yes" if row.ours.median <= row.bound else "**no**"
        lines.append(
            f"| {row.network} | {row.objective} | {row.ours.median:.2f} ({low:.2f}-{high:.2f}) | "
            f"{row.floor.median:.2f} ({least:.2f}-{most:.2f}) | {row.bound:.2f} | {kept} | {row.ours.seconds / STEPS:.3f} |"
        )
    return "\n".join(lines)
