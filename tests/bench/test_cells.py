"""Cells are kept by all that they depend on, and filled by workers; ours alone here, on a network that a test can train."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from foolscope.bench.cells import Cell, Subject, fill, read_cell
from foolscope.bench.contestants import OURS
from foolscope.bench.peer_networks import NETWORKS


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    network = NETWORKS["mnist_cnn_a plain"]
    module = network.skeleton()
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = module(x).argmax(1)
    path = tmp_path / "subject.safetensors"
    save_file(dict(module.state_dict()) | {"images": x, "labels": y}, path)
    return Subject(network, 4, path, "digest")


def test_a_cell_is_run_once_and_kept_within_its_budget(subject: Subject, tmp_path: Path) -> None:
    cell = Cell(subject, OURS, "fmn", "l2", 30, 0, 1, "v")
    told: list[str] = []
    pythons = {OURS: Path(sys.executable)}
    assert fill([cell], tmp_path, pythons, lambda cell, error: told.append(error)) == {}
    found = read_cell(cell, tmp_path)
    assert found is not None
    assert told == [""]
    assert (found.passes <= 30).all()
    assert found.passes.max() >= 28
    assert np.isfinite(found.distance).all()
    assert fill([cell], tmp_path, {}, lambda cell, error: told.append(error)) == {}
    assert told == [""]


def test_an_attack_that_breaks_costs_its_own_cell_only(subject: Subject, tmp_path: Path) -> None:
    good = Cell(subject, OURS, "fmn", "linf", 10, 0, 1, "v")
    bad = replace(good, name="fmn:steps=0")
    errors = fill([bad, good], tmp_path, {OURS: Path(sys.executable)})
    assert list(errors) == [bad.key]
    assert "steps" in errors[bad.key]
    assert read_cell(bad, tmp_path) is None
    assert read_cell(good, tmp_path) is not None


@pytest.mark.parametrize(
    "changed", [{"norm": "l1"}, {"budget": 31}, {"seed": 1}, {"threads": 2}, {"version": "w"}, {"name": "pgd"}]
)
def test_whatever_a_result_depends_on_is_in_its_name(subject: Subject, changed: dict[str, object]) -> None:
    cell = Cell(subject, OURS, "fmn", "l2", 30, 0, 1, "v")
    assert replace(cell, **changed).key != cell.key


def test_skeletons_take_the_weights_of_what_is_built() -> None:
    for network in NETWORKS.values():
        module: nn.Module = network.skeleton()
        state: dict[str, Tensor] = {key: value.clone() for key, value in module.state_dict().items()}
        network.skeleton().load_state_dict(state)
