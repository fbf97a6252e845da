from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from foolscope.auditing.run import Audit, _near, run_audit
from foolscope.auditing.trust import Check, Probes, gradients_missed
from foolscope.bench.trust_networks import fit
from foolscope.data import open_data
from foolscope.models import load_model
from foolscope.models.digits import seeded, train_digits, train_split
from foolscope.models.networks import digits_cnn
from foolscope.norms import NORMS
from foolscope.subject import Subject
from foolscope.testing.masked import (
    AddedNoise,
    HardThreshold,
    KWinners,
    QuantisedInput,
    ScaledLogits,
    Softmaxed,
    with_activation,
)

N, EPS = 100, 0.1


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return train_digits(0)


@pytest.fixture(scope="module")
def plain_audit(plain: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(plain, tmp_path_factory.mktemp("plain"))


def audit(network: nn.Module, folder: Path, data: str = "digits", eps: float = EPS, effort: str = "quick") -> Audit:
    with seeded(0):  # for networks that add noise
        return run_audit(
            Subject(network, "under test", 0, ""),
            open_data(data, samples=N),
            out=folder / "audit",
            eps=eps,
            effort=effort,
        )


def trained(build: partial[nn.Module]) -> nn.Module:
    return fit(build, *train_split(), epochs=6, seed=0)


def flagged(result: Audit) -> set[str]:
    return {reason["code"] for reason in result.record["trust"]["reasons"]}


def test_a_sound_network_is_not_flagged_at_standard_effort(plain: nn.Module, tmp_path: Path) -> None:
    result = audit(plain, tmp_path, effort="standard")
    assert result.verdict == "sound"
    assert not flagged(result)
    assert not any("effort quick" in note for note in result.record["notes"])
    assert 0.2 < result.robust_accuracy < 0.8  # neither trivially fooled nor trivially robust
    measured = {check["code"] for check in result.record["trust"]["checks"]}
    assert "square_long" not in {
        stage["name"] for stage in result.record["stages"]
    }  # spent only where gradients are masked
    tried = {stage["name"]: stage["tried"] for stage in result.record["stages"]}
    distance = np.array(result.samples["distance_linf"], float)
    standing = np.array(result.samples["outcome"]) == "resisted"
    late = np.isin(np.array(result.samples["attack"]), ["hybrid"])
    near = (standing & ~(distance > 1.1 * EPS)).sum() + late.sum()
    assert 0 < tried["hybrid"] == near < tried["square"]  # flips only where a fooling image is near
    assert measured >= {"dead_gradients", "flat_outputs", "gradient_mismatch", "black_box", "last_doubling", "huge_eps"}


@pytest.mark.parametrize(
    ("flagged_by_probe", "by_square", "expected"),
    [(False, False, [1, 3]), (True, False, [0, 1, 2, 3]), (False, True, [0, 1, 2, 3])],
)
def test_far_images_are_passed_over_only_where_nothing_says_that_gradients_mislead(
    flagged_by_probe: bool, by_square: bool, expected: list[int]
) -> None:
    distance = np.full((5, len(NORMS)), np.inf)
    distance[:4, 0] = [0.2, 0.105, 0.111, np.inf]  # of the nearest known; none of the fourth
    attack = np.array(["", "", "", "", "square" if by_square else "fmn"], dtype=object)
    ledger = SimpleNamespace(distance=distance, attack=attack)
    probes = Probes(np.arange(5), {}, (Check("flat_outputs", 0.5, 0.1, flagged_by_probe, ""),))
    for known in (probes, None) if not flagged_by_probe else (probes,):
        assert _near(ledger, np.arange(4), 0.11, "linf", known, ["noise", "square"]).tolist() == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("by_square", "missed"), [(0, False), (2, False), (5, False), (15, True)])
