"""`foolscope explain` as a command: what it says and writes, bad input, time limits, and runs that are killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any

import pytest

EXPLAIN = ("explain", "net.py:net", "digits.npz", "--eps", "0.1", "--effort", "quick")
PIECES = ("--batch-size", "4")


def result(folder: Path) -> tuple[Any, ...]:
    """All that a run leaves and that must not depend on how often it was killed: everything but times."""

    def untimed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: untimed(inner) for key, inner in value.items() if key != "milliseconds"}
        return [untimed(inner) for inner in value] if isinstance(value, list) else value

    record = json.loads((folder / "explain.json").read_text())
    assert (folder / "report.html").stat().st_size > 0
    return untimed(record), sorted(path.name for path in folder.iterdir())


def test_what_it_says_and_writes(call: Callable, tmp_path: Path) -> None:
    said = call(*EXPLAIN, "--only", "logit_gaps, linear_response", "--out", tmp_path / "out", "--json")
    assert said.code == 0
    record = json.loads(said.out)
    assert list(record) == ["linear_response", "logit_gaps"]  # in the table's order
    assert record == json.loads((tmp_path / "out" / "explain.json").read_text())
    plain = call(*EXPLAIN, "--only", "logit_gaps,linear_response", "--out", tmp_path / "out")
    for entry in record.values():
        assert entry["finding"] in plain.out
    assert str(tmp_path / "out" / "report.html") in plain.out


def test_a_finished_run_is_read_and_another_needs_overwrite(call: Callable, tmp_path: Path) -> None:
    command = (*EXPLAIN, "--only", "logit_gaps", "--out", tmp_path / "out")
    first = call(*command, "--json")
    stamp = (tmp_path / "out" / "report.html").stat().st_mtime_ns
    assert call(*command, "--json").out == first.out
    assert (tmp_path / "out" / "report.html").stat().st_mtime_ns == stamp
    other = (*command[:-4], "--only", "linear_response", "--out", tmp_path / "out")
    refused = call(*other)
    assert refused.code == 2
    assert "--overwrite" in refused.lines[-1]
    assert call(*other, "--overwrite").code == 0
    assert list(json.loads((tmp_path / "out" / "explain.json").read_text())) == ["linear_response"]


def test_it_says_what_the_audit_says_of_the_model(call: Callable, tmp_path: Path) -> None:
    command = ("net.py:training", "digits.npz", "--eps", "0.1", "--samples", "20", "--effort", "quick", "--out")
    for again in range(2):  # the second time the finished run is read
        for name, *only in (("explain", "--only", "logit_gaps"), ("audit",)):
            said = call(name, *command, tmp_path / name, *only)
            told = [line for line in said.lines if line.startswith("foolscope: note:")]
            assert said.code == 0
            assert "foolscope: note: the model was in train mode; put in eval" in told, (name, again)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "logit_gap"), ("--only", "logit_gap", "nearest: logit_gaps")),
        (("--only", ""), ("--only", "accepted: ")),
        (("--norm", "l2"), ("--eps", "l2")),
        (("--effort", "quik"), ("--effort", "nearest: quick")),
    ],
)
def test_bad_input(call: Callable, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    said = call("explain", "net.py:net", "digits.npz", *options, "--out", tmp_path / "out")
    assert said.code == 2
    assert len(said.lines) == 1
    assert said.lines[0].startswith(f"foolscope: {words[0]}")
    assert all(word in said.lines[0] for word in words)
    assert not (tmp_path / "out").exists()


def test_a_model_that_raises_is_told_as_its_own(call: Callable, tmp_path: Path) -> None:
    said = call("explain", "net.py:Late", "digits.npz", "--out", tmp_path / "out", "--samples", "60", *PIECES)
    assert said.code == 3
    assert "out of patience" in said.lines[-1]


def test_a_time_limit_stops_cleanly_and_the_run_goes_on_from_there(call: Callable, tmp_path: Path) -> None:
    command = (*EXPLAIN, *PIECES, "--out", tmp_path / "limited")
    assert call(*command, "--time-limit", "0s").code == 0
    record = json.loads((tmp_path / "limited" / "explain.json").read_text())
    assert "time limit" in record["linear_response"]["finding"]
    assert record["linear_response"]["estimate"] is None
    assert call(*command).code == 0
    assert call(*EXPLAIN, *PIECES, "--out", tmp_path / "whole").code == 0
    assert result(tmp_path / "limited")[0] == result(tmp_path / "whole")[0]


def test_killed_at_several_points(call: Callable, start: Callable, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert call(*EXPLAIN, *PIECES, "--out", whole).code == 0
    for pieces in (10, 45):
        process = start(*EXPLAIN, *PIECES, "--out", killed)
        # Not pathlib's: that trips over a folder that goes while it is read.
        while process.poll() is None and len(glob(f"{killed}/work/*.safetensors")) < pieces:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        assert process.returncode == -9
        assert not (killed / "explain.json").exists()
    assert call(*EXPLAIN, *PIECES, "--out", killed).code == 0
    assert result(killed) == result(whole)
