"""A run that is killed, or stopped by its time limit, goes on and ends as one that never was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foolscope.files import read_samples

AUDIT = ("audit", "net.py:net", "digits.npz", "--effort", "quick", "--eps", "0.1", "--samples", "60")
ATTACK = ("attack", "net.py:net", "digits.npz", "--attack", "pgd:steps=100,restarts=3,early_stop=false", "--eps", "0.1")
PIECES = ("--batch-size", "3")


def result(folder: Path) -> tuple[Any, ...]:
    """All that a run leaves and that must not depend on how often it was killed."""
    record = next(json.loads(path.read_text()) for path in folder.glob("a*.json"))
    for timed in (record, *record.get("stages", [])):
        timed.pop("seconds")
    record.pop("command")
    pictures = {path.name: path.read_bytes() for path in (folder / "png").glob("*")}
    return (
        record,
        read_samples(folder / "samples.parquet"),
        (folder / "adversarial.safetensors").read_bytes(),
        pictures,
        sorted(path.name for path in folder.iterdir()),
    )


@pytest.mark.parametrize(("command", "goals"), [(AUDIT, 4), (ATTACK, 3)], ids=["audit", "attack"])
def test_killed_at_random_points(
    call: Callable, start: Callable, tmp_path: Path, command: tuple[str, ...], goals: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    random = np.random.default_rng(goals)
    assert call(*command, *PIECES, "--out", whole).code == 0
    hits = 0
    for pieces in np.sort(random.integers(1, 25 * goals, goals)):
        process = start(*command, *PIECES, "--out", killed)
        # Not pathlib's: that trips over a folder that goes while it is read.
        while process.poll() is None and len(glob(f"{killed}/work/*.safetensors")) < pieces:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        process.communicate()
        hits += process.returncode == -9
        assert not list(killed.glob("a*.json"))
    assert hits == goals
    assert call(*command, *PIECES, "--out", killed).code == 0
    assert result(killed) == result(whole)


def test_killed_while_the_files_are_written(call: Callable, start: Callable, tmp_path: Path) -> None:
    process = start(*AUDIT, "--out", tmp_path / "killed")
    # Not pathlib's: that trips over a folder that goes while it is read.
    while process.poll() is None and not glob(f"{tmp_path}/killed/*samples.parquet*"):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    assert not (tmp_path / "killed" / "audit.json").exists()
    # What a kill may leave of a file in the making, here and among the pieces, is cleared away.
    (tmp_path / "killed" / ".audit.json.99999").write_text("{")
    (tmp_path / "killed" / "work" / ".fmn-00000.safetensors.99999").write_bytes(b"half")
    assert call(*AUDIT, "--out", tmp_path / "killed").code == 0
    assert call(*AUDIT, "--out", tmp_path / "whole").code == 0
    assert result(tmp_path / "killed") == result(tmp_path / "whole")


def test_killed_before_the_first_piece(call: Callable, tmp_path: Path) -> None:
    """The settings in the making are no files of somebody else's."""
    (tmp_path / ".settings.json.99999").write_text("{")
    assert call(*AUDIT, "--out", tmp_path).code == 0
    assert not list(tmp_path.glob(".*"))


def test_a_damaged_piece_is_made_again(call: Callable, tmp_path: Path) -> None:
    call(*AUDIT, *PIECES, "--out", tmp_path / "whole")
    assert call(*AUDIT, *PIECES, "--out", tmp_path / "part", "--time-limit", "0s").code == 0
    pieces = sorted((tmp_path / "part" / "work").glob("clean-*.safetensors"))
    pieces[0].write_bytes(pieces[0].read_bytes()[:100])
    pieces[1].write_bytes(b"")
    assert call(*AUDIT, *PIECES, "--out", tmp_path / "part").code == 0
    assert result(tmp_path / "part") == result(tmp_path / "whole")


def test_a_time_limit_stops_cleanly_and_the_run_goes_on_from_there(call: Callable, tmp_path: Path) -> None:
    command = (*AUDIT, *PIECES, "--out", tmp_path / "limited")
    assert call(*command, "--time-limit", "0.05s").code == 0
    record = json.loads((tmp_path / "limited" / "audit.json").read_text())
    assert record["complete"] is False
    assert record["trust"]["verdict"] == "suspicious"
    assert [reason["code"] for reason in record["trust"]["reasons"]] == ["incomplete"]
    assert record["robust_accuracy"] <= record["clean_accuracy"]
    report = (tmp_path / "limited" / "report.html").read_text()
    assert "time limit" in report
    assert call(*command).code == 0
    assert call(*AUDIT, *PIECES, "--out", tmp_path / "whole").code == 0
    assert result(tmp_path / "limited") == result(tmp_path / "whole")


def test_a_finished_run_is_read_and_not_run_again(call: Callable, tmp_path: Path) -> None:
    for command in (AUDIT, (*ATTACK, "--samples", "10")):
        folder = tmp_path / command[0]
        first = call(*command, "--out", folder, "--json")
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
        again = call(*command, "--out", folder, "--json")
        assert again.out == first.out
        assert {
            path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
        } == before
        assert not (folder / "work").exists()


@pytest.mark.parametrize("name", ["samples.parquet", "report.html", "adversarial.safetensors"])
def test_a_finished_run_with_a_file_missing_is_run_again(call: Callable, tmp_path: Path, name: str) -> None:
    command = (*AUDIT[:-1], "10", "--out", tmp_path)
    call(*command)
    before = result(tmp_path)
    (tmp_path / name).unlink()
    assert call(*command).code == 0
    assert result(tmp_path) == before
