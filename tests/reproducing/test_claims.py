"""Every claim's function runs from end to end on digits, and hands over what its rule looks at."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from foolscope.data import DataSet
from foolscope.reproducing import recipes, report_2021
from foolscope.reproducing.claim import NOT_RUN
from foolscope.reproducing.lab import TINY, Lab
from foolscope.reproducing.measuring import error, fgsm, outputs, perturb
from foolscope.reproducing.registry import CLAIMS
from foolscope.reproducing.run import reproduce

REAL = ("L5", "L6", "P9", "O13")  # they need CIFAR-10 or ImageNet; O13 two networks that are right on the same images
INSTALLED = importlib.util.find_spec("torchvision") is not None
SLOW = ("C4", "C15")  # they train architectures by the dozen
HERE = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in CLAIMS
    if name not in REAL and (name != "R1" or INSTALLED)
]


@pytest.mark.parametrize("name", HERE)
def test_a_claim_measures_what_its_rule_and_its_document_name(lab: Lab, name: str) -> None:
    claim = CLAIMS[name]
    record = reproduce(claim, lab)
    values = {key: value for key, value in record.measured.items() if key not in ("notes", "series", "pictures")}
    named = {key for check in claim.rule.checks for key in (check.value, check.of) if key}
    assert named <= set(values)
    assert {key for key in claim.claimed if not key.startswith("confidence")} <= set(values)
    assert set(record.interval) <= set(values)
    assert record.n >= 1
    assert record.seconds > 0
    for key, (low, high) in record.interval.items():
        assert low <= values[key] <= high
    shares = [value for key, value in values.items() if key.rpartition("_")[2] in ("error", "accuracy")]
    assert all(0 <= value <= 1 for value in shares if value is not None)


@pytest.mark.skipif(not INSTALLED, reason="torchvision is not installed")
@pytest.mark.parametrize("name", ["R1", "R2"])
def test_with_torchvision_there_is_a_googlenet(lab: Lab, name: str) -> None:
    record = reproduce(CLAIMS[name], lab)
    assert {check.value for check in CLAIMS[name].rule.checks} <= set(record.measured)
    assert record.substituted[0].startswith("GoogLeNet trained by us")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_2021, "find_spec", lambda package: None)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["R1", "R2"])
def test_without_torchvision_there_is_none_and_the_record_says_so(lab: Lab, name: str) -> None:
    record = reproduce(CLAIMS[name], lab)
    assert (record.n == 0) == (name == "R1")
    said = record.measured["notes"] if name == "R1" else record.substituted
    assert "pip install torchvision" in said[0]


@pytest.mark.usefixtures("bare")
def test_the_step_of_every_eps_is_fgsms(lab: Lab) -> None:
    model, images = lab.network(recipes.fig5(lab, "cnn", "regular")), lab.images("mnist:test")
    for row in reproduce(CLAIMS["R2"], lab).measured["series"][1:]:
        assert 1 - error(outputs(model, perturb(model, images, fgsm(row["eps"]))), images.labels) == row["accuracy"]


def test_the_wide_network_is_not_judged_by_fewer_seeds_than_five(lab: Lab) -> None:
    record = reproduce(CLAIMS["P3"], lab)
    measured = record.measured
    assert record.verdict == NOT_RUN
    assert record.seeds == (0, 1)
    assert measured["best"] <= measured["clean_error_adversarial"] <= measured["worst"]
    change = measured["clean_error_adversarial"] - measured["clean_error_plain"]
    assert math.isclose(measured["clean_error_change"], change, abs_tol=1e-12)


def test_a_claim_measured_again_gives_the_same_record(lab: Lab) -> None:
    first, again = (reproduce(CLAIMS["L4"], lab) for _ in range(2))
    assert first.measured == again.measured
    assert first.interval == again.interval


def test_the_closed_form_is_the_loss_that_fgsm_reaches_and_the_printed_one_only_for_seven(lab: Lab) -> None:
    measured = reproduce(CLAIMS["P1"], lab).measured
    assert measured["closed_form_gap"] < 1e-9
    assert measured["printed_form_gap_7"] < 1e-9
    assert measured["printed_form_gap_3"] > 0.1


def test_growth_with_the_dimension_is_linear(lab: Lab) -> None:
    assert math.isclose(reproduce(CLAIMS["L8"], lab).measured["growth_exponent"], 1.0, abs_tol=0.01)


@pytest.mark.real
@pytest.mark.skipif(
    not all(os.environ.get(name) for name in ("FOOLSCOPE_DATA", "FOOLSCOPE_WEIGHTS")),
    reason="$FOOLSCOPE_DATA and $FOOLSCOPE_WEIGHTS are not both set",
)
def test_a_photograph_is_fooled(lab: Lab) -> None:
    assert reproduce(CLAIMS["L6"], lab).n >= 1


@pytest.mark.parametrize("name", ["L5", "P9"])
def test_claims_about_colour_run_from_end_to_end(cache: Path, name: str) -> None:
    def colours(split: str, n: int) -> DataSet:
        images = torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(n)) - 0.5
        labels, classes = np.arange(n) % 10, tuple("0123456789")
        return DataSet(split, labels, classes, (3, 32, 32), lambda at: images[torch.from_numpy(at)], ("made up",))

    data = {recipes.CIFAR_TRAIN: colours("train", 130), recipes.CIFAR_TEST: colours("test", 50)}
    record = reproduce(CLAIMS[name], Lab(TINY, cache, data=data))
    assert {check.value for check in CLAIMS[name].rule.checks} <= set(record.measured)
    assert "made up" in record.substituted
    assert any("4, 8 and 8 maxout units" in text for text in record.substituted)
