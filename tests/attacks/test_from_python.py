"""Attacks called with a plain network: what the command line checks beforehand, they check themselves."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foolscope.attacks import ATTACKS
from foolscope.errors import InputError
from foolscope.oracle import Oracle

SHORT = {"steps": 12, "restarts": 1, "searches": 2, "radii": 3}
PAIRS = [pytest.param(row, norm, id=f"{row.name}-{norm}") for row in ATTACKS.values() for norm in row.norms]
ROWS = [pytest.param(row, id=row.name) for row in ATTACKS.values()]
EPS = {"linf": 0.2, "l2": 0.5, "l1": 1.5, "l0": 2.0}


class Cast(nn.Module):
    """A small network whose logits are of another dtype than its parameters."""

    def __init__(self, inside: torch.dtype, outside: torch.dtype) -> None:
        super().__init__()
        self.body, self.outside = network().to(inside), outside

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).to(self.outside)


class InPlace(nn.Module):
    """The same network behind a normalisation that changes its argument, or not."""

    def __init__(self, spoils: bool) -> None:
        super().__init__()
        self.body, self.spoils = network(), spoils

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.sub_(0.25) if self.spoils else x - 0.25)


def network(classes: int = 3) -> nn.Sequential:
    """Three classes that all occur among `images`, and whose boundaries are near."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, classes))
    with torch.no_grad():
        model[3].bias -= model(images()).mean(0)
    return model


def images() -> Tensor:
    return torch.rand(5, 1, 2, 3, generator=torch.Generator().manual_seed(1))


def call(row: Any, model: nn.Module | Oracle, x: Tensor, y: Tensor, norm: str | None = None, **more: Any) -> Tensor:
    norm = norm or row.norms[0]
    known = inspect.signature(row.function).parameters
    options = {"norm": norm, "eps": EPS[norm]} | SHORT | more
    return row.function(model, x, y, **{key: value for key, value in options.items() if key in known})


@pytest.mark.parametrize(
    ("inside", "outside"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)], ids=["bf16", "f32"]
)
@pytest.mark.parametrize(("row", "norm"), PAIRS)
def test_logits_may_be_wider_than_the_parameters(row, norm, inside, outside):
    model, x = Cast(inside, outside), images().to(inside)
    y = model(x).argmax(1)
    found = call(row, model, x, y, norm)
    assert found.dtype == inside
    assert bool(((found >= 0) & (found <= 1)).all())
    twin = Cast(inside, inside)  # whose logits are those rounded
    fooled, expected = ((model(x).argmax(1) != y).sum() for x in (found, call(row, twin, x, y, norm)))
    assert fooled >= expected - int(inside == torch.bfloat16)  # rounding may decide one there


@pytest.mark.parametrize("row", ROWS)
def test_a_model_that_works_in_place_is_run_on_copies(row):
    x = images()
    y, before = InPlace(spoils=False)(x).argmax(1), x.clone()
    found = call(row, InPlace(spoils=True), x, y)
    assert torch.equal(x, before)
    assert torch.equal(found, call(row, InPlace(spoils=False), x, y))


@pytest.mark.parametrize("row", ROWS)
def test_inference_mode_changes_nothing(row):
    model = network()
    y = model(images()).argmax(1)
    with torch.inference_mode():
        x = images()
        found = call(row, model, x, model(x).argmax(1))
    assert torch.equal(found, call(row, model, images(), y))


@pytest.mark.parametrize("row", ROWS)
def test_images_outside_the_box_are_refused(row):
    y = torch.zeros(5, dtype=torch.int64)
    for x in (2 * images() - 1, 255 * images(), images().where(images() > 0.1, torch.nan)):
        with pytest.raises(InputError, match=r"^inputs: expected images in the box \[0, 1\], or an Oracle"):
            call(row, network(), x, y)
    call(row, Oracle(network(), 2 * images() - 1, y, bounds=(-1.0, 1.0)), 2 * images() - 1, y)
    call(row, network(), images().clamp(0, 1 + 1e-7), y)


@pytest.mark.parametrize("row", ROWS)
def test_labels_and_targets_must_be_classes_of_the_model(row):
    x, y = images(), torch.tensor([0, 1, 2, 0, 1])
    for wrong in (y + 1, y - 1):
        with pytest.raises(InputError, match="^labels: expected classes from 0 to 2, got"):
            call(row, network(), x, wrong)
        if "targets" in inspect.signature(row.function).parameters:
            with pytest.raises(InputError, match="^targets: expected classes from 0 to 2, got"):
                call(row, network(), x, y, targets=wrong)
    with pytest.raises(InputError, match="^model: expected logits of at least two classes, got 1"):
        call(row, network(classes=1), x, torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize(
    "row", [row for row in ATTACKS.values() if "targets" in inspect.signature(row.function).parameters]
)
def test_targets_beside_an_oracle_are_refused(row):
    x, y = images(), torch.tensor([0, 1, 2, 0, 1])
    with pytest.raises(InputError, match="^targets: expected none beside an Oracle"):
        call(row, Oracle(network(), x, y), x, y, targets=(y + 1) % 3)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("pgd", "loss", "nope"),
        ("pgd", "start", "nope"),
        ("pgd", "momentum", -1.0),
        ("apgd", "loss", "nope"),
        ("apgd", "start", "nope"),
        ("fgsm", "loss", "nope"),
        ("bim", "loss", "nope"),
        ("mi_fgsm", "loss", "nope"),
        ("ddn", "loss", "nope"),
        ("lbfgs", "loss", "nope"),
        ("fmn", "step_size", 0.0),
        ("fmn", "step_size", float("nan")),
        ("deepfool", "search", -1),
    ],
)
def test_options_are_checked_where_no_image_is_left_to_attack(name, option, value):
    x, model = images(), network()
    wrong = (model(x).argmax(1) + 1) % 3
    with pytest.raises(InputError, match=f"^{option}: expected"):
        call(ATTACKS[name], model, x, wrong, **{option: value})


@pytest.mark.parametrize("row", ROWS)
def test_strided_images_of_any_rank(row):
    y = torch.zeros(5, dtype=torch.int64)
    strided = images().squeeze(1).permute(0, 2, 1)
    for norm in row.norms:
        found = call(row, network(), strided, y, norm)
        assert torch.equal(found, call(row, network(), strided.contiguous(), y, norm))
