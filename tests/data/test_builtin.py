from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from foolscope.data import BUILTIN, fingerprint, listing, open_data
from foolscope.errors import InputError


def test_digits_are_scikit_learns():
    train, test = open_data("digits:train"), open_data("digits")
    assert (train.name, test.name) == ("digits:train", "digits:test")
    assert (len(train), len(test)) == (1297, 500)
    assert train.shape == test.shape == (1, 8, 8)
    bunch = load_digits()
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), bunch.target)
    read = np.concatenate([train.read(np.arange(1297)), test.read(np.arange(500))])
    np.testing.assert_array_equal(read[:, 0] * 16, bunch.images)
    assert fingerprint(train) != fingerprint(test)


@pytest.fixture
def shelf(tmp_path, monkeypatch, png, grey, write_parquet):
    """A $FOOLSCOPE_DATA with a train split of a fake svhn only, kept as JPEG."""
    monkeypatch.setenv("FOOLSCOPE_DATA", str(tmp_path))
    (tmp_path / "svhn").mkdir()
    write_parquet(tmp_path / "svhn" / "train-00000-of-00001.parquet", [png(grey[0], "JPEG")] * 3, [0, 1, 2])
    return tmp_path


def test_local_copy_comes_first_and_says_what_it_is(shelf):
    data = open_data("svhn")
    assert data.name == "svhn:train"
    assert len(data) == 3
    assert [note.split(":")[0] for note in data.notes] == [
        "a lossy JPEG copy of svhn",
        "only 3 of the 73,257 images of svhn",
        "svhn holds no test split here",
    ]
    assert len(open_data("svhn:train").notes) == 2
    with pytest.raises(InputError, match=r"DATA: expected a split of svhn, got 'test' \(.*accepted: train\)"):
        open_data("svhn:test")


def test_sets_that_are_not_there(shelf, monkeypatch):
    with pytest.raises(InputError, match="DATA: expected a folder imagenet_sample .* got 'no such folder'"):
        open_data("imagenet_sample")
    monkeypatch.delenv("FOOLSCOPE_DATA")
    with pytest.raises(InputError, match="under .FOOLSCOPE_DATA, got 'FOOLSCOPE_DATA is not set'"):
        open_data("imagenet_sample")
    (shelf / "mnist").mkdir()
    monkeypatch.setenv("FOOLSCOPE_DATA", str(shelf))
    with pytest.raises(InputError, match="DATA: expected Parquet files in .FOOLSCOPE_DATA/mnist, got nothing"):
        open_data("mnist")


def test_listing(shelf):
    rows = {row["name"]: row for row in listing()}
    assert set(rows) == set(BUILTIN)
    assert rows["digits"]["where"] == "bundled"
    assert rows["svhn"]["where"] == "$FOOLSCOPE_DATA/svhn"
    assert rows["mnist"]["where"] == "fetched from the hub"
    assert rows["imagenet_sample"]["where"] == "not here: set $FOOLSCOPE_DATA"
    assert all(row.keys() == rows["mnist"].keys() for row in rows.values())


def test_the_table_is_read_without_heavy_libraries():
    code = (
        "import sys, foolscope.data as d; d.listing(); "
        "print(sorted({'torch', 'duckdb', 'sklearn', 'huggingface_hub', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
