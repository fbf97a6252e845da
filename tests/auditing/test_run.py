"""Whole audits: what the logits' scale, the batch, the dtype and odd models do to the number."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import foolscope
from foolscope.auditing.run import Audit
from foolscope.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

N, EPS = 100, {"linf": 0.1, "l2": 0.6, "l1": 2.5, "l0": 3}


class Mapped(nn.Module):
    """The network with its logits mapped, in eval mode."""

    def __init__(self, body: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.function = body, function
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.body(x))


@pytest.fixture(scope="session")
def data(digits_data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    images, labels = digits_data
    return images[:N], labels[:N]


@pytest.fixture(scope="session")
def plain(_trained: nn.Module, data: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Audit:
    torch.set_num_threads(1)
    return audit(_trained, data, out=tmp_path_factory.mktemp("plain") / "audit")


def audit(model: nn.Module, data: tuple[Tensor, Tensor], norm: str = "linf", **options: Any) -> Audit:
    options = {"eps": EPS[norm], "effort": "quick", "batch_size": 32} | options
    return foolscope.audit(model, data, norm=norm, **options)


def column(audit: Audit, name: str) -> np.ndarray:
    return np.array(audit.samples[name])


def stored(audit: Audit) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(audit.folder / "adversarial.safetensors")


# -- the record -------------------------------------------------------------------------------------------------------


def test_the_record_is_the_sum_of_its_samples(plain, data, digits_network):
    record = plain.record
    outcome, distance = column(plain, "outcome"), column(plain, "distance_linf").astype(float)
    clean = (digits_network(data[0]).argmax(1) == data[1]).numpy()
    assert record["n"] == N == len(outcome)
    assert plain.clean_accuracy == pytest.approx(clean.mean())
    assert ((outcome == "already_wrong") == ~clean).all()
    assert plain.robust_accuracy == pytest.approx((outcome == "resisted").mean())
    assert 0.1 < plain.robust_accuracy < plain.clean_accuracy  # something to tell apart
    within = clean & (distance <= EPS["linf"] * (1 + 1e-5))
    assert ((outcome == "fooled") == within).all()
    assert record["median_distance"] == pytest.approx(
        float(np.median(np.where(np.isnan(distance), np.inf, distance)[clean]))
    )
    for radius, accuracy in zip(record["curve"]["eps"], record["curve"]["robust_accuracy"], strict=True):
        by_hand = (clean & ~(distance <= radius)).mean()
        assert accuracy == pytest.approx(by_hand, abs=1e-9) or radius == pytest.approx(EPS["linf"])
    assert record["curve"]["robust_accuracy"][record["curve"]["eps"].index(0.1)] == pytest.approx(plain.robust_accuracy)
    assert record["forwards"] == column(plain, "forwards").sum()
    assert record["backwards"] == column(plain, "backwards").sum()
    assert sum(stage["fooled"] for stage in record["stages"]) == (outcome == "fooled").sum()


def test_every_adversarial_on_disk_does_what_is_claimed(plain, data, digits_network):
    kept = stored(plain)
    index, x = kept["index"], kept["adversarial"]
    assert (kept["label"] == data[1][index]).all()
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    logits = digits_network(x)
    assert (logits.argmax(1) == torch.from_numpy(column(plain, "adversarial_prediction")[index])).all()
    assert (logits.argmax(1) != kept["label"]).all()
    d = (x.double() - data[0][index].double()).flatten(1)
    sizes = {"linf": d.abs().amax(1), "l2": d.norm(dim=1), "l1": d.abs().sum(1), "l0": (d != 0).sum(1)}
    for norm, size in sizes.items():
        assert column(plain, f"distance_{norm}")[index] == pytest.approx(size.numpy(), rel=1e-5, abs=1e-7)
    rounded = digits_network((x * 255).round() / 255).argmax(1) != kept["label"]
    assert (torch.from_numpy(column(plain, "survives_8bit")[index].astype(bool)) == rounded).all()


# -- scale of the logits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [-13, 13])
def test_powers_of_two_change_no_bit(exponent, plain, data, digits_network, tmp_path):
    scaled = audit(Mapped(digits_network, lambda z: z * 2.0**exponent), data, out=tmp_path / "audit")
    for name in ("outcome", "attack", "adversarial_prediction", "distance_linf", "distance_l2", "survives_8bit"):
        one, other = column(scaled, name), column(plain, name)
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name
    # All but the gallery, which looks for confident mistakes: confidences do hang on the scale.
    one, other = (
        {stage["name"]: (stage["forwards"], stage["backwards"]) for stage in a.record["stages"]}
        for a in (scaled, plain)
    )
    assert {name: one[name] for name in ("clean", "pgd", "fmn", "noise", "square")}.items() <= other.items()
    assert torch.equal(stored(scaled)["adversarial"], stored(plain)["adversarial"])
    assert scaled.record["curve"] == plain.record["curve"]


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_other_scales_change_almost_nothing(factor, plain, data, digits_network):
    scaled = audit(Mapped(digits_network, lambda z: z * factor), data)
    assert (column(scaled, "outcome") != column(plain, "outcome")).mean() <= 0.005
    assert scaled.robust_accuracy == pytest.approx(plain.robust_accuracy, abs=0.005)


def test_the_control_cross_entropy_is_blind_on_the_same_network(plain, data, digits_network):
    """What the margin avoids is real: the same PGD on raw cross-entropy believes in a robust network."""
    scaled = Mapped(digits_network, lambda z: z * 1e4)
    told: dict[str, float] = {}
    for loss in ("ce", "margin"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            told[loss] = foolscope.evaluate(scaled, data, f"pgd:loss={loss},start=clean", eps=0.1).robust_accuracy
        assert any("exactly zero" in str(w.message) for w in caught) == (loss == "ce")
    unscaled = foolscope.evaluate(digits_network, data, "pgd:loss=margin,start=clean", eps=0.1).robust_accuracy
    assert told["margin"] == pytest.approx(unscaled, abs=0.01)
    assert told["ce"] > told["margin"] + 0.3


# -- the batch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [7, 64])
def test_the_batch_size_changes_next_to_nothing(size, plain, data, digits_network):
    other = audit(digits_network, data, batch_size=size)
    assert (column(other, "outcome") == column(plain, "outcome")).mean() >= 0.995


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_in_float64_it_changes_nothing(norm, data, digits_network):
    model, few = digits_network.double(), (data[0][:40], data[1][:40])
    one, other = (audit(model, few, norm, batch_size=size) for size in (7, 64))
    for name in ("outcome", "attack", "adversarial_prediction"):
        assert (column(one, name) == column(other, name)).all(), name
    first, second = (column(a, f"distance_{norm}").astype(float) for a in (one, other))
    assert (np.isnan(first) == np.isnan(second)).all()
    assert np.nan_to_num(np.abs(first - second)).max() <= 1e-6


# -- odd models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_probabilities_are_undone(norm, plain, data, digits_network):
    raw = plain if norm == "linf" else audit(digits_network, data, norm)
    soft = audit(Mapped(digits_network, lambda z: z.softmax(1)), data, norm)
    first, second = (column(a, f"distance_{norm}").astype(float) for a in (raw, soft))
    assert (column(raw, "outcome") == column(soft, "outcome")).mean() >= 0.995
    assert np.nanmedian(np.abs(first - second)) <= 1e-5
    assert np.nanmax(np.abs(first - second)) <= 1e-3
    assert any("probabilities" in note for note in soft.record["trust"]["notes"])


class Dimmed(nn.Module):
    """The network on darker images, the images that it is handed themselves darkened if `in_place`."""

    def __init__(self, body: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.body, self.in_place = body, in_place
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.mul_(0.9) if self.in_place else x * 0.9)


def test_a_model_that_changes_its_images_in_place_is_run_on_copies(data, digits_network):
    few = data[0][:20], data[1][:20]
    kept = few[0].clone()
    one, other = (audit(Dimmed(digits_network, in_place), few) for in_place in (False, True))
    for name in ("outcome", "clean_prediction", "distance_linf", "forwards", "backwards"):
        assert column(one, name).tolist() == column(other, name).tolist(), name
    assert torch.equal(few[0], kept)


def nan_everywhere(z: Tensor) -> Tensor:
    return z * torch.nan


def nan_in_some(z: Tensor) -> Tensor:
    return torch.where(z[:, :1] > 0, torch.nan, z)


def constant(z: Tensor) -> Tensor:
    return torch.zeros_like(z)


@pytest.mark.parametrize("function", [nan_everywhere, nan_in_some, constant])
def test_a_model_that_says_nothing_is_never_sound(function, data, digits_network):
    try:
        result = audit(Mapped(digits_network, function), data)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either way will do, a traceback will not
    else:
        assert result.verdict == "suspicious"


def test_two_classes(data, digits_network):
    model = Mapped(digits_network, lambda z: torch.stack([z[:, :5].amax(1), z[:, 5:].amax(1)], 1))
    result = audit(model, (data[0], (data[1] >= 5).long()))
    assert result.verdict == "sound"
    assert 0.2 < result.robust_accuracy < result.clean_accuracy


def test_one_class_and_too_few_classes_are_one_line(data, digits_network):
    with pytest.raises(InputError, match="^MODEL: expected at least two classes, got 'logits for 1'$"):
        audit(Mapped(digits_network, lambda z: z[:, :1]), (data[0], torch.zeros_like(data[1])))
    with pytest.raises(InputError, match="^MODEL: expected a class for every label up to 9"):
        audit(Mapped(digits_network, lambda z: z[:, :4]), data)


@pytest.mark.parametrize(
    ("dtype", "norm", "apart"),
    [
        (torch.float64, "linf", 0.01),
        (torch.float16, "linf", 0.03),
        (torch.bfloat16, "linf", 0.1),
        (torch.float64, "l2", 0.01),
        (torch.float16, "l2", 0.03),
        (torch.bfloat16, "l2", 0.1),
    ],
)
def test_other_precisions(dtype, norm, apart, plain, data, digits_network):
    raw = plain if norm == "linf" else audit(digits_network, data, norm)
    other = audit(digits_network.to(dtype), data, norm)
    assert other.clean_accuracy == pytest.approx(raw.clean_accuracy, abs=0.02)
    assert other.robust_accuracy == pytest.approx(raw.robust_accuracy, abs=apart)


def test_a_model_left_in_train_mode_is_audited_in_eval_mode_and_given_back(plain, data):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(288, 10)
    )
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    labels = model.eval()(data[0]).argmax(1)
    expected = audit(model, (data[0], labels))
    result = audit(model.train(), (data[0], labels))
    assert model.training
    assert all(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert result.clean_accuracy == 1
    assert (column(result, "distance_linf") == column(expected, "distance_linf")).all()
    assert any("train mode" in note for note in result.record["notes"])
    assert not any("train mode" in note for note in expected.record["notes"])


@pytest.mark.parametrize("seed", [-(2**63), -1, 2**63 - 1])
def test_any_seed_of_64_bits_will_do(seed, data, digits_network):
    few = (data[0][:16], data[1][:16])
    result = audit(digits_network, few, seed=seed)
    assert result.record["seed"] == seed
    assert (column(result, "outcome") == column(audit(digits_network, few, seed=seed), "outcome")).all()


def test_a_longer_seed_is_one_line(data, digits_network):
    with pytest.raises(
        InputError, match="^--seed: expected a whole number of at most 64 bits, got 9223372036854775808"
    ):
        audit(digits_network, data, seed=2**63)
