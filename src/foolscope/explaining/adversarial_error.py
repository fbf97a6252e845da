"""Adversarial error against eps for four attacks, and the power law at its foot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from foolscope.attacks import pgd
from foolscope.errors import InputError
from foolscope.explaining.power_law import Floats, Ints, PowerLaw, fit_power_law, log_grid
from foolscope.explaining.rays import RAYS, flipped_along, ray
from foolscope.norms import NORMS
from foolscope.oracle import Oracle

HANDFUL = 5  # images that flip where the grid starts, at most
MOST = 0.5  # share of the images that flip where it ends, at least
COARSE = 4.0  # factor between the scout's eps
REACH = 12  # of them, down from the largest perturbation
POINTS = 24  # of the grid


@dataclass(frozen=True)
class ErrorCurve:
    """How the adversarial error grows with eps under one attack.

    Attributes:
        attack: `fgsm`, `l2`, `step_ll` or `pgd`.
        norm: in which eps is measured.
        eps: `(m,)`, log-spaced.
        error: `(m,)`: clean accuracy minus adversarial accuracy at eps.
        first: `(m,)`: how many images flip first at each eps.
        n: images in all.
        correct: of which are right when clean, and can flip.
        returning: share of the images flipped in the fitted range that are right again at a larger eps in it.
        law: fitted to `first`; None where too few images flip.
        passes: forward and backward passes an image, over all images.
    """

    attack: str
    norm: str
    eps: Floats
    error: Floats
    first: Ints
    n: int
    correct: int
    returning: float
    law: PowerLaw | None
    passes: tuple[float, float]


def error_curve(
    batches: Sequence[Oracle], attack: str = "fgsm", *, points: int = POINTS, seed: int = 0, chunk: int = 256
) -> ErrorCurve:
    """Adversarial error on a log-spaced grid that starts where a handful of images flip, and its power law.

    A scout finds the grid's ends by factors of 4, then all eps of an image share one gradient and one batch. Images that are wrong when
    clean count in n and cannot flip.

    Args:
        batches: the data set, one oracle a batch.
        attack: `fgsm`, `l2` or `step_ll`.
        points: of the grid.
        seed: of the bootstrap.
        chunk: candidates a forward pass.

    Raises:
        InputError: an unknown attack.

    Example:
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0], [1.0]]))
        >>> x = torch.linspace(0.0005, 0.9995, 1000)[:, None] ** 0.5  # the distance to the boundary at 0, squared, is uniform
        >>> curve = error_curve([Oracle(model, x, torch.ones(1000, dtype=torch.int64))])
        >>> curve.law.interval[0] < 2.0 < curve.law.interval[1]
        True

    References:
        Cubuk, Zoph, Schoenholz & Le 2017, arXiv:1711.02846.
    """
    if attack not in RAYS:
        raise InputError("attack", "an attack with a ray", attack, RAYS)
    before = _passes(batches)
    norm = RAYS[attack][0]
    rows = [oracle.undecided() for oracle in batches]
    rays = [ray(oracle, attack)[these] for oracle, these in zip(batches, rows, strict=True)]
    lowest, highest = _ends(batches, rows, rays, _largest(batches, norm), chunk)
    grid = log_grid(lowest, highest, points)
    flips = [
        flipped_along(oracle, these, way, torch.from_numpy(grid), chunk).cpu().numpy()
        for oracle, these, way in zip(batches, rows, rays, strict=True)
    ]
    return _curve(attack, norm, grid, np.concatenate(flips), batches, before, seed)


def pgd_curve(
    batches: Sequence[Oracle], eps: Floats, *, norm: str = "linf", steps: int = 20, seed: int = 0
) -> ErrorCurve:
    """The same for PGD, by a run of its own at every eps; what a smaller ball holds, a larger one does too, so the fooled leave.

    Args:
        batches: the data set, one oracle a batch.
        eps: the grid `(m,)`, log-spaced.
        norm: linf, l2 or l1.
        steps: of every run.
        seed: of the random starts and the bootstrap.

    Raises:
        InputError: a grid that is not log-spaced, or an unknown norm.
    """
    before = _passes(batches)
    flips = []
    for oracle in batches:
        rows = oracle.undecided()
        fooled = torch.zeros(len(rows), len(eps), dtype=torch.bool)
        for column, radius in enumerate(eps):
            left = ~fooled[:, column - 1] if column else torch.ones(len(rows), dtype=torch.bool)
            fooled[:, column] = ~left
            part = oracle.part(rows[left.to(rows.device)])
            if len(part):
                found = pgd(part, part.inputs, part.labels, norm=norm, eps=float(radius), steps=steps, seed=seed)
                fooled[left, column] = (part.value(found, part.rows_all)[0] > 0).cpu()
        flips.append(fooled.numpy())
    return _curve("pgd", norm, np.asarray(eps, np.float64), np.concatenate(flips), batches, before, seed)
