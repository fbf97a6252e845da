"""Adversarial error against eps on a log-spaced grid, for one-step attacks and for PGD, and the power law at its foot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foolscope.attacks.pgd import pgd
from foolscope.explaining.exponent import Floats, Ints, PowerLaw, fit_power_law, log_grid
from foolscope.explaining.one_step import direction_of, flipped_along
from foolscope.oracle import Oracle

Arrays = Mapping[str, npt.NDArray[Any]]
Look = Callable[[str, Callable[[Oracle], Mapping[str, Tensor]]], Arrays]  # as `Scene.look`

HANDFUL = 5  # images that flip where the grid starts, at most
MOST = 0.5  # share of the images that flip where it ends, at least
COARSE = 8.0  # factor between the scout's eps
LEVELS = 8  # of them, down from the largest perturbation
POINTS = 24  # of the grid


@dataclass(frozen=True)
class ErrorCurve:
    """How many of the images that are right when clean one attack flips at each eps.

    Attributes:
        attack: `fgsm`, `l2`, `step_ll` or `pgd`.
        eps: `(m,)`, log-spaced, in the attack's norm.
        share: `(m,)`, of the images that are flipped at eps; times the clean accuracy it is the adversarial error.
        first: `(m,)`: how many images flip first at each eps.
        n: images, all right when clean.
        returning: share of the images flipped in the fitted range that are right again at its end.
        law: fitted to `first`; None where too few images flip.
        cost: forward-equivalents an image.
    """

    attack: str
    eps: Floats
    share: Floats
    first: Ints
    n: int
    returning: float
    law: PowerLaw | None
    cost: float


def ray_curve(look: Look, attack: str, largest: float, *, points: int = POINTS, seed: int = 0) -> ErrorCurve:
    """The curve of a one-step attack, on a grid that starts where a handful of images flip.

    A scout looks at eps a factor of 8 apart to find the grid's ends; then all eps of an image share one gradient and one batch.

    Args:
        look: runs a function over batches of images that are right when clean: `Scene.look` or `over(oracles)`.
        attack: `fgsm`, `l2` or `step_ll`.
        largest: perturbation worth looking at, in the attack's norm.
        points: of the grid.
        seed: of the bootstrap.

    Example:
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0], [1.0]]))
        >>> x = torch.linspace(0.0005, 0.9995, 1000)[:, None] ** 0.5  # the distance to the boundary at 0, squared, is uniform
        >>> curve = ray_curve(over([Oracle(model, x, torch.ones(1000, dtype=torch.int64), bounds=None)]), "fgsm", 1.0)
        >>> curve.law.interval[0] < 2.0 < curve.law.interval[1]
        True

    References:
        Cubuk, Zoph, Schoenholz & Le 2017, arXiv:1711.02846.
    """
    levels = largest * COARSE ** np.arange(1.0 - LEVELS, 1)
    scout = look(f"{attack}_scout", _looking(attack, levels))
    grid = log_grid(*grid_ends(levels, np.asarray(scout["flipped"]).sum(0), len(scout["flipped"])), points)
    found = look(f"{attack}_grid", _looking(attack, grid))
    return conclude(attack, grid, np.asarray(found["flipped"], bool), _cost(scout) + _cost(found), seed)


def pgd_curve(look: Look, eps: Sequence[float] | Floats, *, steps: int = 10, seed: int = 0) -> ErrorCurve:
    """The curve of PGD in linf, by a run of its own at every eps of a log-spaced grid; a fooling image counts in every larger ball too."""
    radii = np.asarray(eps, np.float64)

    def attacked(oracle: Oracle) -> dict[str, Tensor]:
        fooled = []
        for radius in radii:
            found = pgd(oracle, oracle.inputs, oracle.labels, eps=float(radius), steps=steps, seed=seed)
            fooled.append(oracle.value(found, oracle.rows_all)[0] > 0)
        return {"flipped": torch.stack(fooled, 1).cummax(1).values}

    found = look("pgd_grid", attacked)
    return conclude("pgd", radii, np.asarray(found["flipped"], bool), _cost(found), seed)


def conclude(attack: str, eps: Floats, flipped: npt.NDArray[np.bool_], cost: float = 0.0, seed: int = 0) -> ErrorCurve:
    """The curve and its law from which images are flipped at which eps, bool `(n, m)`."""
    first = np.bincount(flipped.argmax(1)[flipped.any(1)], minlength=len(eps))
    law = fit_power_law(eps, first, len(flipped), seed=seed)
    within = flipped[:, eps <= law.upper * (1 + 1e-9)] if law else flipped
    ever = within.any(1)
    return ErrorCurve(
        attack=attack,
        eps=eps,
        share=flipped.mean(0),
        first=first,
        n=len(flipped),
        returning=float((ever & ~within[:, -1]).sum() / max(1, ever.sum())),
        law=law,
        cost=cost,
    )


def grid_ends(levels: Floats, flipped: Ints, n: int) -> tuple[float, float]:
    """Where the grid starts and ends, from how many of n images are flipped at coarse levels of eps.

    It starts at the last level that flips at most a handful; where the next flips many more, above it by proportion. It ends at the
    first level that flips half of the images.

    Example:
        >>> grid_ends(np.array([0.001, 0.008, 0.064, 0.512]), np.array([0, 2, 40, 90]), 100)
        (0.008, 0.512)
    """
    handful = np.flatnonzero(flipped <= HANDFUL)
    low = int(handful[-1]) if len(handful) else 0
    most = np.flatnonzero(flipped >= MOST * n)
    high = max(int(most[0]) if len(most) else len(levels) - 1, 1)
    low = min(low, high - 1)
    guess = levels[low + 1] * HANDFUL / max(flipped[low + 1], 1)
    return float(np.clip(guess, levels[low], levels[high] / COARSE)), float(levels[high])


def over(batches: Sequence[Oracle]) -> Look:
    """Looks at these batches one after the other, in memory; images that are wrong when clean are left out of the answers."""

    def look(name: str, function: Callable[[Oracle], Mapping[str, Tensor]]) -> Arrays:
        answers = []
        for oracle in batches:
            before = oracle.forwards.clone(), oracle.backwards.clone()
            answer = dict(function(oracle))
            answer |= {"forwards": oracle.forwards - before[0], "backwards": oracle.backwards - before[1]}
            rows = oracle.undecided().cpu()
            answers.append({key: value.detach().cpu()[rows].numpy() for key, value in answer.items()})
        return {key: np.concatenate([answer[key] for answer in answers]) for key in answers[0]}

    return look


def _looking(attack: str, eps: Floats) -> Callable[[Oracle], dict[str, Tensor]]:
    def flips(oracle: Oracle) -> dict[str, Tensor]:
        return {"flipped": flipped_along(oracle, direction_of(oracle, attack), torch.from_numpy(eps))}

    return flips


def _cost(stage: Arrays) -> float:
    return float((stage["forwards"] + stage["backwards"]).mean())
