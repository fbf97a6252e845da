from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from foolscope.memory import keep_freed_memory
from foolscope.models.digits import train_digits


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test makes the run fail")


def pytest_configure(config: pytest.Config) -> None:
    keep_freed_memory()  # as commands do
    torch.set_num_threads(1)  # tiny networks on two threads spin, and take minutes on a busy machine


# What `make test` leaves to `make test-all`: attacks of hundreds of passes, but for the checks that are quick with them too ...
DEAR = ("apgd", "bim", "hybrid", "lbfgs", "mi_fgsm", "minimal", "square")
QUICK = ("result", "seed", "no_gradient", "broken_gradient", "untouched")
# ... and tests of many seconds that show for one more program, norm or precision what a quicker one shows.
SLOW = (
    "bench/test_speed.py::test_each_copy_is_the_same_function[cifar10_resnet20",
    "cli/test_explain.py::test_a_time_limit",
    "cli/test_explain.py::test_killed_at_several_points",
    "cli/test_resume.py::test_killed_at_random_points[attack]",
    "reproducing/test_cache.py::test_a_killed_training",
    "search/test_run.py::test_killed_anywhere",
    "test_a_correct_attack_passes[minimal",
    "test_a_skip_fails_the_run_only_where_asked",
    "test_against_a_dense_grid_in_two_dimensions",
    "test_any_seed_of_64_bits_will_do[-",
    "test_coverage_at_a_glance",
    "test_in_float64_it_changes_nothing[l1",
    "test_in_float64_it_changes_nothing[l2",
    "test_minimal_works_with_each",
    "test_other_precisions[dtype3",
    "test_other_precisions[dtype4",
    "test_other_precisions[dtype5",
    "test_probabilities_are_undone[l1",
    "test_probabilities_are_undone[l2",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name, _, case = item.nodeid.partition("[")
        checked = name.endswith("test_conformance") or "test_pf" in name or "test_counts_" in name
        dear = checked and case.startswith(tuple(f"{attack}-" for attack in DEAR))
        if (dear and not case.endswith(tuple(f"-{check}]" for check in QUICK))) or any(
            part in item.nodeid for part in SLOW
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
