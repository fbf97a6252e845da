"""`foolscope train` and `foolscope compare` as a user types them, killed and resumed included."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from foolscope.files import read_samples
from foolscope.training import OBJECTIVES

OWN = """
from torch import nn


def net():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10)
    )


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
TRAIN = ("train", "own.py:net", "digits:train", "--eps", "0.1", "--lr", "0.05")
QUICK = (*TRAIN, "--samples", "300", "--epochs", "1", "--audit", "none")


@pytest.fixture(autouse=True)
def own(place: Path) -> None:
    (place / "own.py").write_text(OWN)


def result(folder: Path) -> tuple[Any, ...]:
    """All that training leaves and that must not depend on how often it was killed."""
    record = json.loads((folder / "train.json").read_text())
    history = read_samples(folder / "history.parquet")
    for timed in (record, history, *record["history"]):
        timed.pop("seconds")
    record.pop("command")
    weights = [(folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")]
    return record, history, weights, sorted(path.name for path in folder.iterdir())


def test_killed_at_random_points_it_ends_with_the_same_weights(call: Callable, start: Callable, tmp_path: Path) -> None:
    command = (*TRAIN, "--epochs", "30", "--audit", "none", "--objective", "fgsm_mix:eps=0.1", "--stop", "adversarial")
    command = (
        *command,
        "--samples",
        "700",
        "--probe-samples",
        "20",
        "--patience",
        "30",
        "--momentum",
        "0.5,0.9,20",
        "--augment",
        "crop:pad=1",
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    random, hits = np.random.default_rng(0), 0
    checkpoint = killed / "work" / "checkpoint.safetensors"
    for _ in range(3):
        stamp = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start(*command, "--out", killed)
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > stamp):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.communicate()
        hits += process.returncode == -9
        assert not (killed / "train.json").exists()
    assert hits == 3
    assert call(*command, "--out", killed).code == 0
    assert call(*command, "--out", whole).code == 0
    assert result(killed) == result(whole)


def test_a_network_of_the_users_own_is_trained_and_audited_and_the_audit_verified(
    call: Callable, tmp_path: Path
) -> None:
    said = call(*TRAIN, "--epochs", "2", "--samples", "600", "--audit-samples", "40", "--out", tmp_path / "t")
    assert said.code == 0
    assert "own.py:net on digits:train, plain, 2 of 2 epochs" in said.out
    assert "robust accuracy" in said.out
    audit = json.loads((tmp_path / "t" / "audit" / "audit.json").read_text())
    assert (audit["data"]["name"], audit["n"], audit["eps"], audit["effort"]) == ("digits:test", 40, 0.1, "quick")
    weights = ("--weights", tmp_path / "t" / "best.safetensors")
    assert call("verify", tmp_path / "t" / "audit", "own.py:net", "digits:test", *weights).code == 0


def test_json_is_one_object(call: Callable, tmp_path: Path) -> None:
    said = call(*QUICK, "--out", tmp_path, "--json")
    record = json.loads(said.out)
    assert record["epochs_done"] == 1
    assert record["audit"] is None
    assert record["command"].startswith("foolscope train own.py:net")


@pytest.mark.parametrize("name", [name for name, row in OBJECTIVES.items()])
def test_each_objective_from_the_command_line(call: Callable, tmp_path: Path, name: str) -> None:
    text = {"hidden_mix": "hidden_mix:layer=3", "l1": "l1:weight=0.001"}.get(name, name)
    model = "own.py:linear" if name == "linear_worst_case" else "own.py:net"
    command = ("train", model, *QUICK[2:], "--objective", text, "--out", tmp_path)
    assert call(*command).code == 0
    assert load_file(tmp_path / "best.safetensors")
    assert json.loads((tmp_path / "train.json").read_text())["objective"] == text


def test_another_training_leaves_nothing_of_the_one_before(call: Callable, tmp_path: Path) -> None:
    short = (*TRAIN, "--samples", "300", "--epochs", "1", "--audit-samples", "20", "--out", tmp_path / "net")
    assert call(*short).code == 0
    assert (tmp_path / "net" / "audit" / "audit.json").exists()
    assert call(*short, "--objective", "madry:steps=1", "--audit", "none", "--overwrite").code == 0
    assert not (tmp_path / "net" / "audit").exists()


def test_a_data_set_without_a_split_means_its_training_images(call: Callable, tmp_path: Path) -> None:
    assert (
        call(*TRAIN[:2], "digits", *QUICK[3:], "--audit", "quick", "--audit-samples", "5", "--out", tmp_path).code == 0
    )
    assert json.loads((tmp_path / "train.json").read_text())["data"]["name"] == "digits:train"
    assert json.loads((tmp_path / "audit" / "audit.json").read_text())["data"]["name"] == "digits:test"


def test_objectives_are_listed(call: Callable) -> None:
    rows = json.loads(call("objectives", "--json").out)["objectives"]
    assert [row["name"] for row in rows] == list(OBJECTIVES)
    assert next(row for row in rows if row["name"] == "madry")["options"] == "eps norm=linf steps=7 step_size=None"


def test_two_trainings_compared(call: Callable, tmp_path: Path) -> None:
    for name, objective in (("plain", "plain"), ("hard", "madry:steps=3")):
        out = ("--objective", objective, "--audit-samples", "50", "--out", tmp_path / name)
        assert call(*TRAIN, "--epochs", "6", *out).code == 0
    said = call("compare", tmp_path / "plain" / "audit", tmp_path / "hard" / "audit", "--out", tmp_path / "c")
    assert said.code == 0
    assert "hard" in said.out
    record = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert [row["objective"] for row in record["audits"]] == ["plain", "madry:steps=3"]
    assert record["audits"][1]["difference"] > 0
    assert record["audits"][1]["p"] < 0.05


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--objective", "madry:epss=0.1"), "foolscope: madry:epss: expected one of its options"),
        (("--optimiser", "lion"), "foolscope: --optimiser: expected one of its names"),
        (("--momentum", "0.5,0.7"), "foolscope: --momentum: expected one number, or three"),
        (("--validation", "no.npz"), "foolscope: DATA: expected an existing file"),
        (("--lr", "-1"), "foolscope: --lr: expected a finite number of at least 0"),
        (("--objective", "madry:steps=0"), "foolscope: steps: expected a whole number of at least 1"),
        (("--objective", "trades:steps=-1"), "foolscope: steps: expected a whole number of at least 1"),
        (("--objective", "trades:beta=-1"), "foolscope: beta: expected a number of at least 0"),
        (("--objective", "fast:step_size=0"), "foolscope: step_size: expected a positive number"),
        (("--objective", "fgsm_mix:alpha=2"), "foolscope: alpha: expected a number in [0, 1]"),
        (("--objective", "step_ll_mix:share=-0.5"), "foolscope: share: expected a number in [0, 1]"),
        (("--objective", "l1:weight=-1"), "foolscope: weight: expected a number of at least 0"),
        (("--schedule", "cycle:peak=0"), "foolscope: cycle:peak: expected a number in [0.01, 0.99]"),
        (("--schedule", "exponential:divisor=0"), "foolscope: exponential:divisor: expected a number of at least 1"),
        (("--schedule", "linear:end=-2"), "foolscope: linear:end: expected a number of at least 0"),
        (("--probe", "fmn"), "foolscope: --probe: expected an attack at a given eps"),
        (("--probe", "pgd:steps=0"), "foolscope: steps: expected a whole number of at least 1"),
        (("--eps", "0"), "foolscope: eps: expected a positive number"),
        (("--weight-decay", "-1"), "foolscope: --weight-decay: expected a finite number of at least 0"),
        (("--momentum", "1"), "foolscope: --momentum: expected a number in [0, 1)"),
        (("--validation", "nan"), "foolscope: --validation: expected a share"),
        (("--augment", "crop:pad=-1"), "foolscope: crop:pad: expected a whole number of at least 0"),
        (("--objective", "madry:eps=-1"), "foolscope: eps: expected a positive number"),
        (("--objective", "hidden_mix:layer=no"), "foolscope: layer: expected a layer of the model"),
        (("--audit", "quick", "--audit-samples", "0"), "foolscope: --audit-samples: expected a whole number"),
        (("--audit", "quick", "--test", "no.npz"), "foolscope: DATA: expected an existing file"),
        (("--audit", "fast"), "foolscope: --audit: expected one of its names"),
    ],
)
def test_bad_input_is_one_line(call: Callable, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    answer = call(*QUICK, *arguments, "--out", tmp_path / "x")
    assert answer.code == 2
    assert len(answer.lines) == 1
    assert answer.lines[0].startswith(said)
    assert not (tmp_path / "x").exists()


def test_the_radius_that_the_audit_needs_is_asked_for_before_training(call: Callable, tmp_path: Path) -> None:
    answer = call("train", "own.py:net", "digits:train", "--norm", "l2", "--out", tmp_path / "x")
    assert (answer.code, len(answer.lines)) == (2, 1)
    assert answer.lines[0].startswith("foolscope: --eps: expected a radius for the audit")
    assert not (tmp_path / "x").exists()


def test_a_model_that_raises_is_told_as_its_own(call: Callable, tmp_path: Path) -> None:
    answer = call("train", "net.py:Raises", *QUICK[2:], "--out", tmp_path / "x")
    assert answer.code == 3
    assert answer.lines[-1].startswith("foolscope: net.py:26 in forward: KeyError")
