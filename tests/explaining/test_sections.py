"""The power law, the loss geometry, the race and the linearity on digits: records as the interface says, sections made from them alone."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import foolscope
from foolscope.explaining import loss_race, power_law
from foolscope.explaining.error_curve import conclude
from foolscope.explaining.exponent import log_grid
from foolscope.explaining.race import LOSSES, TRACED
from foolscope.report.explanations import SECTIONS
from foolscope.report.section import Chart

SLUGS = ("power_law", "loss_geometry", "loss_race", "linearity")
Data = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def record(_trained: nn.Module, digits_data: Data, tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("geometry") / "out"
    found = foolscope.explain(_trained, digits_data, only=SLUGS, eps=0.1, samples=24, effort="quick", seed=3, out=out)
    assert (out / "report.html").is_file()
    return json.loads((found.folder / "explain.json").read_text())


@pytest.mark.parametrize("slug", SLUGS)
def test_a_section_is_made_from_the_record(record: Any, slug: str) -> None:
    entry = record[slug]
    assert set(entry) == {"schema", "finding", "estimate", "interval", "n", "cost", "method", "series"}
    assert entry["n"] > 0
    assert entry["cost"] > 0
    assert "arXiv" in entry["method"]
    if entry["estimate"] is not None:
        assert entry["interval"][0] <= entry["estimate"] <= entry["interval"][1]
    section = SECTIONS[slug](entry)
    assert section.slug == slug
    charts = [figure for figure in section.figures if isinstance(figure, Chart)]
    assert charts
    assert all("vega-lite" in chart.spec["$schema"] and chart.description for chart in charts)
    assert section.table is not None
    assert all(len(row) == len(section.table.columns) for row in section.table.rows)


def test_few_images_are_not_fitted(record: Any) -> None:
    assert record["power_law"]["estimate"] is None
    assert "Too few" in record["power_law"]["finding"]
    assert len(record["power_law"]["series"]["curves"]) == 3


def test_the_power_law_is_told_with_its_interval_and_fit() -> None:
    eps = log_grid(1e-3, 1.0, 30)
    threshold = np.sort(np.random.default_rng(0).random(4000) ** (1 / 1.5))
    curve = conclude("fgsm", eps, threshold[:, None] <= eps)
    found = power_law.conclude([curve], clean_accuracy=0.5)
    assert found.estimate == pytest.approx(1.5, abs=0.25)
    assert found.interval[0] < 1.5 < found.interval[1]
    assert f"eps^{found.estimate:.2f}" in found.finding
    row = found.series["curves"][0]
    assert row["error"][-1] == pytest.approx(0.5)
    law = row["law"]
    assert law["amplitude"] * law["upper"] ** law["exponent"] == pytest.approx(0.5 * law["flips"] / 4000)
    assert json.dumps(SECTIONS["power_law"](found.record()).figures[0].spec)


def test_the_race_s_numbers_fit_together(record: Any) -> None:
    series, finding = record["loss_race"]["series"], record["loss_race"]["finding"]
    for row in series["footings"][
        "perturbation"
    ].values():  # a median over those that arrive says little without how many do
        assert row["reached"] == 0 or f"on {row['reached']} of {row['n']}" in finding
    for footing, losses in series["footings"].items():
        for loss, row in losses.items():
            trace = row["trace"]
            assert len(trace["l2"]) == 51
            assert trace["l2"][0] == 0
            assert all(0 <= p <= 1 for p in trace["target_probability"])
            assert row["reached"] <= row["n"]
            assert row["blur"]["kept"] <= row["blur"]["of"]
            if footing == "perturbation":
                assert trace["l2"][1] <= series["step_sizes"]["perturbation"] * (1 + 1e-4)
            if loss == "ce_sign":
                assert max(trace["gradient"]) <= 8 * (1 + 1e-6)  # of 64 signs


def test_a_race_on_too_few_images_says_what_it_cannot_tell() -> None:
    images, rising = 4, np.tile(np.arange(51.0), (4, 1))
    stage = {f"{loss}_{key}": rising for loss in LOSSES for key in TRACED}
    stage |= {f"{loss}_{key}": np.ones(images) for loss in LOSSES for key in ("seconds", "blur", "tv")}
    found = loss_race.conclude(dict.fromkeys(loss_race.FOOTINGS, stage), dict.fromkeys(loss_race.FOOTINGS, 0.1), 836.0)
    assert found.estimate is None
    assert "is not known" in found.finding


def test_linearity_numbers(record: Any) -> None:
    series = record["linearity"]["series"]
    assert 0 < record["linearity"]["estimate"] <= 1
    assert math.isclose(series["components"][-1], 64)
    assert len(series["steps"]) == len(series["logits"][0][0]) == 33
