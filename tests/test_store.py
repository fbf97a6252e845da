"""Pieces are whole or absent, and a folder is only ever taken where it may be."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from foolscope.errors import InputError
from foolscope.store import Store, open_store, replacing, write_json, write_tensors, write_text

WRITES_FOR_EVER = """
import sys, torch
from pathlib import Path
from foolscope.store import write_tensors
for _ in iter(int, 1):
    write_tensors(Path(sys.argv[1]), {"x": torch.zeros(10_000_000)})
"""
RUN = {"foolscope": "0", "eps": 0.1, "bounds": (0.0, 1.0)}
OTHER = RUN | {"eps": 0.2}


def begun(folder: Path, settings: dict = RUN, *, overwrite: bool = False) -> Store:
    store = open_store(folder, settings, overwrite=overwrite)
    with store.begin():
        pass
    return store


def test_a_piece_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = begun(tmp_path / "a" / "b")
    tensors = {"x": torch.rand(3, 2).t(), "empty": torch.zeros(0, 4), "found": torch.tensor([True, False])}
    store.save("pgd-00000", tensors, {"seconds": "0.25"})
    loaded, facts = store.load("pgd-00000")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    assert facts == {"seconds": "0.25"}
    assert store.has("pgd-00000")
    assert (store.has("pgd-00001"), store.load("pgd-00001")) == (False, None)
    store.save("pgd-00001", {"x": torch.zeros(1)}, {"seconds": "1.5"})
    assert store.seconds() == 1.75


@pytest.mark.parametrize("left", [b"", b"\0" * 7, b"\xff" * 40])
def test_a_damaged_piece_counts_as_missing(tmp_path: Path, left: bytes) -> None:
    store = begun(tmp_path)
    store.save("pgd-00000", {"x": torch.rand(5)}, {})
    (store.work / "pgd-00000.safetensors").write_bytes(left)
    assert store.load("pgd-00000") is None


def test_nothing_is_written_before_the_run_begins(tmp_path: Path) -> None:
    store = open_store(tmp_path / "out", RUN)
    assert not (tmp_path / "out").exists()
    assert not store.resumed
    with store.begin():
        assert store.resumed
    assert json.loads((tmp_path / "out" / "settings.json").read_text()) == RUN | {"bounds": [0.0, 1.0]}


def test_the_same_run_keeps_its_pieces_and_another_is_refused(tmp_path: Path) -> None:
    begun(tmp_path).save("pgd-00000", {"x": torch.rand(5)}, {})
    assert begun(tmp_path).has("pgd-00000")
    with pytest.raises(InputError, match=r"another run \(eps: 0.1, now 0.2\)"):
        open_store(tmp_path, OTHER)
    store = open_store(tmp_path, OTHER, overwrite=True)
    assert not store.resumed
    assert store.has("pgd-00000")  # it goes when the run begins, not before
    with store.begin():
        assert not store.has("pgd-00000")
        assert store.resumed


@pytest.mark.parametrize("settings", [RUN, OTHER])
def test_two_runs_at_once_do_not_share_a_folder(tmp_path: Path, settings: dict) -> None:
    with open_store(tmp_path, RUN).begin():
        before = sorted(os.listdir(tmp_path))
        with (
            pytest.raises(InputError, match="^--out: expected a folder that no other run is writing to now"),
            open_store(tmp_path, settings, overwrite=True).begin(),
        ):
            pass
        assert sorted(os.listdir(tmp_path)) == before
        assert open_store(tmp_path, RUN).resumed
    with open_store(tmp_path, settings, overwrite=True).begin():
        pass


def test_the_same_run_with_overwrite_goes_on(tmp_path: Path) -> None:
    begun(tmp_path).save("pgd-00000", {"x": torch.rand(5)}, {})
    assert begun(tmp_path, overwrite=True).has("pgd-00000")


def test_overwriting_takes_what_is_ours_and_leaves_what_is_not(tmp_path: Path) -> None:
    begun(tmp_path)
    for name in ("audit.json", "attack.json", "samples.parquet", "report.html", "adversarial.safetensors", "mine.txt"):
        (tmp_path / name).write_text("old")
    begun(tmp_path, OTHER, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["mine.txt", "settings.json", "work"]


def test_a_settings_file_of_somebody_else_is_no_run_of_ours(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 14}')
    with pytest.raises(InputError, match="other files"):
        open_store(tmp_path, RUN)


def test_what_a_killed_run_leaves_half_written_is_cleared(tmp_path: Path) -> None:
    store = begun(tmp_path)
    (tmp_path / ".audit.json.123").write_text("half")
    (store.work / ".pgd-00000.safetensors.123").write_text("half")
    (tmp_path / ".hidden.txt").write_text("mine")
    begun(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden.txt", "settings.json", "work"]
    assert os.listdir(store.work) == []


def test_killed_while_weights_are_written_nothing_is_left_for_good(tmp_path: Path) -> None:
    begun(tmp_path)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, tmp_path / "best.safetensors"])
        while process.poll() is None and not list(tmp_path.glob(".*")):
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -9
        begun(tmp_path)
        assert set(os.listdir(tmp_path)) <= {"best.safetensors", "settings.json", "work"}


def test_weights_may_be_read_by_whom_the_mask_allows(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w.safetensors", {"x": torch.zeros(1)})
    write_json(tmp_path / "w.json", {})
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "w.json").stat().st_mode


def test_finishing_drops_the_pieces(tmp_path: Path) -> None:
    store = begun(tmp_path)
    store.save("pgd-00000", {"x": torch.rand(5)}, {})
    store.finish()
    assert os.listdir(tmp_path) == ["settings.json"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == ["audit.json"]
    assert json.loads(path.read_text()) == {"a": 1}


def test_text_is_utf8_and_a_name_that_is_none_is_escaped(tmp_path: Path) -> None:
    write_text(tmp_path / "page", "naïve " + os.fsdecode(b"\xff"))
    assert (tmp_path / "page").read_bytes() == "naïve \\udcff".encode()


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^--out: expected a folder whose name is UTF-8"):
        open_store(tmp_path / os.fsdecode(b"out\xff"), RUN)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_full_device_is_told_in_one_line(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(InputError, match=r"^--out: .*audit.json.*No space left on device"),
        replacing(tmp_path / "audit.json"),
    ):
        raise error
    assert os.listdir(tmp_path) == []
