from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from foolscope.models import digits
from foolscope.models.digits import seeded, train_digits
from foolscope.models.weights import fingerprint


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return train_digits(0)


def test_at_least_97_percent_on_the_last_500(trained: nn.Module) -> None:
    bunch = load_digits()
    images = torch.as_tensor(bunch.images[-500:], dtype=torch.float32).unsqueeze(1) / 16
    right = trained(images).argmax(1) == torch.as_tensor(bunch.target[-500:])
    assert right.float().mean() >= 0.97
    assert not trained.training


def test_nothing_is_left_on_the_parameters(trained: nn.Module) -> None:
    assert all(p.grad is None and p.requires_grad and p.is_leaf for p in trained.parameters())


def test_the_train_split_is_the_first_1297() -> None:
    images, labels = digits.train_split()
    assert images.shape == (1297, 1, 8, 8)
    assert images.min() == 0
    assert images.max() == 1
    assert labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert len(labels) == 1297


def test_the_seed_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "EPOCHS", 1)
    first = fingerprint(train_digits(3))
    torch.manual_seed(99)
    torch.rand(7)
    with torch.no_grad():
        assert fingerprint(train_digits(3)) == first
    with torch.inference_mode():
        assert fingerprint(train_digits(3)) == first
    assert fingerprint(train_digits(4)) != first


def test_the_number_of_threads_does_not_matter_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "EPOCHS", 1)
    threads = torch.get_num_threads()
    prints = set()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            prints.add(fingerprint(train_digits(0)))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert len(prints) == 1


def test_the_global_generator_goes_on_as_if_nothing_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "EPOCHS", 1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_digits(0)
    assert torch.equal(torch.rand(3), expected)


def test_seeded_gives_the_generator_back_after_an_exception() -> None:
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1):
        torch.rand(3).view(4)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_does_not_import_the_compiler() -> None:
    # torch.optim would bring torch._dynamo along, which takes longer to import than the training takes.
    code = "import sys; from foolscope.models import digits; digits.EPOCHS = 1; digits.train_digits(); "
    code += "sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
