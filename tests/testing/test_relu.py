"""The exact solver against dense grids and random search, and the problems are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foolscope.errors import InputError
from foolscope.testing import relu
from foolscope.testing.distances import NORMS, norm_size
from foolscope.testing.exactness import RELU_NETWORKS
from foolscope.testing.relu import affine_pieces, nearest_fooling, relu_problem


def random_layers(sizes, seed):
    draw = np.random.default_rng(seed)
    layers, seen = [], draw.uniform(size=(99, sizes[0]))
    for ins, out in zip(sizes[:-1], sizes[1:], strict=True):
        weight = draw.normal(size=(out, ins))
        bias = -np.median(seen @ weight.T, axis=0)  # units switch, and classes meet, within the box
        layers.append((weight, bias))
        seen = np.maximum(seen @ weight.T + bias, 0)
    return tuple(layers)


def forward(layers, x):
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight.T + bias, 0)
    return x @ layers[-1][0].T + layers[-1][1]


@pytest.mark.parametrize("sizes", [(2, 5, 3), (2, 4, 4, 3)])
def test_the_pieces_are_the_network(sizes):
    """Every point lies in a piece, and the logits of each piece that it lies in are the network's."""
    layers = random_layers(sizes, 0)
    pieces = affine_pieces(layers)
    x = np.random.default_rng(1).uniform(size=(500, 2))
    inside = (np.einsum("phd,nd->nph", pieces.edges, x) + pieces.offsets >= 0).all(axis=2)
    assert inside.any(axis=1).all()
    logits = np.einsum("pcd,nd->npc", pieces.slopes, x) + pieces.heights
    np.testing.assert_allclose(logits[inside], np.repeat(forward(layers, x), inside.sum(axis=1), axis=0), atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sizes", [(2, 5, 3), (2, 3, 3, 3)])
def test_against_a_dense_grid_in_two_dimensions(norm, sizes):
    axis = np.linspace(0, 1, 401)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    seen = 0
    for seed in range(4):
        layers = random_layers(sizes, seed)
        pieces, classes = affine_pieces(layers), forward(layers, grid).argmax(1)
        for x in grid[np.random.default_rng(seed).integers(0, len(grid), 6)]:
            label = int(forward(layers, x).argmax())
            move = nearest_fooling(pieces, x, label, norm)
            if move is None:
                assert (classes == label).all()
                continue
            best = norm_size((grid[classes != label] - x).round(9), norm).min(initial=np.inf)
            exact = float(norm_size(move[None].round(9), norm)[0])
            assert exact - 1e-7 <= best <= exact + (0 if norm == "l0" else 0.01)
            seen += 1
    assert seen > 12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("network", "seed"), RELU_NETWORKS)
def test_nothing_fools_below_the_distance_and_the_named_point_does(norm, network, seed):
    problem = relu_problem(24, network, norm, seed=seed)
    model, x, y = problem.model, problem.inputs, problem.labels
    assert torch.equal(model(x).argmax(1), y)
    assert float(problem.distance.min()) >= (1 if norm == "l0" else 0.02)
    pieces = relu._drawn(network, seed)[1]
    moves = np.array(
        [nearest_fooling(pieces, *each, norm) for each in zip(x.flatten(1).numpy(), y.numpy(), strict=True)]
    )
    # solved afresh, where the images are now, it is the distance they were moved to
    np.testing.assert_allclose(norm_size(moves, norm), problem.distance, rtol=1e-6)
    there = x + torch.as_tensor(moves).view_as(x)
    assert -1e-9 <= float(there.min()) <= float(there.max()) <= 1 + 1e-9
    level = model(there).topk(2).values
    torch.testing.assert_close(level[:, 0], level[:, 1], rtol=0, atol=1e-6 if norm != "l0" else 9)
    # random points of the ball, within the box: none may fool
    draw = torch.Generator().manual_seed(0)
    u = torch.rand(500, *x.shape, generator=draw, dtype=x.dtype).flatten(2) * 2 - 1
    if norm == "l0":
        kept = u.abs().argsort(2).argsort(2) < problem.distance.view(-1, 1) - 1
        tries = torch.where(kept, (u + 1) / 2, x.flatten(1))
    else:
        size = torch.as_tensor(norm_size(u.reshape(-1, u.shape[2]).numpy(), norm)).view(*u.shape[:2], 1)
        tries = x.flatten(1) + 0.999999 * problem.distance.view(-1, 1) * u / size
    tries = tries.clamp(0, 1).view(-1, *x.shape[1:])
    assert bool((model(tries).argmax(1).view(500, -1) == y).all())


@pytest.mark.parametrize(("network", "seed"), RELU_NETWORKS)
def test_the_box_matters_to_some_images_and_not_to_others(network, seed):
    """In l2: with the box three times as wide, a quarter of the images and more are nearer, and some are as far as before."""
    problem = relu_problem(24, network, "l2", seed=seed)
    pieces = affine_pieces(relu._drawn(network, seed)[0], (-1.0, 2.0))
    wide = [
        nearest_fooling(pieces, *each, "l2", (-1.0, 2.0))
        for each in zip(problem.inputs.flatten(1).numpy(), problem.labels.numpy(), strict=True)
    ]
    ratio = problem.distance.numpy() / norm_size(np.array(wide), "l2")
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio > 1.02).sum() >= 6
    assert len(set(problem.labels.tolist())) >= 2
    assert bool(((problem.inputs == 0) | (problem.inputs == 1)).any())


def test_some_images_are_as_far_with_a_wider_box_and_some_need_two_components():
    pieces = affine_pieces(relu._drawn("shallow", 1)[0], (-1.0, 2.0))
    problem = relu_problem(24, "shallow", "l2", seed=1)
    wide = [
        nearest_fooling(pieces, *each, "l2", (-1.0, 2.0))
        for each in zip(problem.inputs.flatten(1).numpy(), problem.labels.numpy(), strict=True)
    ]
    assert (problem.distance.numpy() < norm_size(np.array(wide), "l2") * (1 + 1e-9)).sum() >= 4
    for network, seed in RELU_NETWORKS:
        assert bool((relu_problem(24, network, "l0", seed=seed).distance > 1).sum() >= 4)


def test_problems_are_deterministic_and_each_their_own():
    one, other = relu_problem(8, norm="l2"), relu_problem(8, norm="l2")
    one.inputs.zero_()
    again = relu_problem(8, norm="l2")
    assert torch.equal(other.inputs, again.inputs)
    relu._solved.cache_clear(), relu._drawn.cache_clear()
    fresh = relu_problem(8, norm="l2")
    assert torch.equal(other.inputs, fresh.inputs)
    assert torch.equal(other.distance, fresh.distance)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"network": "deeep"}, "network: expected a network, got 'deeep' .nearest: deep"),
        ({"norm": "l3"}, "norm: expected a norm, got 'l3'"),
        ({"n": 6}, "n: expected a multiple of 4, got 6"),
    ],
)
def test_bad_arguments_are_named(options, line):
    with pytest.raises(InputError, match=line):
        relu_problem(**options)
