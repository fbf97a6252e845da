"""What the speed tables say of what was timed."""

from __future__ import annotations

import pytest
import torch

from foolscope.bench import copies, speed
from foolscope.errors import InputError
from foolscope.models import load_model


def test_a_ratio_is_the_median_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, bare; then bare, ours: who goes first alternates."""
    times = iter([9.0, 9.0, 2.0, 1.0, 1.0, 3.0, 5.0, 1.0])
    monkeypatch.setattr(speed, "_timed", lambda work: next(times))
    assert speed.paired(lambda: None, lambda: None, 3) == (3.0, (2.0, 5.0), 3.0)


def test_a_bound_that_is_not_kept_is_told() -> None:
    row = speed.Row("net", "PGD-40", 64, 1.2, (1.1, 1.3), 1.05, 0.5, 1.25, 84.4)
    text = speed.markdown([row, speed.Row("net", "audited", 64, 0.3, (0.2, 0.4), 0.35, 0.1, 0.32)])
    assert "| net | PGD-40 | 64 | 1.200 (1.100-1.300) | 1.050 | **no** | 0.50 | 1.250 | 84 |" in text
    assert "| net | audited | 64 | 0.300 (0.200-0.400) | 0.350 | yes | 0.10 | 0.320 |  |" in text
    assert "1 thread" in text


@pytest.mark.parametrize(
    ("name", "ways"),
    [
        ("cifar10_cnn_a", ["trainable", "quick stems", "channels-last"]),
        ("cifar10_resnet20", ["trainable", "quick stems", "folded", "channels-last", "folded, channels-last"]),
    ],
)
def test_each_copy_is_the_same_function(name: str, ways: list[str]) -> None:
    model, x = load_model(name).module.eval().requires_grad_(False), torch.rand(2, 3, 32, 32)
    found = copies.copies_of(model, x)
    assert list(found) == ways
    with torch.no_grad():
        for way, other in found.items():
            torch.testing.assert_close(other(x), model(x), rtol=1e-4, atol=1e-4, msg=way)


def test_an_unknown_network_is_told_before_any_is_timed() -> None:
    with pytest.raises(InputError, match="nearest: mnist_cnn_a"):
        copies.copies_table(("cifar10_cnn_a", "mnist_cnn_b"))


def test_copies_as_a_table() -> None:
    row = copies.Row("net", "folded", "gradient", 64, speed.Ratio(0.5, (0.4, 0.6), 0.01), 25)
    assert "| net | 64 | folded | gradient | 0.500 (0.400-0.600) | 25 | 0.0100 |" in copies.markdown([row])
