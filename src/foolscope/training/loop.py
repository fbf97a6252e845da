"""The loop: epochs over keyed shuffles, one objective, one optimiser; killed anywhere, it goes on to the same weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from foolscope.attacks import Bound
from foolscope.errors import InputError
from foolscope.ledger import Progress
from foolscope.store import Store
from foolscope.training.checkpoint import Position, load_checkpoint, save_checkpoint, save_weights
from foolscope.training.draws import Ints, batches, derived, shuffled
from foolscope.training.images import Augmentation
from foolscope.training.inner import Bounds
from foolscope.training.schedules import Schedule, momentum_at
from foolscope.training.table import Objective
from foolscope.training.watching import Epoch, adversarial_error, error, rise, single_step

if TYPE_CHECKING:
    from foolscope.data import DataSet

SAVED = 30.0  # seconds between checkpoints inside an epoch


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and how.

    Attributes:
        model: images to logits; trained in place.
        weights: the module whose state dict is saved (`model` may be an adapter around it).
        data: the images; `positions` of them are trained on.
        watched: a few of those, for the training error.
        validation: all validation images, or None.
        probed: some of them, for the attacks.
        probe: the attack behind the adversarial validation error; None without an eps.
        probe_norm: the norm of its ball.
        objective, optimiser, schedule, augment: as bound.
        lr, momentum, epochs, batch_size, stop, patience, bounds, seed: as `train` has them.
    """

    model: nn.Module
    weights: nn.Module
    data: DataSet
    positions: Ints
    watched: DataSet
    validation: DataSet | None
    probed: DataSet | None
    probe: Bound | None
    probe_norm: str
    objective: Objective
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    augment: Augmentation
    lr: float
    momentum: float | tuple[float, float, float]
    epochs: int
    batch_size: int
    stop: str
    patience: int
    bounds: Bounds
    seed: int

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type, which images are cast to."""
        return next(self.model.parameters()).dtype


def run_loop(
    plan: Plan, store: Store, progress: Progress, told: Callable[[Epoch], None], deadline: float = float("inf")
) -> Position:
    """Trains from where `store` has the run to its end, or to the deadline.

    Raises:
        InputError: a loss that is no longer finite.
        ForeignError: the model or a stranger's objective raised.
    """
    reference = copy.deepcopy(plan.model) if "reference" in plan.objective.wanted else None
    at = load_checkpoint(store, plan.weights, plan.optimiser)
    if not at.history and not at.batch:
        save_weights(store.folder / "last.safetensors", plan.weights)
    constrained = [module for module in plan.model.modules() if callable(getattr(module, "constrain", None))]
    with _keyed(plan.device):
        while at.epoch < plan.epochs and not _stopped(plan, at):
            if not _epoch(plan, store, at, constrained, reference, progress, deadline):
                return at
            told(at.history[-1])
    return at


def rehearse(objective: Objective, model: nn.Module, data: DataSet, augment: Augmentation, bounds: Bounds) -> None:
    """One loss on these few images, by a copy of the model: what is wrong with an objective's options is said before anything is written.

    Raises:
        InputError: from the objective, or there is nothing to learn from.
        ForeignError: the model or a stranger's objective raised.
    """
    model, like = copy.deepcopy(model).eval(), next(model.parameters())
    index = torch.arange(len(data), device=like.device)
    inputs = augment(data.read(np.arange(len(data))).to(like.device, like.dtype), index, 0)
    labels = torch.from_numpy(data.labels).to(like.device)
    with _keyed(like.device):
        loss = objective(model, inputs, labels, index=index, seed=0, bounds=bounds, reference=model).mean()
    if not loss.requires_grad:
        raise InputError("MODEL", "a loss that depends on its parameters", "one without a gradient")
    if not torch.isfinite(loss):
        raise InputError("MODEL", "a finite loss before the first update", float(loss.detach()))


def _epoch(
    plan: Plan,
    store: Store,
    at: Position,
    constrained: list[nn.Module],
    reference: nn.Module | None,
    progress: Progress,
    deadline: float,
) -> bool:
    """One epoch, or what is left of it; False if the deadline came first."""
    seed = derived(plan.seed, "epoch", at.epoch)
    order = batches(shuffled(seed, plan.positions), plan.batch_size)
    n, updates = len(plan.positions), plan.epochs * len(order)
    for group in plan.optimiser.param_groups:
        if "momentum" in group:
            group["momentum"] = momentum_at(plan.momentum, at.epoch)
    plan.model.train()
    begun = saved = time.monotonic()
    spent = at.seconds
    while at.batch < len(order):
        if time.monotonic() > deadline:
            save_checkpoint(store, plan.weights, plan.optimiser, at)
            return False
        part = order[at.batch]
        _seed_all(derived(seed, "batch", at.batch))
        at.loss += len(part) * _update(plan, part, seed, at, updates, constrained, reference)
        at.batch, at.update, now = at.batch + 1, at.update + 1, time.monotonic()
        at.seconds = spent + now - begun
        progress("train", at.epoch * n + min(n, at.batch * plan.batch_size), plan.epochs * n)
        if now > saved + SAVED:
            save_checkpoint(store, plan.weights, plan.optimiser, at)
            saved = now
    record = _watch(plan, at, n)
    at.history.append(record)
    value = {"clean": record.validation_error, "adversarial": record.adversarial_error}.get(plan.stop)
    if value is None or value < at.best:
        at.best, at.best_epoch = at.best if value is None else value, record.epoch
        save_weights(store.folder / "best.safetensors", plan.weights)
    save_weights(store.folder / "last.safetensors", plan.weights)
    at.epoch, at.batch, at.loss, at.seconds = at.epoch + 1, 0, 0.0, 0.0
    save_checkpoint(store, plan.weights, plan.optimiser, at)
    return True


def _update(
    plan: Plan,
    part: Ints,
    seed: int,
    at: Position,
    updates: int,
    constrained: list[nn.Module],
    reference: nn.Module | None,
) -> float:
    """One update of the parameters; the batch's mean loss."""
    index = torch.from_numpy(part).to(plan.device)
    inputs = plan.data.read(part).to(plan.device, plan.dtype)
    labels = torch.from_numpy(plan.data.labels[part]).to(plan.device)
    inputs = plan.augment(inputs, index, derived(seed, "augment"))
    for group in plan.optimiser.param_groups:
        group["lr"] = plan.lr * plan.schedule(at.update, updates) * group["scale"]
    loss = plan.objective(
        plan.model,
        inputs,
        labels,
        index=index,
        seed=derived(seed, "objective"),
        bounds=plan.bounds,
        reference=reference,
    ).mean()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise InputError("--lr", f"a learning rate at which the loss stays finite (epoch {at.epoch + 1})", plan.lr)
    plan.optimiser.zero_grad()
    torch.autograd.backward(loss)
    plan.optimiser.step()
    for module in constrained:
        module.constrain()  # type: ignore[operator]
    return value


