from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy import stats

from foolscope.rng import _mix, _mix_signed, _mixed, uniform

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix(state: int) -> int:
    """SplitMix64's finaliser in plain integers, from the published C code."""
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def reference(seed: int, index: int, draw: int, place: int) -> float:
    """One number of `uniform`, by scalars."""
    stream = splitmix(splitmix(seed + GOLDEN) + (index + 1) * GOLDEN)
    stream = splitmix(stream + (draw + 1) * GOLDEN)
    word = splitmix(stream + (place // 2 + 1) * GOLDEN)
    half = word >> 32 if place % 2 else word & 0xFFFFFFFF
    return ((half >> 9) + 0.5) / 2**23


def test_the_reference_is_splitmix64():
    """The first outputs of the published generator from state 1234567."""
    outputs = [splitmix(1234567 + (k + 1) * GOLDEN) for k in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64 + 5, -(2**70) + 3])
def test_against_an_independent_scalar_implementation(seed):
    index = torch.tensor([0, 1, 499, 2**40, 2**62])
    for draw in (0, 7, 10**6):
        found = uniform(seed, index, draw, (2, 3), torch.float64)
        assert found.shape == (5, 2, 3)
        for row, i in enumerate(index.tolist()):
            expected = [reference(seed, i, draw, place) for place in range(6)]
            assert found[row].flatten().tolist() == expected


def test_equal_in_float32_and_float64_and_never_0_or_1():
    index = torch.arange(1000)
    single, double = (uniform(3, index, 0, (1000,), dtype) for dtype in (torch.float32, torch.float64))
    assert single.dtype == torch.float32
    assert torch.equal(single.double(), double)
    assert 0 < float(single.min()) < 1e-5
    assert 1 - 1e-5 < float(single.max()) < 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_stays_inside_too(dtype):
    u = uniform(0, torch.arange(100), 0, (1000,), dtype)
    assert u.dtype == dtype
    assert float(u.min()) > 0
    assert float(u.max()) < 1
    assert float(u.double().mean()) == pytest.approx(0.5, abs=0.005)


def test_uniform():
    u = uniform(0, torch.arange(200), 5, (500,), torch.float64).numpy().ravel()
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.kstest(uniform(0, torch.arange(100_000), 0, (), torch.float64).numpy(), "uniform").pvalue > 1e-3
    lowest_bits = (np.floor(u * 2**23).astype(np.int64) & 15) / 16
    counts = np.bincount((lowest_bits * 16).astype(int), minlength=16)
    assert stats.chisquare(counts).pvalue > 1e-3


def neighbours() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of streams whose keys differ as little as keys can."""
    index, shape = torch.arange(300), (100,)
    here = uniform(0, index, 0, shape, torch.float64)
    return {
        "next seed": (here, uniform(1, index, 0, shape, torch.float64)),
        "far seed": (here, uniform(2**32, index, 0, shape, torch.float64)),
        "next image": (here, uniform(0, index + 1, 0, shape, torch.float64)),
        "next draw": (here, uniform(0, index, 1, shape, torch.float64)),
        "next place": (here[:, 1:], here[:, :-1]),
        "seed up, image down": (here[1:], uniform(1, index[:-1], 0, shape, torch.float64)),
        "image up, draw down": (
            uniform(0, index, 1, shape, torch.float64),
            uniform(0, index + 1, 0, shape, torch.float64),
        ),
    }


@pytest.mark.parametrize("which", neighbours())
def test_independent_across_seed_image_draw_and_place(which):
    one, other = (t.numpy().ravel() for t in neighbours()[which])
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))
    assert (one == other).mean() < 1e-4
    grid = np.histogram2d(one, other, bins=8, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(grid.ravel()).pvalue > 1e-4


def test_seed_and_index_do_not_trade_places():
    """Image 3 of seed 5 and image 5 of seed 3 share nothing, nor do image k of seed k for two k."""
    both = torch.tensor([3, 5])
    assert not (uniform(5, both[:1], 0, (50,)) == uniform(3, both[1:], 0, (50,))).any()
    diagonal = torch.cat([uniform(k, torch.tensor([k]), 0, (50,)) for k in range(20)])
    assert len(diagonal.unique(dim=0)) == 20
    # No two (seed, image) pairs of a small square share their first number and their second.
    square = torch.cat([uniform(seed, torch.arange(40), 0, (2,)) for seed in range(40)])
    assert len(square.unique(dim=0)) == 1600


def test_the_batch_does_not_matter():
    index = torch.tensor([9, 2, 7, 2, 100])
    together = uniform(1, index, 4, (3, 5))
    assert torch.equal(together, torch.cat([uniform(1, i.view(1), 4, (3, 5)) for i in index]))
    assert torch.equal(together.flip(0), uniform(1, index.flip(0), 4, (3, 5)))
    # A longer draw begins with the shorter one.
    assert torch.equal(uniform(1, index, 4, (50,))[:, :15], together.flatten(1))
    assert uniform(1, index[:0], 0, (3,)).shape == (0, 3)


def test_global_generators_are_neither_used_nor_moved():
    results = []
    for state in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(state)
            before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
            results.append(uniform(0, torch.arange(5), 0, (5,)))
            assert torch.equal(before[0], torch.get_rng_state())
            assert before[1] == random.getstate()
            assert (before[2] == np.random.get_state()[1]).all()
    assert torch.equal(*results)


def test_what_accelerators_compute_is_what_processors_do():
    words = torch.randint(-(2**63), 2**63 - 1, (1000,), generator=torch.Generator().manual_seed(0))
    mixed = _mix(words.clone())
    assert torch.equal(_mix_signed(words.clone()), mixed)
    assert [_mixed(word) for word in words.tolist()] == [word % 2**64 for word in mixed.tolist()]


def test_the_indices_are_left_alone():
    index = torch.arange(5)
    uniform(0, index, 0, (3,))
    assert torch.equal(index, torch.arange(5))