def test_gradients_missed_only_what_luck_cannot_explain(by_square: int, missed: bool) -> None:
    attack = np.array(["square"] * by_square + ["pgd"] * (60 - by_square) + [""] * 40, dtype=object)
    ledger = SimpleNamespace(attack=attack)
    assert gradients_missed(ledger, np.arange(100), ["square", "noise"]) is missed  # type: ignore[arg-type]
    assert not gradients_missed(ledger, np.arange(100), ["noise"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "codes"),
    [
        (None, Softmaxed(), {"saturated_probabilities"}),
        (QuantisedInput(8), None, {"dead_gradients", "flat_outputs"}),
        (QuantisedInput(8, "identity"), None, {"flat_outputs", "gradient_mismatch"}),
        (HardThreshold(0.5), None, {"dead_gradients", "flat_outputs"}),
        (AddedNoise(0.1), None, {"random_outputs"}),
        (None, AddedNoise(0.5), {"random_outputs"}),
    ],
    ids=["softmax", "levels", "levels-straight-through", "threshold", "noisy-input", "noisy-logits"],
)
def test_a_masked_network_is_flagged(
    before: nn.Module | None, after: nn.Module | None, codes: set[str], plain: nn.Module, tmp_path: Path
) -> None:
    layers = [layer for layer in (before, plain, after) if layer is not None]
    result = audit(nn.Sequential(*layers), tmp_path)
    assert result.verdict == "suspicious"
    assert codes <= flagged(result)


def test_a_threshold_behind_a_surrogate_gradient_is_flagged(tmp_path: Path) -> None:
    network = trained(partial(with_activation, digits_cnn(), partial(HardThreshold, 0.0, "sigmoid"), only=0))
    result = audit(network, tmp_path)
    assert result.clean_accuracy > 0.8
    assert {"flat_outputs", "gradient_mismatch"} <= flagged(result)


def test_k_winners_take_all_is_flagged(tmp_path: Path) -> None:
    network = trained(partial(with_activation, digits_cnn(), partial(KWinners, 0.2)))
    result = audit(network, tmp_path)
    assert result.clean_accuracy > 0.7
    assert "gradient_mismatch" in flagged(result)


@pytest.mark.parametrize("exponent", [13, -13])
def test_a_power_of_two_on_the_logits_changes_nothing(
    exponent: int, plain: nn.Module, plain_audit: Audit, tmp_path: Path
) -> None:
    scaled = audit(nn.Sequential(plain, ScaledLogits(2.0**exponent)), tmp_path)
    for column in ("outcome", "attack", "reason", "adversarial_prediction", "forwards", "backwards"):
        assert np.array_equal(scaled.samples[column], plain_audit.samples[column]), column
    for norm in ("linf", "l2", "l1", "l0"):
        ours, theirs = scaled.samples[f"distance_{norm}"], plain_audit.samples[f"distance_{norm}"]
        assert np.array_equal(ours, theirs, equal_nan=True), norm
    assert "effort quick" in plain_audit.record["notes"][-1]  # says how far it falls short
    assert scaled.record["trust"]["checks"] == plain_audit.record["trust"]["checks"]


@pytest.mark.parametrize("factor", [1e4, 1e-4])
def test_scaled_logits_are_handled_and_said(
    factor: float, plain: nn.Module, plain_audit: Audit, tmp_path: Path
) -> None:
    scaled = audit(nn.Sequential(plain, ScaledLogits(factor)), tmp_path)
    differ = np.asarray(scaled.samples["outcome"]) != np.asarray(plain_audit.samples["outcome"])
    assert differ.mean() <= 0.005
    assert scaled.verdict == "sound"
    # Confident logits are what cross-entropy cannot see past; tiny ones it sees well.
    assert any("cross-entropy" in note for note in scaled.record["trust"]["notes"]) == (factor > 1)


def test_half_precision_is_not_taken_for_quantisation(plain: nn.Module, tmp_path: Path) -> None:
    network = digits_cnn()
    network.load_state_dict(plain.state_dict())
    assert "flat_outputs" not in flagged(audit(network.bfloat16(), tmp_path))


def test_constant_outputs_are_flagged(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(network[1].weight)
    assert "constant_outputs" in flagged(audit(network, tmp_path))


@pytest.mark.real
@pytest.mark.parametrize(
    ("weights", "eps"),
    [("mnist_cnn_a_adv", 0.3), ("mnist_conv_provable_linf0.1", 0.1)],
    ids=["adversarial", "provable"],
)
def test_robust_networks_are_not_flagged(weights: str, eps: float, tmp_path: Path) -> None:
    if not (os.environ.get("FOOLSCOPE_DATA") and os.environ.get("FOOLSCOPE_WEIGHTS")):
        pytest.skip("$FOOLSCOPE_DATA and $FOOLSCOPE_WEIGHTS are not set")
    network = load_model("mnist_cnn_a", weights=weights).module
    result = audit(network, tmp_path, "mnist", eps, "standard")
    assert result.verdict == "sound"
    assert result.robust_accuracy > 0.6
