"""Affine classifiers whose distance to the decision boundary is known exactly, for every image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.testing.distances import NORMS, Array, halfspace_distance, polytope_distance

Integers = np.ndarray[Any, np.dtype[np.int64]]

BOXES = ("inactive", "active", "none")
WALLED = 0.25  # active box: share of an image's pixels that sit at exactly 0 or 1 (of about every second image: all)
DEPTHS = {"inactive": (0.02, 0.06), "active": (0.6, 0.95), "none": (0.05, 0.3)}  # see _depth; active: times the deepest


@dataclass(frozen=True)
class Problem:
    """A classifier, images that it classifies correctly, and how far each truly is from being fooled.

    Attributes:
        model: logits (n, k) of images; in eval mode, with parameters that require gradients.
        inputs: (n, C, H, W) images within ``bounds``.
        labels: (n,) int64, what the model says of each.
        targets: (n,) int64 classes to be reached, or None for "any other".
        distance: (n,) float64, exact and finite: the smallest size in ``norm``, within ``bounds``, of a change after
            which the target (or any other class) draws level. Anything beyond it can fool the model, nothing below.
        norm: linf, l2, l1 or l0.
        box: ``inactive``, ``active``, ``mixed`` or ``none``.
        bounds: the box, None if there is none.
    """

    model: nn.Module
    inputs: Tensor
    labels: Tensor
    targets: Tensor | None
    distance: Tensor
    norm: str
    box: str
    bounds: tuple[float, float] | None


def affine_problem(
    n: int = 64,
    shape: tuple[int, int, int] = (1, 8, 8),
    classes: int = 2,
    box: str = "inactive",
    norm: str = "linf",
    *,
    targeted: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Problem:
    """Images before an affine classifier, with their exact distances in ``norm``.

    The weights differ in size by a factor of twenty and more, and one pixel in sixteen has none. The distance holds for
    the weights and images as rounded to ``dtype``. The box is, for every image and seen from the nearest other class:

    * ``inactive``: no pixel hits a wall at the optimum; it is the same with and without the box.
    * ``active``: the box makes the optimum larger by more than 2 %. Some images have pixels at exactly 0 and 1,
      others no other pixels.
    * ``none``: no box; the pixels lie anywhere.

    Args:
        n: images.
        shape: (C, H, W) of one.
        classes: 2 or more.
        box: inactive, active or none.
        norm: linf, l2, l1 or l0 (l0 with targets: two classes only).
        targeted: give each image a target, and its distance to that class's region.
        seed: another one, another problem.
        dtype: of the model and the images.

    Returns:
        The problem; the distance of an image to a class is the least over all points where that class's logit is the
        largest (targeted), or where any other class's logit is at least the label's.

    Raises:
        InputError: unknown norm or box, fewer than 2 classes, targets that no solver handles.

    Example:
        >>> problem = affine_problem(4, box="active", norm="l2")
        >>> bool((problem.model(problem.inputs).argmax(1) == problem.labels).all()), tuple(problem.distance.shape)
        (True, (4,))
    """
    _check(classes, box, norm, targeted)
    draw = np.random.default_rng(seed)
    dims = int(np.prod(shape))
    kind = np.float32 if dtype == torch.float32 else np.float64
    weight = draw.choice([-1.0, 1.0], (classes, dims)) * np.exp(draw.uniform(np.log(0.05), 0.0, (classes, dims)))
    weight[:, ::16] = 0.0
    weight *= 10.0 / np.abs(weight).sum(axis=1, keepdims=True)  # logits of a usual size: softmax must not saturate
    weight = weight.astype(kind).astype(np.float64)
    bias = -0.5 * weight.sum(axis=1)  # all level at mid-grey: no class is out of reach
    bias = bias.astype(kind).astype(np.float64)
    images, labels, distance = _images(draw, weight, bias, n, box, norm, kind)
    assert len(images) == n, f"only {len(images)} of {n} images came out as asked; take more pixels or fewer classes"

    targets = (labels + 1 + np.arange(n) // classes % (classes - 1)) % classes if targeted else None
    if targets is not None and classes > 2:
        distance = _targeted(weight, bias, images, targets, box, norm)
        assert np.isfinite(distance).all(), "a target is out of reach"
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, dims, classes, dtype=dtype)  # type: ignore[no-untyped-call]
    linear.load_state_dict({"weight": torch.as_tensor(weight), "bias": torch.as_tensor(bias)})
    return Problem(
        model=nn.Sequential(nn.Flatten(), linear).eval(),
        inputs=torch.as_tensor(images).reshape(n, *shape).to(dtype),
        labels=torch.as_tensor(labels),
        targets=None if targets is None else torch.as_tensor(targets),
        distance=torch.as_tensor(distance),
        norm=norm,
        box=box,
        bounds=None if box == "none" else (0.0, 1.0),
    )


def rival_distances(problem: Problem) -> Array:
    """Distances of an affine problem's images to each class but their own: (n, classes - 1), the classes in order.

    Example:
        >>> problem = affine_problem(5, classes=3)
        >>> bool(np.allclose(rival_distances(problem).min(axis=1), problem.distance))
        True
    """
    weight, bias = (value.double().numpy(force=True) for value in problem.model.state_dict().values())
    labels = problem.labels.numpy()
    images = problem.inputs.double().flatten(1).numpy()
    return _each(*_pairs(weight, bias, images, labels, _rivals(labels, len(weight)), problem.box), problem.norm)


def _check(classes: int, box: str, norm: str, targeted: bool) -> None:
    if norm not in NORMS:
        raise InputError("norm", "a norm", norm, NORMS)
    if box not in BOXES:
        raise InputError("box", "a kind of box", box, BOXES)
    if classes < 2:
        raise InputError("classes", "at least 2", classes)
    if targeted and classes > 2 and norm == "l0":
        raise InputError("norm", "one with a solver for targets among more than 2 classes", norm, ("linf", "l2", "l1"))


def _images(
    draw: np.random.Generator, weight: Array, bias: Array, n: int, box: str, norm: str, kind: type
) -> tuple[Array, Integers, Array]:
    """Random images, their labels and distances; each was moved towards its class until a rival is as far as drawn.

    Candidates whose box is not what was asked for are left out, never patched.
    """
    classes, dims, tries = len(weight), weight.shape[1], 2 * n + 8
    labels = np.arange(tries) % classes
    rivals = _rivals(labels, classes)
    towards = np.sign(weight[labels] - weight[rivals].mean(axis=1))
    binary = np.arange(tries) // classes % 2 == 1 if box == "active" else np.zeros(tries, dtype=bool)
    threshold = draw.uniform(size=(tries, dims))
    if box == "active":
        start = draw.uniform(0.0, 1.0, (tries, dims))
        walled = draw.uniform(size=(tries, dims)) < WALLED
        start = np.where(walled, np.round(start), start)
        ends = [np.where(walled | (towards == 0), start, (1 + way * towards) / 2) for way in (-1, 1)]
    else:
        start = draw.uniform(0.3, 0.7, (tries, dims)) if box == "inactive" else draw.normal(0.5, 1.0, (tries, dims))
        ends = [start + way * towards * (0.2 if box == "inactive" else 2.0) for way in (-1, 1)]

    def at(position: Array) -> Array:
        """The images at ``position`` (tries,) on their ways from "surely a rival" (-1) to "surely the class" (1)."""
        s = position[:, None]
        moved = start + np.maximum(s, 0) * (ends[1] - start) + np.maximum(-s, 0) * (ends[0] - start)
        return np.where(binary[:, None], threshold < (1 + s * towards) / 2, moved)  # binary ones go bit by bit

    def depth(position: Array) -> Array:
        return _depth(*_pairs(weight, bias, at(position), labels, rivals, box), box, norm)

    low, high = -np.ones(tries), np.ones(tries)
    least, greatest = depth(low), depth(high)
    wanted = draw.uniform(*DEPTHS[box], tries) * (greatest if box == "active" else 1.0)
    for _ in range(40):
        middle = (low + high) / 2
        enough = depth(middle) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    images = at(high).astype(kind).astype(np.float64)

    normal, margin, room = _pairs(weight, bias, images, labels, rivals, box)
    distance = _each(normal, margin, room, norm).min(axis=1)
    free = _each(normal, margin, np.full_like(room, np.inf), norm).min(axis=1)
    as_asked = distance > 1.02 * free if box == "active" else np.isclose(distance, free, rtol=1e-9, atol=0.0)
    good = np.flatnonzero((least < wanted) & (wanted <= greatest) & (margin > 0).all(axis=1) & as_asked)[:n]
    return images[good], labels[good], distance[good]


def _depth(normal: Array, margin: Array, room: Array, box: str, norm: str) -> Array:
    """How deep images lie in their class, by the nearest rival; 0 on its boundary.

    With the box active, the share of all that can be gained that must be; else how far the furthest-moving pixel goes.
    """
    size = np.abs(normal)
    if box == "active":
        least = margin / ((size * room).sum(axis=2) + 1e-12)
    elif norm == "linf":
        least = margin / size.sum(axis=2)
    elif norm == "l2":
        least = margin * size.max(axis=2) / np.square(size).sum(axis=2)
    else:
        least = margin / size.max(axis=2)
    nearest: Array = least.min(axis=1)
    return nearest


def _rivals(labels: Integers, classes: int) -> Integers:
    """The classes other than each label, in order: (n, classes - 1)."""
    return np.array([[j for j in range(classes) if j != label] for label in range(classes)])[labels]


def _pairs(
    weight: Array, bias: Array, images: Array, labels: Integers, rivals: Integers, box: str
) -> tuple[Array, Array, Array]:
    """Per image and rival: the normal (n, r, d), the label's lead (n, r) and the room along the normal (n, r, d)."""
    normal = weight[rivals] - weight[labels][:, None]
    margin = -np.einsum("nrd,nd->nr", normal, images) - (bias[rivals] - bias[labels][:, None])
    if box == "none":
        return normal, margin, np.full_like(normal, np.inf)
    here = np.broadcast_to(images[:, None], normal.shape)
    return normal, margin, np.where(normal > 0, 1.0 - here, here)


def _each(normal: Array, margin: Array, room: Array, norm: str) -> Array:
    """Distances (n, r) to each rival."""
    each = [halfspace_distance(normal[:, r], margin[:, r], room[:, r], norm) for r in range(normal.shape[1])]
    return np.stack(each, axis=1)


def _targeted(weight: Array, bias: Array, images: Array, targets: Integers, box: str, norm: str) -> Array:
    lower, upper = (
        (-images, 1.0 - images) if box != "none" else (np.full_like(images, -np.inf), np.full_like(images, np.inf))
    )
    distance = np.empty(len(images))
    for i, target in enumerate(targets):
        others = [j for j in range(len(weight)) if j != target]
        normals = weight[target] - weight[others]
        margins = -(normals @ images[i] + bias[target] - bias[others])
        distance[i] = polytope_distance(normals, margins, lower[i], upper[i], norm)
    return distance
