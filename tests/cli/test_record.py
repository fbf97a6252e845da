"""What an audit leaves behind is what the interface says, agrees with itself, and is what Python gets too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import foolscope
from foolscope import __version__
from foolscope.files import read_samples

COMMAND = (
    "audit",
    "net.py:net",
    "digits.npz",
    "--effort",
    "quick",
    "--eps",
    "8/80",
    "--seed",
    "3",
    "--batch-size",
    "40",
)
KEYS: dict[str, type | tuple[type, ...]] = {
    "schema": int,
    "foolscope": str,
    "command": str,
    "environment": dict,
    "model": dict,
    "data": dict,
    "norm": str,
    "eps": float,
    "eps_text": str,
    "effort": str,
    "seed": int,
    "n": int,
    "batch_size": int,
    "device": str,
    "threads": int,
    "clean_accuracy": float,
    "robust_accuracy": float,
    "robust_accuracy_interval": list,
    "median_distance": (float, type(None)),
    "curve": dict,
    "trust": dict,
    "forwards": int,
    "backwards": int,
    "seconds": float,
    "stages": list,
}
COLUMNS = {
    "index": "BIGINT",
    "label": "BIGINT",
    "clean_prediction": "BIGINT",
    "outcome": "VARCHAR",
    "reason": "VARCHAR",
    "attack": "VARCHAR",
    "adversarial_prediction": "BIGINT",
    "confidence": "DOUBLE",
    **{f"distance_{norm}": "DOUBLE" for norm in ("linf", "l2", "l1", "l0")},
    "survives_8bit": "BOOLEAN",
    "forwards": "BIGINT",
    "backwards": "BIGINT",
}


@pytest.fixture(scope="module")
def folder(foolscope: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished audit by the real console script."""
    out = tmp_path_factory.mktemp("record") / "out"
    assert foolscope(*COMMAND, "--out", out).code == 0
    return out


@pytest.fixture(scope="module")
def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "audit.json").read_text())


@pytest.fixture(scope="module")
def samples(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in read_samples(folder / "samples.parquet").items()}


def test_every_key_of_the_interface_is_there_with_its_type(record: dict[str, Any]) -> None:
    for key, kind in KEYS.items():
        assert key in record, key
        assert isinstance(record[key], kind), key
    assert (record["schema"], record["foolscope"]) == (1, __version__)
    assert record["command"].startswith("foolscope audit net.py:net digits.npz --effort quick --eps 8/80")
    assert (record["eps"], record["eps_text"], record["norm"], record["seed"]) == (0.1, "8/80", "linf", 3)
    assert (record["n"], record["batch_size"], record["effort"]) == (100, 40, "quick")
    assert {"torch", "python"} <= record["environment"].keys()
    assert record["model"]["name"] == "net.py:net"
    assert record["model"]["parameters"] == 650
    for what in ("model", "data"):
        assert len(bytes.fromhex(record[what]["sha256"])) == 32
    assert record["trust"]["verdict"] in ("sound", "suspicious")
    for reason in record["trust"]["reasons"]:
        assert {"code", "value", "threshold", "message"} <= reason.keys()
    for stage in record["stages"]:
        assert {"name", "tried", "fooled", "forwards", "backwards", "seconds"} <= stage.keys()


def test_the_parts_of_the_record_agree(record: dict[str, Any]) -> None:
    low, high = record["robust_accuracy_interval"]
    assert 0 <= low <= record["robust_accuracy"] <= high <= 1
    curve = dict(zip(record["curve"]["eps"], record["curve"]["robust_accuracy"], strict=True))
    assert curve[record["eps"]] == record["robust_accuracy"]
    assert curve[0.0] == record["clean_accuracy"]
    assert list(curve) == sorted(curve)
    assert list(curve.values()) == sorted(curve.values(), reverse=True)
    assert (record["trust"]["verdict"] == "suspicious") == bool(record["trust"]["reasons"])


def test_samples_have_the_columns_of_the_interface(folder: Path) -> None:
    with duckdb.connect() as connection:
        table = connection.execute(f"DESCRIBE SELECT * FROM '{folder / 'samples.parquet'}'").fetchall()
    assert [(name, kind) for name, kind, *_ in table] == list(COLUMNS.items())


