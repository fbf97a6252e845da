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
from foolscope.reproducing import recipes
from foolscope.reproducing.claim import NOT_RUN
from foolscope.reproducing.lab import TINY, Lab
from foolscope.reproducing.registry import CLAIMS
from foolscope.reproducing.run import reproduce

REAL = ("L5", "L6", "P9", "O13")  # they need CIFAR-10 or ImageNet; O13 two networks that are right on the same images
TORCHVISION = ("R1",)
HERE = [name for name in CLAIMS if name not in REAL + TORCHVISION]


@pytest.mark.parametrize("name", HERE)
def test_a_claim_measures_what_its_rule_and_its_document_name(lab: Lab, name: str) -> None:
    claim = CLAIMS[name]
    record = reproduce(claim, lab)
    values = {key: value for key, value in record.measured.items() if key not in ("notes", "series")}
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


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("name", TORCHVISION)
def test_without_torchvision_there_is_no_googlenet(lab: Lab, name: str) -> None:
    record = reproduce(CLAIMS[name], lab)
    assert record.verdict == NOT_RUN
    assert "torchvision" in record.measured["notes"][0]


@pytest.mark.parametrize("name", ["P3", "R1"])
def test_what_two_cores_cannot_do_says_so(lab: Lab, name: str) -> None:
    record = reproduce(CLAIMS[name], Lab("small", lab.cache))
    assert record.verdict == NOT_RUN
    assert record.measured["notes"]


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
