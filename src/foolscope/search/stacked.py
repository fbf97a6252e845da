"""A stack trained as one program, and attacked as one: one gradient for all its networks, which all eps share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foolscope.explaining.exponent import Floats
from foolscope.explaining.one_step import direction_of, flipped_along
from foolscope.oracle import Oracle
from foolscope.search.stack import Stack
from foolscope.training.draws import batches, derived, shuffled
from foolscope.untouched import untouched

ROWS = 2000  # images times networks of a pass of the attack, about


@dataclass(frozen=True)
class Schedule:
    """How every network of a search is trained: Adam on cross-entropy, its learning rate falling to 0 in a straight line.

    Attributes:
        epochs: passes over the training images.
        batch_size: images an update.
        lr: the first learning rate.
    """

    epochs: int
    batch_size: int
    lr: float


def train_stack(
    stack: Stack,
    inputs: Tensor,
    labels: Tensor,
    dropout: Tensor,
    schedule: Schedule,
    told: Callable[[int], None] = lambda done: None,
) -> None:
    """Trains all networks of a stack, in place; each minimises its own loss, and none sees the others.

    The order of the images is that of the seed and the epoch, the same for every network of a search: the first layer is then one matrix
    product, and a network alone comes to the same weights (docs/decisions/0051).

    Args:
        stack: the networks.
        inputs: `(n, C, H, W)`.
        labels: int64 `(n,)`.
        dropout: each network's rate, `(k,)`.
        schedule: how long, how fast.
        told: told how many images each network has seen, now and then.
    """
    optimiser = torch.optim.Adam(stack.parameters(), schedule.lr, fused=True)
    positions, masked = np.arange(len(inputs)), dropout if bool((dropout > 0).any()) else None
    updates = schedule.epochs * len(batches(positions, schedule.batch_size))
    update = 0
    for epoch in range(schedule.epochs):
        order = shuffled(derived(stack.seed, "order", epoch), positions)
        for number, part in enumerate(batches(order, schedule.batch_size)):
            rows = torch.from_numpy(part).to(labels.device)
            optimiser.param_groups[0]["lr"] = schedule.lr * (1 - update / updates)
            logits = stack.together(inputs[rows], masked, update)
            wanted = labels[rows].expand(len(stack), -1)
            # The sum over networks of each one's mean: its gradient with respect to a network's weights is that network's own.
            loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum") / len(part)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            update += 1
            if number % 20 == 0:
                told(epoch * len(positions) + number * schedule.batch_size)


def attack_stack(
    stack: Stack, inputs: Tensor, labels: Tensor, eps: Floats, bounds: tuple[float, float] | None = (0.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """FGSM against every network of a stack on the same images, at all these eps.

    Args:
        stack: the networks.
        inputs: `(n, C, H, W)`.
        labels: int64 `(n,)`.
        eps: `(m,)`, in input units.
        bounds: the box.

    Returns:
        Which images each network gets right, bool `(k, n)`, and at which eps they are flipped, `(k, n, m)`.
    """
    k, size = len(stack), max(1, ROWS // len(stack))
    radii = torch.from_numpy(eps)
    right, flipped = [], []
    with untouched(stack):
        for start in range(0, len(inputs), size):
            x, y = (t[start : start + size].repeat_interleave(k, 0) for t in (inputs, labels))
            oracle = Oracle(stack, x, y, bounds=bounds)
            direction = direction_of(oracle, "fgsm")
            # One eps a pass: the rows of a pass are then every image of every network, as the stack takes them.
            flips = torch.cat([flipped_along(oracle, direction, radius) for radius in radii[:, None]], 1)
            right.append((oracle.clean.argmax(1) == y).view(-1, k).T)
            flipped.append(flips.view(-1, k, len(radii)).transpose(0, 1))
    return torch.cat(right, 1).cpu(), torch.cat(flipped, 1).cpu()
