from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from foolscope.models.digits import train_digits


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test makes the run fail")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # tiny networks on two threads spin, and take minutes on a busy machine


# Attacks of hundreds of passes, and the checks that are quick with them too; the others are for `make test-all`.
DEAR = ("apgd", "hybrid", "minimal", "square")
QUICK = (
    "result",
    "seed",
    "misclassified",
    "extreme_pixels",
    "no_gradient",
    "broken_gradient",
    "untouched",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(name in item.nodeid for name in ("test_conformance[", "test_pf", "test_counts_")):
            case = item.nodeid.partition("[")[2]
            if case.startswith(tuple(f"{name}-" for name in DEAR)) and not case.endswith(
                tuple(f"-{c}]" for c in QUICK)
            ):
                item.add_marker("slow")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--fail-on-skip") and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--fail-on-skip") and (count := _skipped(config)):
        terminalreporter.write_line(f"--fail-on-skip: {count} skipped", red=True)
        for report in terminalreporter.stats["skipped"]:
            terminalreporter.write_line(f"  {report.nodeid}: {report.longrepr[2]}")


def _skipped(config: pytest.Config) -> int:
    """How many tests, or whole files, were skipped."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", [])) if reporter else 0


@pytest.fixture(scope="session")
def _trained() -> nn.Module:
    return train_digits(0)


@pytest.fixture
def digits_network(_trained: nn.Module) -> nn.Module:
    """A copy of the trained `digits_cnn`, in eval mode: a test may do with it what it likes."""
    return copy.deepcopy(_trained)


@pytest.fixture(scope="session")
def digits_data() -> tuple[Tensor, Tensor]:
    """The 500 test digits: images `(500, 1, 8, 8)` in [0, 1], labels `(500,)`."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.as_tensor(bunch.images[-500:], dtype=torch.float32)[:, None] / 16
    return images, torch.as_tensor(bunch.target[-500:], dtype=torch.int64)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For many small kernels, which two threads on a busy machine slow down."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(2)
