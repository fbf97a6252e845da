"""What a step of hardened training costs beside a plain one written by hand, in interleaved pairs on the same batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foolscope.bench.speed import PAIRS, Row, paired
from foolscope.models.builtin import MODELS
from foolscope.models.digits import seeded
from foolscope.training import bind_objective

BATCH, STEPS = 128, 2  # images a batch, training steps a measurement
NETWORKS = ("cnn", "mnist_cnn_a", "cifar10_resnet20", "mlp", "maxout_240")
# Text, and what a step may cost in plain steps: 0.8 for each pass of the attack and 1.2 for the rest; the mix shares its clean pass.
OBJECTIVES = (
    ("plain", 1.1),
    ("fgsm_mix:eps=0.1", 2.0),
    ("fast:eps=0.1", 0.8 + 1.2),
    ("madry:eps=0.1,steps=7", 0.8 * 7 + 1.2),
)


def training_table(networks: tuple[str, ...] = NETWORKS, pairs: int = PAIRS) -> list[Row]:
    """Each objective on each of these built-in networks, on random images."""
    rows = []
    for name in networks:
        shape = MODELS[name].shape
        with seeded(0):
            inputs, labels = torch.rand(BATCH, *shape), torch.randint(10, (BATCH,))
        for text, bound in OBJECTIVES:
            objective = bind_objective(text)
            ours = _steps(name, inputs, labels, objective)
            bare = _steps(name, inputs, labels, _bare)
            ratio, spread, seconds = paired(ours, bare, pairs)
            rows.append(Row(name, text, BATCH, ratio, spread, bound, seconds / STEPS))
    return rows


def _bare(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The loss as anybody would write it."""
    return F.cross_entropy(model(inputs), labels, reduction="none")


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
