from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from foolscope.errors import InputError
from foolscope.models import wrap
from foolscope.models.adapters import logits_of
from foolscope.models.weights import fingerprint


@dataclass
class Output:
    logits: Tensor
    loss: None = None


class Returns(nn.Module):
    """Hands its flattened input back inside of something."""

    def __init__(self, form: object) -> None:
        super().__init__()
        self.form = form

    def forward(self, inputs: Tensor) -> object:
        return self.form(inputs.flatten(1))


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        Output,
        lambda x: {"loss": None, "logits": x},
        lambda x: (x, torch.zeros(3)),
        lambda x: [x],
    ],
    ids=["tensor", "object", "dict", "tuple", "list"],
)
def test_logits_are_found(form: object) -> None:
    images = torch.rand(2, 1, 2, 3)
    assert torch.equal(wrap(Returns(form))(images), images.flatten(1))


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (lambda x: {"out": x, "aux": x}, "dict with keys out, aux"),
        (lambda x: x.view(2, 2, 3), r"tensor \(2, 2, 3\)"),
        (lambda x: x.argmax(1), r"tensor \(2,\) of torch.int64"),
        (lambda x: x.long(), "torch.int64"),
        (lambda x: None, "NoneType"),
        (lambda x: (), "tuple"),
        (lambda x: ("a", x), "tuple"),
    ],
    ids=["dict", "3-d", "classes", "integers", "none", "empty", "string first"],
)
def test_what_holds_no_logits_is_told(form: object, told: str) -> None:
    with pytest.raises(InputError, match=rf"^MODEL: expected output logits of shape \(b, classes\).*{told}"):
        wrap(Returns(form))(torch.rand(2, 1, 2, 3))


def test_logits_of_passes_the_very_tensor_on() -> None:
    logits = torch.rand(2, 3)
    assert logits_of(Output(logits)) is logits


def test_normalisation_is_inside_and_differentiable() -> None:
    images = torch.rand(2, 3, 2, 2, requires_grad=True)
    wrapped = wrap(nn.Flatten(), mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.125])
    logits = wrapped(images)
    assert torch.allclose(logits.view(2, 3, 4)[:, 1], (images[:, 1].flatten(1) - 0.2) / 0.25)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient[0, :, 0, 0].tolist() == [2, 4, 8]


def test_the_module_is_shared_and_keeps_its_mode() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Dropout())
    assert wrap(module, mean=[0.0], std=[1.0]).training
    module.eval()
    wrapped = wrap(module, mean=[0.0], std=[1.0])
    assert not any(part.training for part in wrapped.modules())
    assert any(part is module for part in wrapped.modules())


def test_normalisation_takes_the_modules_dtype() -> None:
    wrapped = wrap(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double(), mean=[0.5], std=[0.5])
    assert wrapped(torch.rand(1, 1, 2, 2, dtype=torch.float64)).dtype == torch.float64


def test_a_wrapper_changes_the_fingerprint_by_its_normalisation_alone() -> None:
    module = nn.Linear(2, 2)
    assert fingerprint(wrap(module)) == fingerprint(module)
    assert fingerprint(wrap(module, mean=[0.5], std=[0.5])) != fingerprint(module)
    assert fingerprint(wrap(module, mean=[0.5], std=[0.5])) != fingerprint(wrap(module, mean=[0.5], std=[0.25]))


@pytest.mark.parametrize(
    ("mean", "std", "line"),
    [
        ([0.5], None, "--std: expected as many numbers as --mean, got nothing"),
        (None, [0.5], "--mean: expected as many numbers as --std, got nothing"),
        ([0.5], [0.5, 0.5], "--std: expected as many numbers as --mean (1), got 2"),
        ([math.nan], [0.5], "--mean: expected finite numbers, one for each channel, got nan"),
        ([0.5], [0.0], "--std: expected finite, positive numbers, one for each channel, got 0.0"),
        ([0.5], [-1.0], "--std: expected finite, positive numbers, one for each channel, got -1.0"),
        ([], [], "--mean: expected finite numbers, one for each channel, got nothing"),
    ],
)
def test_bad_numbers_are_refused(mean: list[float] | None, std: list[float] | None, line: str) -> None:
    with pytest.raises(InputError) as caught:
        wrap(nn.Flatten(), mean=mean, std=std)
    assert str(caught.value) == line


def test_something_that_is_no_module_is_refused() -> None:
    with pytest.raises(InputError, match=r"^model: expected a torch\.nn\.Module, got 'a function'$"):
        wrap(lambda x: x)  # type: ignore[arg-type]
