from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

from foolscope.training import Epoch
from foolscope.training.tensorboard import board

EPOCH = Epoch(2, 0.5, 0.1, None, None, None, None, 0.01, 3.0)


def test_without_tensorboard_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    board(tmp_path / "logs")(EPOCH)
    assert not list(tmp_path.iterdir())


def test_with_it_every_number_that_was_measured_is_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    logged: dict[str, tuple[float, int]] = {}

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path)

        def add_scalar(self, key: str, value: float, step: int) -> None:
            logged[key] = value, step

        def flush(self) -> None:
            pass

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    board(tmp_path)(EPOCH)
    assert logged == {"loss": (0.5, 2), "train_error": (0.1, 2), "lr": (0.01, 2), "seconds": (3.0, 2)}
