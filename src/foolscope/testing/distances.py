"""Exact distances from a point in a box to a half-space, or to a corner of several, in float64.

Written with numpy and scipy alone, sharing nothing with the attacks or with :mod:`foolscope.norms`: what is measured
with these must not inherit their mistakes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foolscope.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

NORMS = ("linf", "l2", "l1", "l0")


def halfspace_distance(weight: Array, margin: Array, room: Array, norm: str) -> Array:
    """The smallest ``||d||`` with ``weight · d >= margin`` where component i can go ``room_i`` the useful way.

    The optimum moves along ``sign(weight)`` by ``min(e, room)`` (linf) or ``min(λ|weight|, room)`` (l2: water-filling),
    or takes whole rooms in falling order of ``|weight|`` (l1) or of ``|weight| · room`` (l0).

    Args:
        weight: (n, d) normals of the half-spaces.
        margin: (n,) what has to be gained; above 0.
        room: (n, d) how far each component can go in the direction of ``sign(weight)``; ``inf`` where there is no box.
        norm: linf, l2, l1 or l0.

    Returns:
        (n,) distances (l0: a count); ``inf`` where the box holds no such point.

    Raises:
        InputError: unknown norm.

    Example:
        >>> w, m, free = np.array([[3.0, -4.0]]), np.array([5.0]), np.full((1, 2), np.inf)
        >>> [float(halfspace_distance(w, m, free, norm)[0].round(3)) for norm in ("linf", "l2", "l1", "l0")]
        [0.714, 1.0, 1.25, 1.0]
        >>> float(halfspace_distance(w, m, np.array([[1.0, 0.5]]), "l2")[0].round(3))  # the box stops the second at 0.5
        1.118
    """
    size = np.abs(weight)
    room = np.where(size > 0, room, 0.0)  # a component without weight is of no use, and 0 · inf is NaN
    if norm == "linf":
        moves = _waterfill(np.ones_like(size), size, margin, room)
    elif norm == "l2":
        moves = _waterfill(size, size, margin, room)
    elif norm == "l1":
        moves = _fill_in_order(-size, size, margin, room)
    elif norm == "l0":
        moves = _fill_in_order(-size * room, size, margin, room)
    else:
        raise InputError("norm", "a norm", norm, NORMS)
    return np.where(np.isinf(moves).any(axis=1), np.inf, norm_size(moves, norm))


def polytope_distance(weights: Array, margins: Array, lower: Array, upper: Array, norm: str) -> float:
    """The size of :func:`polytope_move`, which see; ``inf`` where there is no such point.

    Example:
        >>> both = np.eye(2), np.array([3.0, 4.0]), np.full(2, -np.inf), np.full(2, np.inf)
        >>> [round(polytope_distance(*both, norm), 6) for norm in ("linf", "l2", "l1")]
        [4.0, 5.0, 7.0]
    """
    move = polytope_move(weights, margins, lower, upper, norm)
    return float("inf") if move is None else float(norm_size(move[None], norm)[0])


def polytope_move(weights: Array, margins: Array, lower: Array, upper: Array, norm: str) -> Array | None:
    """The smallest ``d`` with ``weights @ d >= margins`` (all rows) and ``lower <= d <= upper``.

    A linear programme for linf and l1; for l2 the least-distance problem of Lawson and Hanson (Solving Least Squares
    Problems, 1974, ch. 23), which non-negative least squares solves exactly.

    Args:
        weights: (k, d) normals.
        margins: (k,) what has to be gained along each.
        lower: (d,) least displacements, at most 0; ``-inf`` where there is no box.
        upper: (d,) greatest displacements, at least 0; ``inf`` where there is no box.
        norm: linf, l2 or l1.

    Returns:
        (d,) the move; None where there is none.

    Raises:
        InputError: a norm without such a solver.
    """
    solvers = {"linf": _least_reach, "l2": _least_distance, "l1": _least_sum}
    if norm not in solvers:
        raise InputError("norm", "a norm", norm, solvers)
    return solvers[norm](weights, margins, lower, upper)


def norm_size(delta: Array, norm: str) -> Array:
    """Sizes of displacements in ``norm``, in float64.

    Args:
        delta: (n, d) displacements.
        norm: linf, l2, l1 or l0.

    Returns:
        (n,) sizes; for l0 the number of components that are not exactly 0.

    Raises:
        InputError: unknown norm.

    Example:
        >>> delta = np.array([[3.0, 0.0, -4.0]])
        >>> [float(norm_size(delta, norm)[0]) for norm in NORMS]
        [4.0, 5.0, 7.0, 2.0]
    """
    magnitude = np.abs(np.asarray(delta, dtype=np.float64))
    size: Array
    if norm == "linf":
        size = magnitude.max(axis=1, initial=0.0)
    elif norm == "l2":
        size = np.sqrt(np.square(magnitude).sum(axis=1))
    elif norm == "l1":
        size = magnitude.sum(axis=1)
    elif norm == "l0":
        size = np.count_nonzero(magnitude, axis=1).astype(np.float64)
    else:
        raise InputError("norm", "a norm", norm, NORMS)
    return size


def _waterfill(slope: Array, size: Array, margin: Array, room: Array) -> Array:
    """The moves ``min(level · slope, room)`` at the lowest level that gains ``margin``; inf if none does."""
    useful = size > 0
    stops = np.where(useful, room / np.where(useful, slope, 1.0), 0.0)  # the level at which a component hits its wall
    order = np.argsort(stops, axis=1, kind="stable")
    stops, rise, full = (np.take_along_axis(values, order, axis=1) for values in (stops, size * slope, size * room))
    rising = np.cumsum(rise[:, ::-1], axis=1)[:, ::-1]  # what the components not yet at a wall gain per level
    walled = np.hstack([np.zeros_like(full[:, :1]), np.cumsum(full, axis=1)[:, :-1]])  # what the others have gained
    reached = walled + stops * rising >= margin[:, None]
    first = np.argmax(reached, axis=1)[:, None]
    level = (margin[:, None] - np.take_along_axis(walled, first, axis=1)) / np.take_along_axis(rising, first, axis=1)
    return np.where(reached.any(axis=1, keepdims=True), np.minimum(level * slope, room), np.inf)


def _fill_in_order(key: Array, size: Array, margin: Array, room: Array) -> Array:
    """The moves that take whole rooms in rising order of ``key`` until ``margin`` is gained; inf if it never is."""
    order = np.argsort(key, axis=1, kind="stable")
    size, room = np.take_along_axis(size, order, axis=1), np.take_along_axis(room, order, axis=1)
    gained = np.cumsum(size * room, axis=1)
    before = np.hstack([np.zeros_like(gained[:, :1]), gained[:, :-1]])
    left = np.maximum(margin[:, None] - before, 0.0)
    ordered = np.minimum(room, left / np.where(size > 0, size, 1.0))
    moves = np.empty_like(ordered)
    np.put_along_axis(moves, order, ordered, axis=1)
    return np.where((gained[:, -1] >= margin)[:, None], moves, np.inf)


def linear_programme(cost: Array, gain: Array, ends: Array, limits: list[tuple[float, float]]) -> Array | None:
    """The minimiser of a linear programme with ``gain @ x <= ends``; None where nothing satisfies it."""
    from scipy.optimize import linprog

    solved = linprog(cost, A_ub=gain, b_ub=ends, bounds=limits)
    if solved.status not in (0, 2):
        raise ArithmeticError(f"linear programme not solved: {solved.message}")
    return None if solved.status else np.asarray(solved.x, np.float64)


def _least_reach(weights: Array, margins: Array, lower: Array, upper: Array) -> Array | None:
    dims = weights.shape[1]  # the last variable is e >= |d_i|
    edge = np.ones((dims, 1))
    gain = np.vstack(
        [
            np.hstack([np.eye(dims), -edge]),
            np.hstack([-np.eye(dims), -edge]),
            np.hstack([-weights, np.zeros((len(weights), 1))]),
        ]
    )
    limits = [*zip(lower, upper, strict=True), (0.0, np.inf)]
    found = linear_programme(
        np.append(np.zeros(dims), 1.0), gain, np.concatenate([np.zeros(2 * dims), -margins]), limits
    )
    return None if found is None else found[:dims]


def _least_sum(weights: Array, margins: Array, lower: Array, upper: Array) -> Array | None:
    dims = weights.shape[1]  # d = p - q with p, q >= 0
    limits = [(0.0, u) for u in upper] + [(0.0, -v) for v in lower]
    found = linear_programme(np.ones(2 * dims), -np.hstack([weights, -weights]), -margins, limits)
    return None if found is None else found[:dims] - found[dims:]


def _least_distance(weights: Array, margins: Array, lower: Array, upper: Array) -> Array | None:
    from scipy.optimize import nnls

    dims = weights.shape[1]
    has_lower, has_upper = np.isfinite(lower), np.isfinite(upper)
    normals = np.vstack([weights, np.eye(dims)[has_lower], -np.eye(dims)[has_upper]])
    offsets = np.concatenate([margins, lower[has_lower], -upper[has_upper]])
    system = np.vstack([normals.T, offsets])
    target = np.append(np.zeros(dims), 1.0)
    multipliers, residual = nnls(system, target, maxiter=50 * system.shape[1])
    if residual < 1e-9:
        return None
    rest = system @ multipliers - target
    move: Array = -rest[:dims] / rest[dims]
    return move