def test_totals_are_the_sums_of_the_samples(record: dict[str, Any], samples: dict[str, np.ndarray]) -> None:
    n = record["n"]
    assert samples["index"].tolist() == list(range(n))
    assert (samples["forwards"].sum(), samples["backwards"].sum()) == (record["forwards"], record["backwards"])
    outcome = samples["outcome"]
    assert set(outcome) == {"fooled", "resisted", "already_wrong"}  # this audit has some of each
    assert record["clean_accuracy"] == (outcome != "already_wrong").mean()
    assert record["robust_accuracy"] == (outcome == "resisted").mean()
    assert sum(stage["fooled"] for stage in record["stages"]) == (outcome == "fooled").sum()
    assert np.array_equal(outcome == "already_wrong", samples["clean_prediction"] != samples["label"])
    assert np.array_equal(outcome == "fooled", samples["attack"] != None)  # noqa: E711
    assert set(samples["reason"]) <= {"done", "zero_gradient", "not_finite", "budget"}
    for stage in record["stages"]:
        assert stage["fooled"] == (samples["attack"] == stage["name"]).sum()
    correct = outcome != "already_wrong"
    distance = samples["distance_linf"].astype(float)
    assert record["median_distance"] == np.median(np.nan_to_num(distance[correct], nan=np.inf))
    assert (distance[outcome == "fooled"] <= record["eps"] + 1e-6).all()
    assert not (distance[outcome == "resisted"] <= record["eps"]).any()


def test_the_adversarial_images_are_what_the_samples_say(
    folder: Path, place: Path, samples: dict[str, np.ndarray]
) -> None:
    adversarial = load_file(folder / "adversarial.safetensors")
    assert adversarial.keys() == {"index", "label", "adversarial"}
    index, images = adversarial["index"], adversarial["adversarial"]
    assert index.dtype == adversarial["label"].dtype == np.int64
    assert images.dtype == np.float32
    assert np.array_equal(adversarial["label"], samples["label"][index])
    assert np.array_equal(index, np.flatnonzero(samples["distance_l2"] != None))  # noqa: E711
    # Checked here with nothing of ours: the nearest mean, by hand.
    means = np.load(place / "means.npy")
    with np.load(place / "digits.npz") as data:
        moved = (images - data["images"][index]).reshape(len(index), -1).astype(float)
    far = ((images.reshape(len(index), 1, -1) - means) ** 2).sum(2)
    assert (far.argmin(1) == samples["adversarial_prediction"][index]).mean() > 0.98  # rounding decides at a boundary
    assert (samples["adversarial_prediction"][index] != samples["label"][index]).all()
    for norm, size in (("linf", np.abs(moved).max(1)), ("l2", np.linalg.norm(moved, axis=1))):
        assert np.allclose(size, samples[f"distance_{norm}"][index].astype(float), rtol=1e-6)
    assert np.array_equal((moved != 0).sum(1), samples["distance_l0"][index].astype(int))


# The same from Python.


@pytest.fixture
def module(place: Path) -> nn.Module:
    means = torch.from_numpy(np.load(place / "means.npy"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.copy_(2 * means)
        model[1].bias.copy_(-(means**2).sum(1))
    return model.eval()


@pytest.mark.parametrize("form", ["tensors", "loader"])
def test_python_gets_the_same_numbers(
    module: nn.Module,
    digits: tuple[np.ndarray, np.ndarray],
    record: dict[str, Any],
    samples: dict[str, np.ndarray],
    tmp_path: Path,
    folder: Path,
    form: str,
) -> None:
    data: Any = (torch.from_numpy(digits[0]), torch.from_numpy(digits[1]))
    if form == "loader":
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size=7)
    audit = foolscope.audit(module, data, eps="8/80", effort="quick", seed=3, batch_size=40, out=tmp_path / "python")
    for key in KEYS.keys() - {"command", "seconds", "stages", "model", "data"}:
        assert audit.record[key] == record[key], key
    for what in ("model", "data"):
        assert audit.record[what]["sha256"] == record[what]["sha256"]
    assert audit.robust_accuracy == record["robust_accuracy"]
    assert audit.verdict == record["trust"]["verdict"]
    name = "adversarial.safetensors"
    assert (tmp_path / "python" / name).read_bytes() == (folder / name).read_bytes()
    assert np.array_equal(audit.samples["forwards"], samples["forwards"])
