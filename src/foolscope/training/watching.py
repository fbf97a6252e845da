"""What is measured after each epoch, and the two ways in which adversarial training fools itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.attacks import Bound
from foolscope.ledger import judge, predicted, slack
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.training.images import subset
from foolscope.training.inner import Bounds, climbed, frozen

if TYPE_CHECKING:
    from foolscope.data import DataSet

BATCH = 256
SHARES = (0.0, 0.5, 1.0)  # of eps: where the single step is measured
LEAK = 0.02  # a rise of the single-step accuracy with eps that is more than chance on some hundred images
FALL = 0.2  # of the accuracy under a full attack, from its best: catastrophic if the single step's has not fallen along


@dataclass(frozen=True)
class Epoch:
    """One record of the history; None where nothing was measured.

    Attributes:
        epoch: from 1.
        loss: what was minimised, mean over the epoch's images.
        train_error: on some training images, in eval mode.
        validation_error: on all validation images.
        adversarial_error: on some validation images, under the probe.
        single_step_error: on the same, under FGSM at eps, on every image.
        label_leak: the largest rise of the accuracy under FGSM from a smaller eps to a larger one.
        lr: learning rate of the last update.
        seconds: of training.
    """

    epoch: int
    loss: float
    train_error: float
    validation_error: float | None
    adversarial_error: float | None
    single_step_error: float | None
    label_leak: float | None
    lr: float
    seconds: float


def error(model: nn.Module, data: DataSet, device: torch.device) -> float:
    """The share of images that the model gets wrong, in eval mode."""
    wrong = 0
    with frozen(model), torch.no_grad():
        for x, y, _ in _parts(data, device, model):
            wrong += int((predicted(model(x)) != y).sum())
    return wrong / len(data)


def adversarial_error(
    model: nn.Module, data: DataSet, device: torch.device, attack: Bound, norm: str, bounds: Bounds
) -> float:
    """The share of images that are wrong already, or after the attack by a fresh pass, inside ball and box: as an audit counts."""
    wrong, eps = 0, float(attack.options["eps"])
    with frozen(model):
        for x, y, index in _parts(data, device, model):
            oracle = Oracle(model, x, y, bounds=bounds, index=index)
            verdict = judge(oracle, attack(oracle))
            near = verdict["distance"][:, list(NORMS).index(norm)] <= eps + slack(
                norm, eps, x[0].numel(), x.dtype, bounds
            )
            wrong += int(((predicted(oracle.clean) != y) | verdict["found"] & near).sum())
    return wrong / len(data)


def single_step(
    model: nn.Module, data: DataSet, device: torch.device, norm: str, eps: float, bounds: Bounds
) -> list[float]:
    """The accuracy under FGSM on every image at each of `SHARES` of eps."""
    right = [0] * len(SHARES)
    for x, y, _ in _parts(data, device, model):
        for place, share in enumerate(SHARES):
            moved = climbed(model, x, y, norm=norm, eps=share * eps, bounds=bounds) if share else x
            with frozen(model), torch.no_grad():
                right[place] += int((predicted(model(moved)) == y).sum())
    return [count / len(data) for count in right]


def rise(accuracy: Sequence[float]) -> float:
    """The largest rise from an earlier entry to a later one: of the single-step accuracy over eps, the label leak.

    A model that reads the label off the perturbation does better under a larger one.

    Example:
        >>> rise([0.9, 0.25, 0.75]), rise([0.9, 0.5, 0.1])
        (0.5, 0.0)

    References:
        Kurakin, Goodfellow & Bengio 2017, arXiv:1611.01236, sec. 4.3.
    """
    lowest = np.minimum.accumulate(accuracy)
    return float(np.max(np.asarray(accuracy) - lowest))


def overfitted(history: Sequence[Epoch]) -> int | None:
    """The first epoch of catastrophic overfitting, if there is one.

    The accuracy under the probe lies `FALL` below its best so far, while the accuracy under the single step is no lower than it was then.

    References:
        Wong, Rice & Kolter 2020, arXiv:2001.03994, sec. 5.4.
    """
    best: Epoch | None = None
    for epoch in history:
        if epoch.adversarial_error is None or epoch.single_step_error is None:
            return None
        if best is None or epoch.adversarial_error <= (best.adversarial_error or 0.0):
            best = epoch
        elif epoch.adversarial_error >= (best.adversarial_error or 0.0) + FALL and epoch.single_step_error <= (
            best.single_step_error or 0.0
        ):
            return epoch.epoch
    return None


def some(data: DataSet, count: int) -> DataSet:
    """At most `count` of the images, evenly spread over the set."""
    return subset(data, np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(np.int64)))


def _parts(data: DataSet, device: torch.device, model: nn.Module) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    for first in range(0, len(data), BATCH):
        places = np.arange(first, min(first + BATCH, len(data)))
        labels, index = torch.from_numpy(data.labels[places]), torch.from_numpy(places)
        yield data.read(places).to(device, like.dtype), labels.to(device), index.to(device)
