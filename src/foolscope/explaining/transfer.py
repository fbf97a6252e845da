"""The transfer matrix: examples made on each of several models, tried on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foolscope.attacks import Bound
from foolscope.errors import InputError
from foolscope.explaining.race import drawn_targets
from foolscope.intervals import wilson
from foolscope.norms import NORMS
from foolscope.oracle import Oracle
from foolscope.store import Store, write_json, write_text
from foolscope.untouched import untouched

RECORD, PAGE = "transfer.json", "report.html"
METHOD = (
    "Papernot et al. 2016 (arXiv:1605.07277) for the matrix, Goodfellow et al. 2015 (arXiv:1412.6572, sec. 8) for the agreement of wrong "
    "answers. Images that every model gets right; the same attack, eps and, if targeted, targets on each model; its answers are tried on "
    "all of them by fresh passes. Fooled: another class than the label (targeted: the target). Intervals: Wilson, over images."
)


@dataclass(frozen=True)
class TransferMatrix:
    """How often examples made on one model fool another.

    Attributes:
        models: names; row i: made on model i, column j: tried on model j.
        n: images, right when clean on every model.
        fooled: `(m, m)`: on how many of them model j is wrong (targeted: gives the target).
        agreeing: `(m, m)`: on how many where models i and j are both wrong they give the same class.
        both_wrong: `(m, m)`: on how many both are wrong.
        size: `(m,)`: mean size of the perturbations made on model i, in the attack's norm.
        targeted: whether targets were aimed at.
        attack: as on the command line.
    """

    models: tuple[str, ...]
    n: int
    fooled: npt.NDArray[np.int64]
    agreeing: npt.NDArray[np.int64]
    both_wrong: npt.NDArray[np.int64]
    size: npt.NDArray[np.float64]
    targeted: bool
    attack: str

    @property
    def rate(self) -> npt.NDArray[np.float64]:
        """`fooled` as a share of n."""
        return np.asarray(self.fooled / self.n)

    def interval(self, made_on: int, tried_on: int) -> tuple[float, float]:
        """Wilson's 95 % interval of one rate."""
        return wilson(int(self.fooled[made_on, tried_on]), self.n)

    @property
    def finding(self) -> str:
        """How often examples fool their own model, and between which models they do so most and least often."""
        pairs = [(i, j) for i in range(len(self.models)) for j in range(len(self.models)) if i != j]
        widest, narrowest = (pick(pairs, key=lambda pair: int(self.fooled[pair])) for pick in (max, min))
        own, goal = self.rate.diagonal(), "lead to their targets on" if self.targeted else "fool"
        least, most = f"{own.min():.1%}", f"{own.max():.1%}"
        said = (
            f"Made with {self.attack} on {self.n:,} images that all {len(self.models)} models get right, examples {goal} the model that "
            f"they were made on in {least if least == most else f'{least} to {most}'} of the cases; another model most often from "
            f"{self._told(*widest)}"
        )
        return said + (f", least often from {self._told(*narrowest)}." if widest != narrowest else ".")

    def _told(self, made_on: int, tried_on: int) -> str:
        low, high = self.interval(made_on, tried_on)
        rate, between = self.rate[made_on, tried_on], f"95% interval {low:.1%} to {high:.1%}"
        return f"{self.models[made_on]} to {self.models[tried_on]}: {rate:.1%} ({between})"

    def record(self) -> dict[str, object]:
        """As JSON has it."""
        places = range(len(self.models))
        return {
            "finding": self.finding,
            "method": METHOD,
            "models": list(self.models),
            "attack": self.attack,
            "targeted": self.targeted,
            "n": self.n,
            "rate": self.rate.tolist(),
            "interval": [[list(self.interval(i, j)) for j in places] for i in places],
            "agreeing": self.agreeing.tolist(),
            "both_wrong": self.both_wrong.tolist(),
            "size": self.size.tolist(),
        }