def _watch(plan: Plan, at: Position, n: int) -> Epoch:
    """The record of the epoch that has just ended."""
    under = single = leak = None
    clean = None if plan.validation is None else error(plan.model, plan.validation, plan.device)
    if plan.probed is not None and plan.probe is not None:
        under = adversarial_error(plan.model, plan.probed, plan.device, plan.probe, plan.probe_norm, plan.bounds)
        norm, eps = plan.probe_norm, plan.probe.options["eps"]
        accuracy = single_step(plan.model, plan.probed, plan.device, norm, eps, plan.bounds)
        single, leak = 1 - accuracy[-1], rise(accuracy)
    train = error(plan.model, plan.watched, plan.device)
    group = plan.optimiser.param_groups[0]
    lr = float(group["lr"] / group["scale"])
    return Epoch(at.epoch + 1, at.loss / n, train, clean, under, single, leak, lr, at.seconds)


def _stopped(plan: Plan, at: Position) -> bool:
    return plan.stop != "none" and at.epoch - at.best_epoch >= plan.patience


@contextmanager
def _keyed(device: torch.device) -> Iterator[None]:
    """Inside, torch's generators are the loop's, and convolutions on an accelerator are deterministic; outside they are as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.backends.cudnn.flags(True, False, deterministic=True):
        yield


def _seed_all(seed: int) -> None:
    """For dropout and whatever else a model draws in training."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed(seed)
