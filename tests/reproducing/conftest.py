"""A lab at the scale of the tests: digits for MNIST, an epoch or two; networks are shared by the whole session."""

from __future__ import annotations

from pathlib import Path

import pytest

from foolscope.reproducing.lab import TINY, Lab


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="session")
def lab(cache: Path) -> Lab:
    return Lab(TINY, cache)