def transfer_matrix(
    models: Mapping[str, nn.Module],
    inputs: Tensor,
    labels: Tensor,
    attack: Bound,
    *,
    targeted: bool = False,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> TransferMatrix:
    """Attacks each model on the images that all of them get right, and tries the answers on every one.

    All sources share images, targets and the attack with its eps. An attack that stops at success leaves examples that only just fool
    their own model and transfer badly; with `early_stop=False` PGD spends all of eps.

    Args:
        models: name -> images to logits, all with the same classes; they come back untouched.
        inputs: `(n, ...)`, within `bounds`.
        labels: `(n,)`.
        attack: bound to its options; in targeted form it must know targets.
        targeted: aim at a wrong class drawn for each image, and count only that.
        bounds: the box.
        seed: of the targets.
        batch_size: images a batch.
        progress: told (model, images done, images in all).

    Raises:
        InputError: fewer than two models, or no image that all get right.

    Example:
        >>> from foolscope.attacks import bind
        >>> one, other = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
        >>> _ = one.weight.data.copy_(torch.eye(2)), other.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.1]]))
        >>> x = torch.tensor([[0.6, 0.4], [0.9, 0.1]])
        >>> found = transfer_matrix({"one": one, "other": other}, x, torch.tensor([0, 0]), bind("fgsm:eps=0.2"))
        >>> found.n, found.rate.tolist()
        (2, [[0.5, 0.0], [0.5, 0.0]])

    References:
        Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, sec. 8 (agreement); Papernot et al. 2016, arXiv:1605.07277 (the matrix).
    """
    if len(models) < 2:
        raise InputError("models", "at least two models", len(models))
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(untouched(model))
        right = torch.ones(len(labels), dtype=torch.bool)
        for model in models.values():
            right &= torch.cat(
                [o.clean.argmax(1).cpu() == o.labels.cpu() for o in _batches(model, inputs, labels, bounds, batch_size)]
            )
        places = right.nonzero().squeeze(1)
        if not len(places):
            raise InputError("DATA", "images that every model gets right", None)
        x, y = inputs[places], labels[places]
        m, n = len(models), len(places)
        fooled, agreeing, both = (np.zeros((m, m), np.int64) for _ in range(3))
        size = np.zeros(m)
        norm = NORMS[str(attack.options.get("norm", "linf"))]
        for i, (name, source) in enumerate(models.items()):
            for done, oracle in enumerate(_batches(source, x, y, bounds, batch_size, places)):
                aim = drawn_targets(oracle, seed) if targeted else None
                found = attack(oracle if aim is None else oracle.towards(aim))
                size[i] += float(norm.size(found - oracle.inputs).sum()) / n
                said = torch.stack([_classes(model, found, oracle) for model in models.values()])
                wrong = said != oracle.labels.to(said)
                hit = wrong if aim is None else said == aim.to(said)
                fooled[i] += hit.sum(1).cpu().numpy()
                both[i] += (wrong & wrong[i]).sum(1).cpu().numpy()
                agreeing[i] += (wrong & wrong[i] & (said == said[i])).sum(1).cpu().numpy()
                progress(name, min(n, (done + 1) * batch_size), n)
    return TransferMatrix(tuple(models), n, fooled, agreeing, both, size, targeted, attack.text)


def write_transfer(found: TransferMatrix, store: Store) -> None:
    """Writes `transfer.json` and `report.html` of a matrix into the store's folder."""
    from foolscope.report.explanations.transfer import render_transfer

    record = found.record()
    with store.begin():
        write_text(store.folder / PAGE, render_transfer(record))
        write_json(store.folder / RECORD, record)
        store.finish()


def _batches(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    bounds: tuple[float, float] | None,
    batch_size: int,
    index: Tensor | None = None,
) -> list[Oracle]:
    """Oracles over the batches; they hold views of the images, no copies."""
    index = torch.arange(len(labels)) if index is None else index
    return [
        Oracle(model, x, y, bounds=bounds, index=places)
        for x, y, places in zip(*(torch.split(t, batch_size) for t in (inputs, labels, index)), strict=True)
    ]


def _classes(model: nn.Module, x: Tensor, like: Oracle) -> Tensor:
    """What the model says of these images, by a fresh pass."""
    fresh = Oracle(model, x, like.labels, bounds=like.bounds)
    return fresh.clean.argmax(1)
