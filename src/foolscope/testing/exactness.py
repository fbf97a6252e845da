"""Checks against closed forms: an attack succeeds where it promises to, and never where nothing can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from foolscope.testing.affine import Problem, affine_problem, rival_distances
from foolscope.testing.distances import Array
from foolscope.testing.measure import fooled, require, require_inside, run, sizes
from foolscope.testing.radial import SIDES, radial_problem
from foolscope.testing.relu import relu_problem

if TYPE_CHECKING:
    from foolscope.attacks import Attack

Found = np.ndarray[Any, np.dtype[np.bool_]]
Promise = float | tuple[float, float]

ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-9}  # relative to a distance; what a forward pass may be off by
SHAPE = (1, 8, 8)
# network and seed: of four seeds each, those whose images differ most in class, in pixels at a wall and in l0; no attack was asked
RELU_NETWORKS = (("shallow", 1), ("deep", 3))


def check_inactive_box(row: Attack, norm: str) -> None:
    """Affine, two classes, a box that does not matter: the row's promise is kept, nothing below the distance."""
    _check_two_classes(row, norm, "inactive")


def check_active_box(row: Attack, norm: str) -> None:
    """Affine, two classes, a box that binds at every image's optimum; half of the images are black and white."""
    _check_two_classes(row, norm, "active")


def check_no_box(row: Attack, norm: str) -> None:
    """Affine, two classes, images that lie anywhere and no box."""
    _check_two_classes(row, norm, "none")


def check_many_classes(row: Attack, norm: str) -> None:
    """Affine, four classes: nothing below the distance to the nearest; 90 % by twice the tolerance beyond the farthest.

    More can't be promised: an attack may be after a class of its own choice.
    """
    problem = affine_problem(48, SHAPE, 4, "inactive", norm, dtype=torch.float64)
    _check_roughly(row, problem, rival_distances(problem).max(axis=1))


def check_targets(row: Attack, norm: str) -> None:
    """Affine, with targets: two classes as strictly as without; four: 90 % by twice the tolerance, nothing below."""
    for box in ("inactive", "active"):
        _check(row, affine_problem(48, SHAPE, 2, box, norm, targeted=True, dtype=torch.float64))
    if norm != "l0":
        problem = affine_problem(32, SHAPE, 4, "inactive", norm, targeted=True, dtype=torch.float64)
        _check_roughly(row, problem, problem.distance.numpy())


def check_curved_boundary(row: Attack, norm: str) -> None:
    """A sphere as the boundary (l2): the row's promise is kept by attacks with gradients, nothing below."""
    if norm == "l2":
        problem = radial_problem(64, SHAPE, dtype=torch.float64)
        if row.gradient:
            _check(row, problem)
        else:
            _check_roughly(row, problem, problem.distance.numpy())


def check_sphere(row: Attack, norm: str) -> None:
    """A sphere as the boundary, seen from inside and from outside: the row's promise for spheres, nothing below the distance."""
    for side in SIDES:
        problem = radial_problem(24, SHAPE, norm, side=side, dtype=torch.float64)
        _check_curved(row, problem, row.sphere, f"{side} a sphere")


def check_relu_network(row: Attack, norm: str) -> None:
    """Two small ReLU networks, solved exactly: the row's promise for such, nothing below the distance."""
    for network, seed in RELU_NETWORKS:
        _check_curved(row, relu_problem(24, network, norm, seed=seed), row.relu, f"{network} ReLU network")


def curved_ratios(row: Attack, problem: Problem, factors: tuple[float, ...] = ()) -> Array:
    """What an image costs an attack, in units of its exact distance; raises if it leaves ball or box, or does the impossible.

    Args:
        row: the attack.
        problem: with a few distances, each of many images.
        factors: for attacks with an eps, which multiples of the distance to try, rising.

    Returns:
        (n,) size / distance (minimal norm) or the first factor at which the image is fooled; ``inf`` where it never is.
    """
    if row.kind == "minimal norm":
        found, size = _minimal(row, problem)
        return np.where(found, size / problem.distance.numpy(), np.inf)
    ratio = np.full(len(problem.inputs), np.inf)
    exact = problem.distance.numpy().round(9)
    for level in np.unique(exact):
        group = np.flatnonzero(exact == level)
        part = replace(
            problem, inputs=problem.inputs[group], labels=problem.labels[group], distance=problem.distance[group]
        )
        for factor in reversed(factors):
            eps = math.floor(factor * level) if problem.norm == "l0" else factor * level * (1 + _rounding(problem))
            if eps > 0:
                ratio[group[_attack_fixed(row, part, eps, few=factor < 1 and not row.gradient)]] = factor
    return ratio


def _check_curved(row: Attack, problem: Problem, promised: Mapping[str, Promise], where: str) -> None:
    """Half of the images by the first promise times their distance, 90 % by the second; nothing below the distance."""
    promises = (math.inf, math.inf) if row.kind == "control" else _pair(promised[problem.norm])
    tried = tuple(sorted({0.99, *promises} - {math.inf}))  # at the first, nothing can be found: `_attack_fixed` looks
    got = np.quantile(curved_ratios(row, problem, tried), [0.5, 0.9], method="inverted_cdf")
    for name, ratio, promise in zip(("median", "90th percentile"), got, promises, strict=True):
        complaint = f"{where}: {name} of what it takes / optimum {ratio:.5g}, promised {promise}"
        require(ratio <= promise, row, problem.norm, complaint)


def _check_two_classes(row: Attack, norm: str, box: str) -> None:
    for dtype in (torch.float32, torch.float64) if row.gradient else (torch.float32,):
        _check(row, affine_problem(128, SHAPE, 2, box, norm, dtype=dtype))


