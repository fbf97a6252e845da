"""Small ReLU networks whose distance to the decision boundary is known exactly: no attack is needed to find it, and none to believe.

With every hidden unit told whether it is on or off, a ReLU network is affine, on a polytope; the points of it where another class leads
are a polytope too. All of these are enumerated, and the nearest point of each is a convex programme's answer.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from foolscope.errors import InputError
from foolscope.testing.affine import Integers, Problem
from foolscope.testing.distances import (
    NORMS,
    Array,
    halfspace_distance,
    linear_programme,
    norm_size,
    polytope_move,
)

Layers = tuple[tuple[Array, Array], ...]  # weight (out, in) and bias (out,) of each, a ReLU between two

NETWORKS = {"shallow": ((8,), (1, 2, 2)), "deep": ((5, 3), (1, 3, 3))}  # hidden units, and the shape of an image
CLASSES = 3
WALLED = 0.6  # share of the pixels that sit at exactly 0 or 1
DEEPEST = 4  # one image in so many is kept, those of the largest margin
GROUPS = 4  # of images at one exact distance each


class Pieces(NamedTuple):
    """The affine pieces of a network: where ``edges @ x + offsets >= 0``, its logits are ``slopes @ x + heights``.

    Attributes:
        edges: (p, h, d), a row for each hidden unit.
        offsets: (p, h).
        slopes: (p, c, d).
        heights: (p, c).
    """

    edges: Array
    offsets: Array
    slopes: Array
    heights: Array


def relu_problem(
    n: int = 24, network: str = "shallow", norm: str = "linf", *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Problem:
    """Images before a small random ReLU network with three classes, with their exact distances in ``norm``.

    An image is moved straight towards its nearest fooling point until its distance is that of the nearest of its group: the nearest point
    stays the same, and one eps tests a whole group (l0 counts; nothing has to be moved).

    Args:
        n: images, a multiple of four.
        network: ``shallow`` (four pixels, one hidden layer of 8 units) or ``deep`` (nine pixels, two hidden layers of 5 and 3).
        norm: linf, l2, l1 or l0.
        seed: another one, another network and other images.
        dtype: of the model and the images; the distance is that of the float64 network.

    Returns:
        The problem. Its box is ``mixed``: it makes the distance of some images larger, but not of others.

    Raises:
        InputError: unknown network or norm, or no multiple of four.

    Example:
        >>> problem = relu_problem(8, norm="l2")
        >>> bool((problem.model(problem.inputs).argmax(1) == problem.labels).all()), tuple(problem.inputs.shape)
        (True, (8, 1, 2, 2))
    """
    for name, value, accepted in (("network", network, NETWORKS), ("norm", norm, NORMS)):
        if value not in accepted:
            raise InputError(name, f"a {name}", value, accepted)
    if n % GROUPS:
        raise InputError("n", f"a multiple of {GROUPS}", n)
    images, labels, distance = _solved(n, network, norm, seed)
    return Problem(
        model=_module(_drawn(network, seed)[0]).to(dtype).eval(),
        inputs=torch.tensor(images).view(n, *NETWORKS[network][1]).to(dtype),
        labels=torch.tensor(labels),
        targets=None,
        distance=torch.tensor(distance),
        norm=norm,
        box="mixed",
        bounds=(0.0, 1.0),
    )


def affine_pieces(layers: Layers, bounds: tuple[float, float] = (0.0, 1.0)) -> Pieces:
    """All affine pieces of a network that have an inside within a box.

    Args:
        layers: weight (out, in) and bias (out,) of each layer, a ReLU between two.
        bounds: the box.

    Returns:
        The pieces; at most 2 to the number of hidden units.
    """
    dims = layers[0][0].shape[1]
    patterns = np.array(list(product((0.0, 1.0), repeat=sum(len(bias) for _, bias in layers[:-1]))))
    slope, height = np.broadcast_to(np.eye(dims), (len(patterns), dims, dims)), np.zeros((len(patterns), dims))
    edges, offsets, first = [], [], 0
    for weight, bias in layers[:-1]:
        on = patterns[:, first : first + len(bias)]
        slope, height = weight @ slope, height @ weight.T + bias
        edges.append(slope * (2 * on - 1)[:, :, None])
        offsets.append(height * (2 * on - 1))
        slope, height = slope * on[:, :, None], height * on
        first += len(bias)
    weight, bias = layers[-1]
    pieces = Pieces(np.hstack(edges), np.hstack(offsets), weight @ slope, height @ weight.T + bias)
    inside = [_has_inside(*each, bounds) for each in zip(pieces.edges, pieces.offsets, strict=True)]
    return Pieces(*(part[inside] for part in pieces))


def nearest_fooling(
    pieces: Pieces, image: Array, label: int, norm: str, bounds: tuple[float, float] = (0.0, 1.0)
) -> Array | None:
    """The smallest move that takes an image to where another class draws level with its label.

    Args:
        pieces: of the network.
        image: (d,).
        label: its class.
        norm: linf, l2, l1 or l0.
        bounds: the box.

    Returns:
        (d,) the move; None if there is none.
    """
    rivals = [j for j in range(pieces.slopes.shape[1]) if j != label]
    lead = pieces.slopes[:, rivals] - pieces.slopes[:, [label]]
    ahead = pieces.heights[:, rivals] - pieces.heights[:, [label]]
    normals = np.concatenate([np.repeat(pieces.edges[:, None], len(rivals), 1), lead[:, :, None]], axis=2)
    offsets = np.concatenate([np.repeat(pieces.offsets[:, None], len(rivals), 1), ahead[:, :, None]], axis=2)
    rows, dims = normals.shape[2:]
    normals, margins = normals.reshape(-1, rows, dims), -(offsets + normals @ image).reshape(-1, rows)
    lower, upper = bounds[0] - image, bounds[1] - image
    if norm == "l0":
        return _fewest(normals, margins, lower, upper)
    least = _at_least(normals, margins, lower, upper, norm)
    best, shortest = None, np.inf
    for piece in np.argsort(least, kind="stable"):
        if not least[piece] < shortest:
            break
        move = polytope_move(normals[piece], margins[piece], lower, upper, norm)
        if move is not None and (size := float(norm_size(move[None], norm)[0])) < shortest:
            best, shortest = move, size
    return best


def _fewest(normals: Array, margins: Array, lower: Array, upper: Array) -> Array | None:
    """The l0 answer: a few components at a time, more only when none of them leads into any of the polytopes (p, k, d)."""
    dims = normals.shape[2]
    gains = np.where(normals > 0, normals * upper, normals * lower)  # in a box; the most that each component adds
    for count in range(1, dims + 1):
        for chosen in map(list, combinations(range(dims), count)):
            for piece in np.flatnonzero((gains[:, :, chosen].sum(axis=2) >= margins).all(axis=1)):
                rows = normals[piece][:, chosen]
                part = polytope_move(rows, margins[piece], lower[chosen], upper[chosen], "l1")
                if part is not None:
                    move = np.zeros(dims)
                    move[chosen] = part
                    return move
    return None


@cache
def _solved(n: int, network: str, norm: str, seed: int) -> tuple[Array, Integers, Array]:
    """The images, solved once a process: images (n, d), labels (n,), distances (n,)."""
    layers, pieces = _drawn(network, seed)
    draw = np.random.default_rng((seed, 1))
    images = draw.uniform(size=(DEEPEST * n, pieces.slopes.shape[2]))
    images = np.where(draw.uniform(size=images.shape) < WALLED, images.round(), images)
    logits = np.sort(_logits(layers, images), axis=1)
    images = images[np.argsort(logits[:, -2] - logits[:, -1], kind="stable")[:n]]
    labels = _logits(layers, images).argmax(axis=1)
    found = [nearest_fooling(pieces, x, y, norm) for x, y in zip(images, labels, strict=True)]
    moves = np.array([move for move in found if move is not None])
    assert len(moves) == n, "an image that no change fools"
    distance = norm_size(moves, norm)
    if norm != "l0":
        for group in np.split(np.argsort(distance, kind="stable"), GROUPS):
            level = distance[group[0]]
            images[group] += (1 - level / distance[group, None]) * moves[group]
            distance[group] = level
        images = images.clip(0.0, 1.0)  # rounding may have put them a hair outside
    return images, labels, distance


@cache
def _drawn(network: str, seed: int) -> tuple[Layers, Pieces]:
    """A random network whose units switch, and whose classes meet, within the box; its pieces."""
    hidden, shape = NETWORKS[network]
    draw = np.random.default_rng((seed, 0))
    seen = draw.uniform(size=(256, int(np.prod(shape))))
    layers: list[tuple[Array, Array]] = []
    for width in (*hidden, CLASSES):
        weight = draw.normal(size=(width, seen.shape[1]))
        reached = seen @ weight.T
        # a hidden unit switches somewhere among what it sees; each class is as often ahead as not
        bias = -np.median(reached, axis=0) if width == CLASSES else -reached[np.arange(width), np.arange(width)]
        layers.append((weight, bias))
        seen = np.maximum(reached + bias, 0.0)
    return tuple(layers), affine_pieces(tuple(layers))


def _logits(layers: Layers, images: Array) -> Array:
    for weight, bias in layers[:-1]:
        images = np.maximum(images @ weight.T + bias, 0.0)
    return images @ layers[-1][0].T + layers[-1][1]


def _module(layers: Layers) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Flatten()]
    for weight, bias in layers:
        linear = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight), dtype=torch.float64)  # type: ignore[no-untyped-call]
        linear.load_state_dict({"weight": torch.as_tensor(weight), "bias": torch.as_tensor(bias)})
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def _has_inside(edges: Array, offsets: Array, bounds: tuple[float, float]) -> bool:
    """Whether ``edges @ x + offsets > 0`` somewhere in the box: the largest t, up to 1, for which it is t."""
    open_rows = (edges != 0).any(axis=1) | (offsets != 0)  # a unit that is exactly 0 here may be called on or off
    edges, offsets = edges[open_rows], offsets[open_rows]
    found = linear_programme(
        np.append(np.zeros(edges.shape[1]), -1.0),
        np.hstack([-edges, np.ones((len(edges), 1))]),
        offsets,
        [*[bounds] * edges.shape[1], (0.0, 1.0)],
    )
    return found is not None and bool(found[-1] > 1e-9)


def _at_least(normals: Array, margins: Array, lower: Array, upper: Array, norm: str) -> Array:
    """A bound from below on each polytope's distance, (p,): the largest of its half-spaces' distances."""
    flat, wanted = normals.reshape(-1, normals.shape[2]), margins.reshape(-1)
    unmet = wanted > 0
    some = np.flatnonzero(unmet & (flat != 0).any(axis=1))
    each = np.where(unmet, np.inf, 0.0)  # a row without weight cannot be met
    room = np.where(flat[some] > 0, upper, -lower)
    each[some] = halfspace_distance(flat[some], wanted[some], room, norm)
    bound: Array = each.reshape(margins.shape).max(axis=1)
    return bound
