from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from foolscope.data import open_data
from foolscope.reproducing.cache import Recipe, cache_folder, kept, trained, untrained

RECIPE = Recipe("linear", data="digits:train", options={"epochs": 1, "validation": None, "lr": 0.1})


def _same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_network_is_trained_once(tmp_path: Path) -> None:
    data, said = open_data("digits:train"), []
    first = trained(RECIPE, data, tmp_path, progress=lambda stage, done, total: said.append(stage))
    assert said
    said.clear()
    again = trained(RECIPE, data, tmp_path, progress=lambda stage, done, total: said.append(stage))
    assert not said
    assert _same(first.module, again.module)
    assert (first.address, first.seconds, first.history) == (again.address, again.seconds, again.history)
    assert not _same(first.module, untrained(RECIPE, data))


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"objective": "fgsm_mix:eps=0.1"}, {"options": {**RECIPE.options, "lr": 0.2}}, {"only": (3, 7)}],
)
def test_other_settings_are_another_network(tmp_path: Path, change: dict) -> None:
    data = open_data("digits:train", samples=200)
    first = trained(RECIPE, data, tmp_path)
    assert trained(dataclasses.replace(RECIPE, **change), data, tmp_path).address != first.address


def test_other_images_are_another_network_and_remarks_are_not(tmp_path: Path) -> None:
    data = open_data("digits:train", samples=200)
    first = trained(RECIPE, data, tmp_path)
    assert trained(RECIPE, open_data("digits:train", samples=199), tmp_path).address != first.address
    assert trained(dataclasses.replace(RECIPE, remarks=("said otherwise",)), data, tmp_path).address == first.address


def test_training_can_start_from_another_recipes_network_and_counts_its_time(tmp_path: Path) -> None:
    data = open_data("digits:train", samples=200)
    first = trained(RECIPE, data, tmp_path)
    second = dataclasses.replace(RECIPE, start=RECIPE, options={**RECIPE.options, "lr": 1e-9})
    found = trained(second, data, tmp_path)
    assert found.address != first.address
    assert found.seconds > first.seconds
    for one, other in zip(found.module.parameters(), first.module.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_kept_labels_are_numbered_anew() -> None:
    data = open_data("digits:train")
    pair = kept(data, (7, 3))
    assert pair.classes == ("7", "3")
    assert len(pair) == int(np.isin(data.labels, (3, 7)).sum())
    first = int(np.flatnonzero(data.labels == 3)[0])
    place = int(np.flatnonzero(pair.labels == 1)[0])
    assert torch.equal(pair.read(np.array([place])), data.read(np.array([first])))


def test_the_cache_lies_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FOOLSCOPE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "foolscope"
    monkeypatch.setenv("FOOLSCOPE_CACHE", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other"
    assert cache_folder(tmp_path / "third") == tmp_path / "third"


SCRIPT = """
import sys
from pathlib import Path
from foolscope.data import open_data
from foolscope.reproducing.cache import trained
from test_cache import LONG
trained(LONG, open_data("digits:train"), Path(sys.argv[1]), progress=lambda *told: print("on", flush=True))
"""
LONG = Recipe(
    "mlp", {"width": 64, "depth": 2}, data="digits:train", options={"epochs": 25, "validation": None, "batch_size": 16}
)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "killed")],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "killed").glob("networks/*/last.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (place,) = (tmp_path / "killed" / "networks").iterdir()
    done = json.loads((place / "train.json").read_text())["complete"] if (place / "train.json").exists() else False
    assert not done  # it was killed in time
    data = open_data("digits:train")
    resumed, whole = trained(LONG, data, tmp_path / "killed"), trained(LONG, data, tmp_path / "whole")
    assert resumed.address == whole.address == place.name
    assert _same(resumed.module, whole.module)