def _check(row: Attack, problem: Problem) -> None:
    if row.kind == "minimal norm":
        _check_minimal(row, problem)
    else:
        for level in (0.1, 0.5, 0.9) if row.gradient else (0.5,):
            _check_fixed(row, problem, level)


def _check_fixed(row: Attack, problem: Problem, level: float) -> None:
    """Just below and, by the row's factor, just above the distance of the image at quantile ``level``."""
    norm, rounding, exact = problem.norm, _rounding(problem), problem.distance.numpy()
    pivot = float(np.sort(exact)[int(level * (len(exact) - 1))])
    below = pivot - 1 if norm == "l0" else pivot * (1 - 2 * rounding)
    if below > 0:
        _attack_fixed(row, problem, below, few=not row.gradient)
    factor = _promises(row, norm)[0]
    if math.isinf(factor):
        return
    above = math.floor(factor * pivot) + 1.0 if norm == "l0" else factor * pivot * (1 + 2 * rounding)
    missed = (exact * factor * (1 + rounding) < above) & ~_attack_fixed(row, problem, above)
    excess = (above / exact[missed]).max(initial=0.0)
    complaint = f"box {problem.box}, eps {above:.6g}: {missed.sum()} of {len(exact)} images not fooled"
    require(
        not missed.any(),
        row,
        norm,
        f"{complaint}, with eps at up to {excess:.4g} x their exact distance; promised {factor}",
    )


def _attack_fixed(row: Attack, problem: Problem, eps: float, few: bool = False) -> Found:
    """Which images the attack fools; raises if it leaves ball or box, or does the impossible."""
    result = run(
        row, problem.model, problem.inputs, problem.labels, problem.norm,
        eps=eps, targets=problem.targets, bounds=problem.bounds, few=few,
    )  # fmt: skip
    require_inside(row, problem.norm, result, problem.inputs, eps=eps, bounds=problem.bounds)
    found = _fooled(problem, result)
    impossible = found & (problem.distance.numpy() > eps * (1 + _rounding(problem)))
    complaint = f"box {problem.box}, eps {eps:.6g}: {impossible.sum()} images fooled below their exact distance"
    require(not impossible.any(), row, problem.norm, complaint)
    return found


def _check_minimal(row: Attack, problem: Problem) -> None:
    """Hardly any image missed; the median and the 90th percentile of the ratio to the optimum as promised."""
    found, size = _attack_minimal(row, problem)
    where = f"box {problem.box}, {str(problem.inputs.dtype).removeprefix('torch.')}"
    got = np.quantile(size[found] / problem.distance.numpy()[found], [0.5, 0.9])
    for name, ratio, promise in zip(("median", "90th percentile"), got, _promises(row, problem.norm), strict=True):
        require(
            ratio <= promise, row, problem.norm, f"{where}: {name} of size / optimum {ratio:.5g}, promised {promise}"
        )


def _attack_minimal(row: Attack, problem: Problem) -> tuple[Found, Array]:
    """Which images the attack fools, and sizes; raises if it leaves the box, misses over 1 %, does the impossible."""
    found, size = _minimal(row, problem)
    require(found.mean() >= 0.99, row, problem.norm, f"box {problem.box}: only {found.mean():.1%} of the images fooled")
    return found, size


def _minimal(row: Attack, problem: Problem) -> tuple[Found, Array]:
    """Which images the attack fools, and sizes; raises if it leaves the box or does the impossible."""
    result = run(
        row, problem.model, problem.inputs, problem.labels, problem.norm, targets=problem.targets, bounds=problem.bounds
    )
    require_inside(row, problem.norm, result, problem.inputs, bounds=problem.bounds)
    found = _fooled(problem, result)
    size = sizes(result, problem.inputs, problem.norm)
    short = found & (size < problem.distance.numpy() * (1 - _rounding(problem)))
    require(
        not short.any(), row, problem.norm, f"box {problem.box}: {short.sum()} images fooled below their exact distance"
    )
    return found, size


def _check_roughly(row: Attack, problem: Problem, reach: Array) -> None:
    """Nothing below the exact distance; 90 % of the images by twice the tolerance times ``reach``."""
    norm = problem.norm
    if row.kind == "minimal norm":
        found, size = _attack_minimal(row, problem)
        factor = 2 * _promises(row, norm)[1]
        hit = found & (size <= factor * reach)
    else:
        half = float(np.median(problem.distance.numpy()))
        _attack_fixed(row, problem, half, few=not row.gradient)
        factor = 2 * _promises(row, norm)[0]
        if math.isinf(factor):
            return
        eps = factor * float(np.median(reach))
        hit = _attack_fixed(row, problem, math.ceil(eps) if norm == "l0" else eps)[factor * reach <= eps]
    require(hit.mean() >= 0.9, row, norm, f"only {hit.mean():.1%} of the images fooled at {factor} x a sure distance")


def _promises(row: Attack, norm: str) -> tuple[float, float]:
    """The row's tolerance: (median, 90th percentile), or a fixed-eps attack's factor twice; inf: nothing promised."""
    promise = row.tolerance.get(norm, math.inf)
    if row.kind == "control":
        return math.inf, math.inf
    return _pair(promise)


def _pair(promise: Promise) -> tuple[float, float]:
    return (float(promise),) * 2 if isinstance(promise, (int, float)) else (float(promise[0]), float(promise[1]))


def _rounding(problem: Problem) -> float:
    return 0.0 if problem.norm == "l0" else ROUNDING[problem.inputs.dtype]


def _fooled(problem: Problem, result: Tensor) -> Found:
    return fooled(problem.model, result, problem.labels, problem.targets).numpy(force=True)
