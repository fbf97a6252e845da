"""The table of a search: the same however often it was killed, and with whomever a network was trained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from glob import glob
from pathlib import Path

import numpy as np
import pytest

from foolscope.errors import InputError
from foolscope.search import Search, distribution, random_architectures
from foolscope.search.run import TABLE

SETTINGS = {"count": 8, "together": 2, "widest": 122, "channels": 4, "epochs": 1, "batch_size": 32}
PROGRAM = f"""
import sys, torch
torch.set_num_threads(1)
from foolscope.search import random_architectures
random_architectures("digits:train", "digits:test", out=sys.argv[1], **{SETTINGS!r})
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Search:
    return random_architectures(
        "digits:train", "digits:test", out=tmp_path_factory.mktemp("search") / "whole", **SETTINGS
    )


def same(one: Search, other: Search) -> bool:
    """All columns but the clocks'."""
    assert list(one.networks) == list(other.networks)
    names = [name for name in one.networks if "seconds" not in name]
    return all(
        np.array_equal(one.networks[n], other.networks[n], equal_nan=one.networks[n].dtype.kind == "f") for n in names
    )


def test_there_is_a_row_a_network(whole: Search) -> None:
    table = whole.networks
    assert table["network"].tolist() == list(range(8))
    assert table["architecture"].tolist() == [k // 2 for k in range(8)]
    assert len(set(table["shape"])) > 2
    assert ((table["clean_accuracy"] > 0) & (table["clean_accuracy"] <= 1)).all()
    assert ((table["dropout"] > 0) == (table["kind"] == "convolutional")).all()
    assert whole.folder is not None
    assert sorted(path.name for path in whole.folder.iterdir()) == [TABLE, "settings.json"]


def test_killed_anywhere_it_goes_on_to_the_same_table(whole: Search, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(out)], env=os.environ | {"OMP_NUM_THREADS": "1"})
    # Not pathlib's: that trips over a folder that goes while it is read.
    while process.poll() is None and len(glob(f"{out}/work/stack-*.safetensors")) < 2:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / TABLE).exists()
    told: list[tuple[str, int, int]] = []
    found = random_architectures(
        "digits:train", "digits:test", out=out, progress=lambda *seen: told.append(seen), **SETTINGS
    )
    assert same(found, whole)
    assert told[0][1] == 2 * 1297  # the first stack was not trained again
    assert told[-1] == ("search", 8 * 1297, 8 * 1297)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_finished_search_is_read(whole: Search) -> None:
    def never(stage: str, done: int, total: int) -> None:
        raise AssertionError

    again = random_architectures("digits:train", "digits:test", out=whole.folder, progress=never, **SETTINGS)
    assert same(again, whole)


def test_fewer_networks_are_the_first_ones(whole: Search) -> None:
    fewer = random_architectures("digits:train", "digits:test", **SETTINGS | {"count": 2})
    assert fewer.folder is None
    for name in ("shape", "dropout", "clean_accuracy", "exponent"):
        assert np.array_equal(fewer.networks[name], whole.networks[name][:2], equal_nan=name == "exponent")


def test_bad_input_is_told_before_anything_is_written(tmp_path: Path) -> None:
    for name, value in (("count", 0), ("together", 0), ("widest", 29), ("channels", 3), ("epochs", 0)):
        with pytest.raises(InputError, match=name):
            random_architectures("digits:train", "digits:test", out=tmp_path / "out", **SETTINGS | {name: value})
    assert not (tmp_path / "out").exists()


def test_another_search_in_the_folder_is_not_overwritten(whole: Search) -> None:
    with pytest.raises(InputError, match="--overwrite"):
        random_architectures("digits:train", "digits:test", out=whole.folder, **SETTINGS | {"epochs": 2})


def test_a_distribution_tells_scatter_from_the_noise_of_few_flips() -> None:
    draw = np.random.default_rng(0)
    se = 0.06
    noise = se * draw.standard_normal(2000)
    one = distribution(1 + noise, 1 + noise - 1.96 * se, 1 + noise + 1.96 * se, np.arange(2000) // 4)
    assert abs(one.deviation / one.sampling - 1) < 0.05
    assert one.interval[0] < 1 < one.interval[1]
    assert abs(one.inside - 0.904) < 0.02  # P(|N(0, 0.06)| < 0.1)
    alike = distribution(
        *(np.repeat(b, 50) for b in (np.array([0.8, 1.2]), np.full(2, 0.7), np.full(2, 1.3))), np.repeat([0, 1], 50)
    )
    assert alike.interval == (0.8, 1.2)  # two architectures, not a hundred networks
    none = distribution(*(np.full(3, np.nan),) * 3, np.arange(3))
    assert none.fitted == 0
    assert np.isnan(none.median)
